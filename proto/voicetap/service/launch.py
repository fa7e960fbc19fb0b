"""Starts a service so that it cannot outlive supervisord: `python -m voicetap.service.launch voicetap_vad`.

The parent-death signal is requested before anything slow is imported, and the parent is compared with the pid that
supervisord passed on: requested late, or compared with getppid() alone, a kill of supervisord in the first 80 ms leaves
an orphan every time (measured). A service that keeps crashing waits here, so that supervisord never marks it FATAL.
The watchdog ends a service that hangs with SIGABRT, upon which it writes the traceback of every thread to its log.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
# onnxruntime reports its use when imported, and writes a device id into ~/.cache.
NO_TELEMETRY = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
# Which service the kernel kills first when memory runs out, added to its oom_score_adj. A worker uses most and loses
# nothing: vad sends its job again. capture and journal stay as they are: nothing else has what they hold.
OOM_SCORES = {"voicetap_transcribe": 500, "voicetap_vad": 300, "voicetap_watchdog": 100}


def die_with_parent() -> None:
    """Requests SIGKILL for this process when supervisord dies. Does nothing for a service started by hand."""
    expected = os.environ.get("VOICETAP_SUPERVISOR_PID")
    if not expected:
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(expected):
        os._exit(1)  # it died before the request


def ignore_sigterm() -> None:
    """Under supervisord only SIGINT stops a service: a SIGTERM to all processes at once is meant for supervise.

    By a handler that does nothing: SIG_IGN, or supervisord's own signal mask, would be inherited by child processes.
    """
    if os.environ.get("VOICETAP_SUPERVISOR_PID"):
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the service has its own handler
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def raise_oom_score(module: str) -> None:
    """Needs no privilege, as lowering it would."""
    if added := OOM_SCORES.get(module):
        try:
            with open("/proc/self/oom_score_adj", "r+") as file:
                score = min(1000, int(file.read()) + added)
                file.seek(0)
                file.write(str(score))
        except OSError:  # no /proc, or one that is read-only
            pass


def main() -> None:
    die_with_parent()
    ignore_sigterm()
    os.umask(0o077)
    os.environ |= NO_TELEMETRY
    import faulthandler
    import resource
    import runpy

    faulthandler.enable()  # the watchdog ends a service that hangs with SIGABRT: every thread's traceback into its log
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would contain speech
    module = sys.argv[1]
    raise_oom_score(module)
    from .restart_backoff import wait_if_crashing

    wait_if_crashing(" ".join(sys.argv[1:]))
    sys.argv = sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
