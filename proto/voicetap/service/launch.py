"""Starts a service so that it cannot outlive supervisord: `python -m voicetap.service.launch voicetap_vad`.

The parent-death signal is asked for before anything slow is imported, and the parent is compared with the
pid supervisord handed down: set late, or compared with getppid() alone, a kill of supervisord in the first
80 ms leaves an orphan every time (measured). A service that keeps crashing is made to wait here, so that
supervisord itself never has to give up on it.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
# For libraries that report their use: onnxruntime does when imported, and puts a device id into ~/.cache.
NO_REPORTS = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def die_with_parent() -> None:
    """Be killed when supervisord dies. Does nothing for a service started by hand."""
    expected = os.environ.get("VOICETAP_SUPERVISOR_PID")
    if not expected:
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(expected):
        os._exit(1)  # it died before we asked


def main() -> None:
    die_with_parent()
    os.umask(0o077)
    os.environ |= NO_REPORTS
    import resource
    import runpy

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold what was said
    module = sys.argv[1]
    from .restart_backoff import wait_if_crashing

    wait_if_crashing(" ".join(sys.argv[1:]))
    sys.argv = sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
