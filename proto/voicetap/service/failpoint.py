"""Named moments in the services at which a test has them die, or worse: `failpoint("vad.cut.committed")`.

VOICETAP_FAILPOINTS=MOMENT:NTH:WHAT[;…] arms them: at the NTH time that a process comes to the MOMENT it gets the signal
WHAT (KILL, STOP, TERM), or hangs: `hang` turns for ever, `gil` sleeps without giving the interpreter to any thread.
Each happens once in the life of a runtime directory, where it leaves a marker: the restarted process passes. Without
the variable, which is read at import, a moment is a call of a function that does nothing.
"""

import ctypes
import os
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

VARIABLE = "VOICETAP_FAILPOINTS"


def marker(runtime_dir: Path | str, moment: str) -> Path:
    """The file that tells that it has happened."""
    return Path(runtime_dir, f"{moment}.failpoint")


class _Armed:
    def __init__(self, plan: str, runtime_dir: str):
        self._runtime_dir = runtime_dir
        self._passed: Counter[str] = Counter()
        self._plan = {moment: (int(nth), what) for moment, nth, what in (item.split(":") for item in plan.split(";"))}

    def __call__(self, moment: str) -> None:
        if not (planned := self._plan.get(moment)):
            return
        self._passed[moment] += 1
        nth, what = planned
        if self._passed[moment] == nth and self._is_first(moment):
            _happen(what)

    def _is_first(self, moment: str) -> bool:
        try:
            marker(self._runtime_dir, moment).touch(mode=0o600, exist_ok=False)
        except FileExistsError:
            return False
        return True


def _happen(what: str) -> None:
    if what == "hang":
        while True:
            pass
    elif what == "gil":
        ctypes.PyDLL(None).sleep(3600)
    else:
        os.kill(os.getpid(), signal.Signals[f"SIG{what}"])


def _nothing(moment: str) -> None:
    """The call that costs nothing."""


def _armed(environ: Mapping[str, str]) -> Callable[[str], None]:
    if plan := environ.get(VARIABLE):
        return _Armed(plan, environ["VOICETAP_RUNTIME_DIR"])
    return _nothing


failpoint = _armed(os.environ)
