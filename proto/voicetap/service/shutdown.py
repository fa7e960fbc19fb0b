"""Shutdown: its time budget, and the files by which the programs of a bundle coordinate it.

`supervise` writes `stopping`; capture publishes `audio_head{state: stopping}`; vad writes `drained` once journal has
committed everything; then supervisord stops the programs in order of their priority.

The budget, in seconds. tests/test_shutdown_budget.py adds it up:

- Bundle: 3.0 draining; what is not committed then fails in vad (0.3), the worker is killed (1.0), journal commits what
  still arrives (0.1 without a message): 4.4 of the 4.5 after which supervise kills everything that is left (0.4).
- Container: 1.5 until restarting programs are back, then what its one program takes by itself: 4.2 of 4.5 at most.
- A program by itself: less than the `stopwaitsecs` after which supervisord kills it, but for transcribe.
"""

from contextlib import suppress
from pathlib import Path

# supervise
BUNDLE_STOP_S = 5.0  # promised: from SIGTERM to supervise until no process is left
SUPERVISE_STOP_S = 4.5  # of these, until supervise kills supervisord, and with it every program
KILLED_EXIT_S = 0.4  # from that SIGKILL until no program holds its lock
SUPERVISE_DRAIN_S = 3.0  # bundle: until vad has written `drained`, before supervisord is stopped
SUPERVISE_SETTLE_S = 1.5  # container: until programs that are being restarted are back, before supervisord is stopped

# container: when all are stopped at once, as `docker compose down` does; within its stop_grace_period of 15 s
UPSTREAM_NOTICE_S = 0.5  # until the containers before it have announced that they stop too
UPSTREAM_DRAIN_S = 8.0  # until they have drained

# capture: from `stopping` or SIGTERM, whichever comes first
CAPTURE_DRAIN_S = 2.2  # until vad has acknowledged that everything is committed
CAPTURE_CLOSE_S = 0.5  # for closing the device, which may hang in a stopped sound server; then the process exits

# vad
VAD_SOURCES_S = 0.3  # from SIGTERM until capture has announced that it stops too; within VAD_DRAIN_S
VAD_DRAIN_S = 2.4  # from `stopping` or SIGTERM until journal has committed every utterance
VAD_FAIL_S = 0.3  # bundle: then, until journal has committed that the others failed

# transcribe: from SIGTERM. As long as that only when started by hand: supervisord waits for less
WORKER_DECODE_S = 3.0  # until the job in hand is decoded
WORKER_COMMIT_S = 1.0  # then, until journal has committed its result
DECODER_CLOSE_S = 0.2  # for the decoder thread to end; one that is in C code cannot be interrupted

# journal: from SIGTERM
JOURNAL_DRAIN_S = 1.0  # at most, for results that are still arriving
JOURNAL_IDLE_S = 0.1  # without a message: nothing more is coming

# supervisord: from SIGTERM to SIGKILL of one program. The `stopwaitsecs` in deploy/programs/*.conf
STOPWAITSECS = {"capture": 3, "vad": 4, "transcribe": 1, "journal": 1, "watchdog": 1}

# the `voicetap` command and Bundle
BUNDLE_KILL_S = 10.0  # from SIGTERM to supervise until it is killed, or `voicetap down` fails


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


def mark_container_stopping(runtime_dir: Path, program: str) -> None:
    """A container announces its stop to those after it in the pipeline; removed when it has stopped."""
    _container_stopping(runtime_dir, program).touch(0o600)


def unmark_container_stopping(runtime_dir: Path, program: str) -> None:
    with suppress(NotADirectoryError):  # a file has taken the name of the runtime directory
        _container_stopping(runtime_dir, program).unlink(missing_ok=True)


def is_container_stopping(runtime_dir: Path, program: str) -> bool:
    """Whether the container of this program is being stopped, and has not stopped yet."""
    return _container_stopping(runtime_dir, program).exists()


def mark_drained(runtime_dir: str) -> None:
    """The whole bundle stops, and everything that was captured is committed."""
    _drained(runtime_dir).touch(0o600)


def is_drained(runtime_dir: Path) -> bool:
    """Whether rings and segment stores may be removed without loss."""
    return _drained(runtime_dir).exists()


def _drained(runtime_dir: Path | str) -> Path:
    return Path(runtime_dir, "drained")


def _container_stopping(runtime_dir: Path, program: str) -> Path:
    return runtime_dir / f"stopping-{program}"


def _stopping(runtime_dir: Path | str) -> Path:
    return Path(runtime_dir, "stopping")
