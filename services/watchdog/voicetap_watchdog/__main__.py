"""The watchdog: kills programs whose heartbeats stop, and wakes supervisord when a program exits.

An event listener of supervisord: `python -m voicetap_watchdog [NAME]`, where NAME is its own program name.
"""

import os
import sys

from voicetap.errors import SettingsError
from voicetap.service.node import Node, run
from voicetap.settings import Settings
from voicetap.vocabulary import ServiceState

from .event_listener import EventListener
from .liveness import LivenessMonitor
from .supervisord_rpc import SupervisordClient
from .watchdog import Watchdog


def main(settings: Settings) -> None:
    if "VOICETAP_SUPERVISOR_SOCKET" not in os.environ:
        raise SettingsError("the watchdog is started by supervisord: run `python -m voicetap_watchdog.supervise`")
    supervisord = SupervisordClient(os.environ["VOICETAP_SUPERVISOR_SOCKET"])
    limits = settings.watchdog
    monitor = LivenessMonitor(limits.heartbeat_timeout_s, limits.startup_timeout_s, limits.give_up_s)
    with (
        Node("watchdog", settings, name="".join(sys.argv[1:2])) as node,
        EventListener(sys.stdin.fileno(), sys.stdout.fileno()) as events,
        Watchdog(node, supervisord, monitor) as watchdog,
    ):
        node.watch(events.fd)
        node.state = ServiceState.READY
        while node.alive():
            readable = node.sleep(watchdog.wait_s())  # `wait` would return once per heartbeat
            if events.fd in readable and events.read():
                watchdog.poll_soon()
            watchdog.poll(readable)
            watchdog.read_heartbeats()
            watchdog.check()
            watchdog.write_file()
            watchdog.notify_systemd()


if __name__ == "__main__":
    run("watchdog", main)
