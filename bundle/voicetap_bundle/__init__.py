"""The voicetap command, and Bundle: all of voicetap from a program or a test."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .box import Bundle, BundleError

__all__ = ["Bundle", "BundleError"]


def __getattr__(name: str) -> object:
    """On demand: pytest imports this package for its plugin, whether a test uses it or not."""
    if name in __all__:
        from . import box

        return getattr(box, name)
    raise AttributeError(f"module 'voicetap_bundle' has no attribute {name!r}")
