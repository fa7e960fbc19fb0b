"""Owns one audio source: numbers its sound, keeps the last minutes of it, and publishes it.

`python -m voicetap_capture [NUMBER]` captures the NUMBERth of the sources in the settings. As JSON it prints, with
`--devices`, the input devices instead; with `--frames`, what the rings hold.
"""

import argparse
import dataclasses
import json
import os
from contextlib import closing
from pathlib import Path

from voicetap import config
from voicetap.errors import ConfigError
from voicetap.service import shutdown
from voicetap.service.node import Node, run
from voicetap.settings import Settings
from voicetap.source_spec import SourceSpec, parse_all

from .ring import Ring
from .service import Service
from .sources import open_source


def main() -> None:
    parser = argparse.ArgumentParser(prog="voicetap_capture", description=__doc__)
    parser.add_argument("number", nargs="?", type=int, default=1, help="which of the sources, from 1")
    parser.add_argument("--devices", action="store_true", help="print the input devices as JSON")
    parser.add_argument("--frames", action="store_true", help="print what the rings hold as JSON")
    arguments = parser.parse_args()
    if arguments.devices:
        print_devices()
    elif arguments.frames:
        print_frames()
    else:
        run("capture", lambda settings: capture(settings, arguments.number))


def capture(settings: Settings, number: int) -> None:
    spec = _source(settings, number)
    with (
        Node("capture", settings, number) as node,
        Ring(_ring_path(settings, spec), spec.name, settings.capture.ring_s, f"{spec.kind}:{spec.argument}") as ring,
        closing(open_source(spec, settings.capture, ring.next_position)) as source,
    ):
        service = Service(node, ring, source, spec.name)
        while node.alive():
            service.turn()
            node.wait(service.wait_s())
        service.stop(_bundle_stops(settings))


def print_devices() -> None:
    from .microphone import input_devices

    print(json.dumps([dataclasses.asdict(device) for device in input_devices()]))  # noqa: T201  the command's answer


def print_frames() -> None:
    from .survey import survey_all

    surveys = survey_all(Path(config.load().runtime_dir))
    print(json.dumps([dataclasses.asdict(survey) for survey in surveys]))  # noqa: T201  the command's answer


def _source(settings: Settings, number: int) -> SourceSpec:
    sources = parse_all(settings)
    if not 1 <= number <= len(sources):
        raise ConfigError(f"there is no source {number}: sources names {len(sources)}")
    return sources[number - 1]


def _ring_path(settings: Settings, source: SourceSpec) -> Path:
    return Path(settings.runtime_dir, f"audio-{source.name}.ring")


def _bundle_stops(settings: Settings) -> bool:
    """Whether this end is everybody's; a restart of capture alone must not end what is being said."""
    by_hand = "VOICETAP_SUPERVISOR_PID" not in os.environ
    return by_hand or shutdown.is_stopping(settings.runtime_dir)


if __name__ == "__main__":
    main()
