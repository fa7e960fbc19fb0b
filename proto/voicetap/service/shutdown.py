"""Shutdown: its time budget, and the files by which the programs of a bundle coordinate it.

`supervise` writes `stopping`; capture publishes `audio_head{state: stopping}`; vad writes `drained` once journal has
committed everything; then supervisord stops the programs in order of their priority.
"""

from pathlib import Path


def mark_stopping(runtime_dir: Path, is_whole: bool) -> None:
    """Before capture is stopped. `is_whole`: the whole bundle stops, and no successor will finish its work."""
    _stopping(runtime_dir).write_text("all" if is_whole else "capture")


def is_stopping(runtime_dir: str) -> bool:
    """Whether capture is stopped for good, so that the open utterance ends here."""
    return _stopping(runtime_dir).exists()


def is_bundle_stopping(runtime_dir: str) -> bool:
    """Whether the whole bundle stops: a program that is stopped has no successor that could finish its work."""
    try:
        return _stopping(runtime_dir).read_text() == "all"
    except OSError:
        return False


def mark_drained(runtime_dir: str) -> None:
    """The whole bundle stops, and everything that was captured is committed."""
    _drained(runtime_dir).touch(0o600)


def is_drained(runtime_dir: Path) -> bool:
    """Whether rings and segment stores may be removed without loss."""
    return _drained(runtime_dir).exists()


def _drained(runtime_dir: Path | str) -> Path:
    return Path(runtime_dir, "drained")


def _stopping(runtime_dir: Path | str) -> Path:
    return Path(runtime_dir, "stopping")
