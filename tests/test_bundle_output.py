"""Exported entries, and the lines that the `voicetap` command prints."""

import dataclasses
import json

import pytest
from rich.console import Console

from voicetap.codec import UtteranceId
from voicetap.messages import Failed, Final, Gap, SpeechStarted, Status
from voicetap_bundle.cli.transcribe import _gaps, _problems
from voicetap_bundle.console import LiveConsole, WaitingNotice, json_line, line, shown
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
    assert export(ENTRIES, "txt") == "one {two}\n[not transcribed: worker_lost]\n[no sound: device_lost]\n"


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


def test_an_entry_of_a_file_shows_its_position_and_not_the_time_of_day():
    entry = dataclasses.replace(final(1, "hello"), start_s=64.3, wall_ns=10**18)
    assert line(entry, in_file=True).plain == "1:04.3 mic hello"
    assert line(dataclasses.replace(entry, wall_ns=0)).plain == "1:04.3 mic hello", "1970 is no time of day"


def test_text_of_others_is_neither_markup_nor_control_codes():
    assert shown("[/x] \x1b[31mred\x1b[0m [hw:0,0]").plain == "[/x] [31mred [0m [hw:0,0]"
    trouble = Status(source="mic", state="lost", detail="[/x]\x1b[2J", wall_ns=0)
    assert line(trouble).plain.endswith("· lost ([/x] [2J)")


def test_numbers_in_json_are_rounded_to_milliseconds():
    entry = dataclasses.replace(final(1, "hello"), start_s=0.1 + 0.2, avg_logprob=-0.123456)
    row = json.loads(json_line(entry))
    assert (row["start_s"], row["avg_logprob"]) == (0.3, -0.123)


def test_a_file_has_ended_when_its_last_words_are_shown(capsys):
    console = LiveConsole(Console(force_terminal=False, width=200))
    console.show(Status(source="talk", state="ended", detail="", wall_ns=0))
    console.show(final(1, "the last words"))
    console.show(Status(source="talk", state="drained", detail="", wall_ns=0))
    first, second = capsys.readouterr().out.splitlines()
    assert "the last words" in first and "has ended" in second


def test_without_a_terminal_what_is_waited_for_is_printed_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr("voicetap_bundle.console.FIRST_NOTICE_S", 0.0)
    notice = WaitingNotice(LiveConsole(Console(force_terminal=False, width=200)))
    for _ in range(3):
        notice.show(["transcribe-1 (downloading tiny.en)"])
    assert capsys.readouterr().out == "starting transcribe-1 (downloading tiny.en)\n"


def test_other_messages_print_no_line():
    started = SpeechStarted(
        utterance_id=UtteranceId("mic", "ab", 1), source="mic", start_s=0.0, onset_s=0.4, captured_ns=0, wall_ns=0
    )
    assert line(started) is None
    assert line(Status(source="mic", state="drained", detail="", wall_ns=0)) is None, "of use to programs only"


def test_a_pause_of_a_file_is_no_text():
    assert export([dataclasses.replace(GAP, reason="paused")], "txt") == ""
    assert "paused" in export([dataclasses.replace(GAP, reason="paused")], "json")


def test_what_a_file_lacks_is_one_line_each():
    gaps = [dataclasses.replace(GAP, start_s=59.96, end_s=125.2, reason=reason) for reason in ("paused", "damaged")]
    assert list(_gaps(gaps, "paused")) == ["no sound from 1:00.0 to 2:05.2: paused"]
    assert list(_problems([*ENTRIES, *gaps]))[1:] == [
        "no sound from 0:04.0 to 0:05.5: device_lost",
        "no sound from 1:00.0 to 2:05.2: damaged",
    ], "a pause is no problem"
