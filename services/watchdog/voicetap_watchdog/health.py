"""Health check of a container: `python -m voicetap_watchdog.health [PROGRAM…]` exits 0, or 1 with one line.

Every program must send heartbeats, which prove that its work loop runs; the position of a capture must increase, which
proves that audio arrives.
"""

import argparse
import sys
import time

from voicetap import config, links
from voicetap.bus import Bus
from voicetap.errors import SettingsError
from voicetap.messages import Heartbeat, SourceState
from voicetap.settings import Settings
from voicetap.vocabulary import ServiceState, SourceStatus

from .layout import BundleLayout

LISTEN_S = 3.0  # six heartbeats


def problem_of(name: str, heartbeats: list[Heartbeat]) -> str:
    """The problem of a program that sent these heartbeats in LISTEN_S; empty when it has none."""
    if len(heartbeats) < 2 or heartbeats[-1].boot_id != heartbeats[0].boot_id:
        return f"{name}: {len(heartbeats)} heartbeats in {LISTEN_S:g} s"
    first, last = heartbeats[0], heartbeats[-1]
    if last.state == ServiceState.STARTING:
        return f"{name}: starting {last.detail}".rstrip()
    before = {state.source: state for state in first.sources}
    if last.service == "capture":
        for source in last.sources:
            if problem := _source_problem(before.get(source.source, source), source):
                return f"{name}: {source.source} {problem}"
    return ""


def _source_problem(before: SourceState, now: SourceState) -> str:
    if now.state in (SourceStatus.ENDED, SourceStatus.DRAINED):
        return ""
    if now.state != SourceStatus.LIVE:
        return f"is {now.state} {now.detail}".rstrip()
    return "" if now.position_s > before.position_s else "receives no audio: its position does not increase"


def collect_heartbeats(settings: Settings, names: tuple[str, ...]) -> dict[str, list[Heartbeat]]:
    """The heartbeats of these programs in LISTEN_S, or until none has a problem."""
    received: dict[str, list[Heartbeat]] = {name: [] for name in names}
    deadline_s = time.monotonic() + LISTEN_S
    with Bus("app", settings) as bus:
        receivers = [bus.receiver(links.HEARTBEAT.of(name)) for name in names]
        while (left_s := deadline_s - time.monotonic()) > 0 and _problems(received):
            bus.wait(left_s)
            for heartbeat in (heartbeat for receiver in receivers for heartbeat in receiver):
                received.get(heartbeat.name, []).append(heartbeat)
    return received


def _problems(received: dict[str, list[Heartbeat]]) -> list[str]:
    return [problem for name, heartbeats in received.items() if (problem := problem_of(name, heartbeats))]


def main() -> int:
    parser = argparse.ArgumentParser(prog="health", description=__doc__.partition("\n")[0])
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help="only these, as in a container")
    try:
        layout = BundleLayout(config.load(), tuple(parser.parse_args().programs))
        problems = _problems(collect_heartbeats(layout.settings, layout.process_names()))
    except SettingsError as error:
        problems = [str(error)]
    if problems:
        sys.stdout.write("; ".join(problems) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
