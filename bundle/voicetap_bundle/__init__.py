"""The `voicetap` command, and Bundle: all programs of voicetap, started from a program or a test."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .bundle import Bundle, BundleError

__all__ = ["Bundle", "BundleError"]


def __getattr__(name: str) -> object:
    """Imports on first use, because pytest imports this package for its plugin in every run."""
    if name in __all__:
        from . import bundle

        return getattr(bundle, name)
    raise AttributeError(f"module 'voicetap_bundle' has no attribute {name!r}")
