"""Whether the programs named work: `python -m voicetap_watchdog.health [PROGRAM…]` exits 0, or 1 with one line.

Fresh beats prove that the loops turn; a capture must also be taking in sound: its position moves.
"""

import argparse
import sys
import time

from voicetap import config, links
from voicetap.bus import Bus
from voicetap.errors import SettingsError
from voicetap.messages import Heartbeat, SourceState
from voicetap.settings import Settings

from .box import Box

LISTEN_S = 3.0  # six beats


def problem_of(name: str, beats: list[Heartbeat]) -> str:
    """What is wrong with the program that sent these beats in LISTEN_S; empty when nothing is."""
    if len(beats) < 2 or beats[-1].boot_id != beats[0].boot_id:
        return f"{name}: {len(beats)} heartbeats in {LISTEN_S:g} s"
    first, last = beats[0], beats[-1]
    if last.state == "starting":
        return f"{name}: starting {last.detail}".rstrip()
    before = {state.source: state for state in first.sources}
    if last.service == "capture":
        for source in last.sources:
            if problem := _problem_of_source(before.get(source.source, source), source):
                return f"{name}: {source.source} {problem}"
    return ""


def _problem_of_source(before: SourceState, now: SourceState) -> str:
    if now.state in ("ended", "drained"):
        return ""
    if now.state != "live":
        return f"is {now.state} {now.detail}".rstrip()
    return "" if now.position_s > before.position_s else "hears nothing: its position does not move"


def listen(settings: Settings, names: tuple[str, ...]) -> dict[str, list[Heartbeat]]:
    """The beats of these programs; returns as soon as all have proved to be well."""
    heard: dict[str, list[Heartbeat]] = {name: [] for name in names}
    deadline_s = time.monotonic() + LISTEN_S
    with Bus("app", settings) as bus:
        receivers = [bus.receiver(links.HEARTBEAT.of(name)) for name in names]
        while (left_s := deadline_s - time.monotonic()) > 0 and _problems(heard):
            bus.wait(left_s)
            for beat in (beat for receiver in receivers for beat in receiver):
                heard.get(beat.name, []).append(beat)
    return heard


def _problems(heard: dict[str, list[Heartbeat]]) -> list[str]:
    return [problem for name, beats in heard.items() if (problem := problem_of(name, beats))]


def main() -> int:
    parser = argparse.ArgumentParser(prog="health", description=__doc__.partition("\n")[0])
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help="only these, as a container runs them")
    try:
        box = Box(config.load(), tuple(parser.parse_args().programs))
        problems = _problems(listen(box.settings, box.names()))
    except SettingsError as error:
        problems = [str(error)]
    if problems:
        sys.stdout.write("; ".join(problems) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
