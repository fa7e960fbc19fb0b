"""Kills who is silent, so that supervisord brings it back, and wakes supervisord for those who died by themselves.

An event listener of supervisord: `python -m voicetap_watchdog [NAME]`, where NAME is its own program name.
"""

import os
import sys
import time

from voicetap.errors import SettingsError
from voicetap.service import node
from voicetap.service.node import Node
from voicetap.settings import Settings

from .judge import Beat, Judge
from .listener import Listener
from .rpc import Supervisord
from .watch import Watch

TICK_S = 0.25


def main(settings: Settings) -> None:
    if "VOICETAP_SUPERVISOR_SOCKET" not in os.environ:
        raise SettingsError("the watchdog is started by supervisord: run `python -m voicetap_watchdog.supervise`")
    supervisord = Supervisord(os.environ["VOICETAP_SUPERVISOR_SOCKET"])
    limits = settings.watchdog
    judge = Judge(limits.heartbeat_timeout_s, limits.startup_timeout_s, limits.give_up_s)
    with (
        Node("watchdog", settings, name="".join(sys.argv[1:2])) as here,
        Listener(sys.stdin.fileno(), sys.stdout.fileno()) as listener,
        Watch(here, supervisord, judge) as watch,
    ):
        here.watch(listener.fd)
        here.state = "ready"
        while here.alive():
            readable = here.sleep(TICK_S)  # beats are counted, not answered
            if listener.fd in readable and listener.read():
                watch.look_soon()
            watch.look(readable)
            for beat in watch.beats():
                judge.step(Beat(beat.name, beat.pid, beat.state, beat.deadline_ns / 1e9), time.monotonic())
            watch.judge()
            watch.show_pulse()
            watch.tell_systemd()


if __name__ == "__main__":
    node.run("watchdog", main)
