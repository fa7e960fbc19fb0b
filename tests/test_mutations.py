"""Every deliberate breakage of what the promise rests on is noticed by a test: the tests can fail."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from rig import mutations
from rig.mutations import MUTATIONS, Mutation

AT_ONCE = 2
FAILED = 1  # pytest's exit code for it; 2 to 5 are no verdict
PACKAGES = ("voicetap", "voicetap_bundle", "voicetap_capture", "voicetap_vad", "voicetap_transcribe")
PACKAGES += ("voicetap_journal", "voicetap_watchdog", "rig")


def verdict(mutation: Mutation, directory: Path) -> subprocess.CompletedProcess:
    checkout = mutations.copy_to(directory)
    mutations.mutate(checkout, mutation)
    return mutations.run_tests(checkout, mutation.test)


@pytest.fixture(scope="module")
def verdict_on(request, tmp_path_factory) -> Iterator[Callable[[Mutation], subprocess.CompletedProcess]]:
    """Begins with all that were asked for, two at a time."""
    asked = [item.callspec.params["mutation"] for item in request.session.items if "mutation" in _parameters(item)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures: dict[str, Future] = {
            mutation.name: pool.submit(verdict, mutation, tmp_path_factory.mktemp("mutant")) for mutation in asked
        }
        yield lambda mutation: futures[mutation.name].result()


def _parameters(item: pytest.Item) -> dict[str, object]:
    return item.callspec.params if hasattr(item, "callspec") else {}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_breakage_is_noticed(mutation: Mutation, verdict_on):
    noticed = verdict_on(mutation)
    assert noticed.returncode == FAILED, f"{mutation.test} let it pass:\n{noticed.stdout}{noticed.stderr}"


@pytest.mark.timeout(180)
def test_unbroken_the_same_copy_passes(tmp_path):
    """Else the verdicts above would be about the copy."""
    checkout = mutations.copy_to(tmp_path)
    where = (
        f"import {', '.join(PACKAGES)}; print(*({', '.join(f'{name}.__path__[0]' for name in PACKAGES)},), sep=chr(10))"
    )
    imported = subprocess.run(
        [sys.executable, "-c", where], env=mutations.environment(checkout), capture_output=True, text=True, check=True
    )
    assert all(path.startswith(str(checkout)) for path in imported.stdout.split())
    passed = mutations.run_tests(checkout, *(mutation.test for mutation in MUTATIONS))
    assert passed.returncode == 0, passed.stdout
