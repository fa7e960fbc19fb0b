"""Collects what capture, vad and journal recorded of every stream, and checks that it adds up. Disturbs no service."""

import os

from voicetap import Tap, config
from voicetap.settings import Settings

from .bundle import EXIT_NOT_RUNNING, BundleError
from .reconciliation import (
    FrameRun,
    NumberedSpan,
    StreamRecords,
    sequence_violations,
    span_of,
    summary,
    violations,
)
from .service_query import query

StreamKey = tuple[str, str]  # source and stream
CommittedSpan = tuple[int, StreamKey, NumberedSpan]  # first its journal_seq


def audit(settings: Settings) -> dict[str, list]:
    """`{"violations": [...], "streams": [...]}` of the bundle in `settings.runtime_dir`.

    Raises BundleError when no bundle runs there or one of its files cannot be read.
    """
    environment = os.environ | config.as_environment(settings)
    surveys = query("voicetap_capture", "--frames", "voicetap_capture --frames", environment)
    segment_lists = query("voicetap_vad", "--segments", "voicetap_vad --segments", environment)
    entries = _entries(settings)  # last: vad drops a segment only after journal has its entry
    streams = _records(surveys, segment_lists, entries)
    found = [text for records in streams for text in violations(records)]
    in_sequence = sequence_violations(seq for seq, _, _ in entries)
    return {"violations": in_sequence + found, "streams": [summary(records) for records in streams]}


def _entries(settings: Settings) -> list[CommittedSpan]:
    try:
        with Tap(since=1, settings=settings) as tap:
            return [(entry.journal_seq, entry.utterance_id[:2], span_of(entry)) for entry in tap.history()]
    except TimeoutError:
        text = f"nothing runs in {settings.runtime_dir}: journal does not answer"
        raise BundleError(text, EXIT_NOT_RUNNING) from None


def _records(surveys: list[dict], segment_lists: dict[str, dict], entries: list[CommittedSpan]) -> list[StreamRecords]:
    rings = {(survey["source"], survey["stream"]): survey for survey in surveys}
    checkpoints = {(source, mark["stream"]): mark for source, of in segment_lists.items() for mark in of["checkpoints"]}
    segments = [
        ((source, cut["stream"]), _segment(cut)) for source, of in segment_lists.items() for cut in of["segments"]
    ]
    return [
        StreamRecords(
            *key,
            **_ring(rings.get(key)),
            **_checkpoint(checkpoints.get(key)),
            segments=[span for owner, span in segments if owner == key],
            entries=[span for _, owner, span in entries if owner == key],
            has_expired_entries=bool(entries) and entries[0][0] > 1,
        )
        for key in sorted({*rings, *checkpoints, *(owner for _, owner, _ in entries)})
    ]


def _ring(survey: dict | None) -> dict[str, object]:
    return {"runs": [FrameRun(*run) for run in survey["runs"]], "damaged": survey["damaged"]} if survey else {}


def _checkpoint(mark: dict | None) -> dict[str, int]:
    if not mark:
        return {}
    return {"decided_seq": mark["seq"], "decided_to": mark["position"], "last_number": mark["last_number"]}


def _segment(cut: dict) -> NumberedSpan:
    return NumberedSpan(cut["number"], cut["kind"], cut["start_position"], cut["end_position"])
