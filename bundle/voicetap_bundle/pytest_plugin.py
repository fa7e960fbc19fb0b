"""A pytest fixture for other people's integration tests: `voicetap_bundle(source="file:hello.wav", engine=...)`."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .box import Bundle


@pytest.fixture
def voicetap_bundle() -> Iterator[Callable[..., "Bundle"]]:
    """Starts bundles, each in a private runtime directory, and ends them with the test. Takes what Bundle takes."""
    from .box import Bundle

    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(Bundle(*arguments, **options))
