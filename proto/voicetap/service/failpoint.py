"""Failpoints: named places in the code at which a test kills or hangs the process: `failpoint("vad.cut.committed")`.

VOICETAP_FAILPOINTS=NAME:NTH:ACTION[;…] arms them: the NTH time that a process reaches NAME it gets the signal ACTION
(KILL, STOP, INT), or hangs: `hang` spins, `gil` sleeps while it holds the GIL. Each fires once in the life of a
runtime directory, where it leaves a marker file, so that the restarted process passes. Without the variable, which is
read at import, a failpoint is a call of a function that does nothing.
"""

import ctypes
import os
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

VARIABLE = "VOICETAP_FAILPOINTS"


def marker(runtime_dir: Path | str, name: str) -> Path:
    """The marker file of a failpoint that has fired."""
    return Path(runtime_dir, f"{name}.failpoint")


class _Armed:
    def __init__(self, plan: str, runtime_dir: str):
        self._runtime_dir = runtime_dir
        self._passed: Counter[str] = Counter()
        self._plan = {name: (int(nth), action) for name, nth, action in (item.split(":") for item in plan.split(";"))}

    def __call__(self, name: str) -> None:
        if not (planned := self._plan.get(name)):
            return
        self._passed[name] += 1
        nth, action = planned
        if self._passed[name] == nth and self._is_first(name):
            _fire(action)

    def _is_first(self, name: str) -> bool:
        try:
            marker(self._runtime_dir, name).touch(mode=0o600, exist_ok=False)
        except FileExistsError:
            return False
        return True


def _fire(action: str) -> None:
    if action == "hang":
        while True:
            pass
    elif action == "gil":
        ctypes.PyDLL(None).sleep(3600)
    else:
        os.kill(os.getpid(), signal.Signals[f"SIG{action}"])


def _nothing(name: str) -> None:
    """The unarmed failpoint."""


def _armed(environ: Mapping[str, str]) -> Callable[[str], None]:
    if plan := environ.get(VARIABLE):
        return _Armed(plan, environ["VOICETAP_RUNTIME_DIR"])
    return _nothing


failpoint = _armed(os.environ)
