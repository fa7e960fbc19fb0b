"""Exported entries, and the lines that the `voicetap` command prints."""

import json

import pytest

from voicetap.codec import UtteranceId
from voicetap.messages import Failed, Final, Gap, SpeechStarted, Status
from voicetap_bundle.console import line
from voicetap_bundle.export import export


def final(number: int, text: str, reason: str = "") -> Final:
    return Final(
        utterance_id=UtteranceId("mic", "ab", number),
        source="mic",
        text=text,
        reason=reason,
        start_s=number,
        end_s=number + 0.5,
        wall_ns=0,
        ended_ns=0,
        cut_reason="silence",
    )


FAILED = Failed(
    utterance_id=UtteranceId("mic", "ab", 3), source="mic", start_s=3.0, end_s=3.5, wall_ns=0, reason="worker_lost"
)
GAP = Gap(
    utterance_id=UtteranceId("mic", "ab", 4), source="mic", start_s=4.0, end_s=5.5, wall_ns=0, reason="device_lost"
)
ENTRIES = [final(1, "one {two}"), final(2, "", "no_speech"), FAILED, GAP]


def test_text_has_a_line_for_each_entry_with_text_and_for_missing_words():
    assert export(ENTRIES, "text") == "one {two}\n[not transcribed: worker_lost]\n[no sound: device_lost]\n"


def test_json_has_a_line_for_each_entry():
    rows = [json.loads(row) for row in export(ENTRIES, "json").splitlines()]
    assert [row["type"] for row in rows] == ["final", "final", "failed", "gap"]
    assert rows[0]["utterance_id"] == "mic/ab/1"


def test_subtitles_have_times():
    assert export(ENTRIES[:1], "srt").startswith("1\n00:00:01,000 --> 00:00:01,500\none (two)\n")
    assert export(ENTRIES[:1], "vtt").startswith("WEBVTT\n\n1\n00:00:01.000 --> 00:00:01.500\none (two)\n")


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (final(1, "hello"), "mic hello"),
        (final(1, "", "no_speech"), "mic (no_speech)"),
        (FAILED, "mic ✗ not transcribed: worker_lost"),
        (GAP, "mic ✗ 1.5 s of sound missing: device_lost"),
        (Status(source="mic", state="lost", detail="unplugged", wall_ns=0), "mic · lost (unplugged)"),
        (Status(source="mic", state="live", detail="", wall_ns=0), "mic · is live again"),
    ],
)
def test_entries_and_statuses_are_printed_as_lines(message, shown):
    assert line(message).plain.partition(" ")[2] == shown


def test_other_messages_print_no_line():
    started = SpeechStarted(
        utterance_id=UtteranceId("mic", "ab", 1), source="mic", start_s=0.0, onset_s=0.4, captured_ns=0, wall_ns=0
    )
    assert line(started) is None
    assert line(Status(source="mic", state="drained", detail="", wall_ns=0)) is None, "of use to programs only"
