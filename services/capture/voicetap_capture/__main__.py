"""Captures one audio source: numbers its frames, keeps the last minutes of them in a ring, and publishes them.

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

from .ring import Ring, ring_path, survey_all
from .service import CaptureService
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
    spec = _source_spec(settings, number)
    path, origin = ring_path(settings.runtime_dir, spec.name), f"{spec.kind}:{spec.argument}"
    with (
        Node("capture", settings, number) as node,
        Ring(path, spec.name, settings.capture.ring_s, origin) as ring,
        closing(open_source(spec, settings.capture, ring.next_position)) as source,
    ):
        service = CaptureService(node, ring, source, spec.name)
        while node.alive():
            service.step()
            node.wait(service.wait_s())
        service.shutdown(_bundle_stops(settings))


def print_devices() -> None:
    from .sources.microphone import input_devices

    print(json.dumps([dataclasses.asdict(device) for device in input_devices()]))  # noqa: T201  the command's answer


def print_frames() -> None:
    surveys = survey_all(Path(config.load().runtime_dir))
    print(json.dumps([dataclasses.asdict(survey) for survey in surveys]))  # noqa: T201  the command's answer


def _source_spec(settings: Settings, number: int) -> SourceSpec:
    sources = parse_all(settings)
    if not 1 <= number <= len(sources):
        raise ConfigError(f"there is no source {number}: sources names {len(sources)}")
    return sources[number - 1]


def _bundle_stops(settings: Settings) -> bool:
    """Whether the whole bundle stops: a restart of capture alone must not end the open utterances."""
    is_unsupervised = "VOICETAP_SUPERVISOR_PID" not in os.environ
    return is_unsupervised or shutdown.is_stopping(settings.runtime_dir)


if __name__ == "__main__":
    main()
