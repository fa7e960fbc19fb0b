"""A pytest fixture for integration tests of other projects: `voicetap_bundle(source="file:hello.wav", engine=...)`."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .bundle import Bundle


@pytest.fixture
def voicetap_bundle() -> Iterator[Callable[..., "Bundle"]]:
    """Starts bundles with the arguments of Bundle, in private runtime directories; stops them after the test."""
    from .bundle import Bundle

    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(Bundle(*arguments, **options))
