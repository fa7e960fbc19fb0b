"""docs/protocol.md says what is on the wire: its tables are compared with the code, row by row."""

import dataclasses
import re
import types
from enum import StrEnum
from typing import get_args, get_type_hints

import pytest

from rig.documents import ROOT, table
from voicetap.codec import UtteranceId, message_types, type_name
from voicetap.links import LINKS, Pattern, topic_of
from voicetap.messages import FRAME_BYTES, PROTOCOL_VERSION, HistoryEnd, SourceState, Word
from voicetap.vocabulary import CutReason, Purpose, ServiceState

TEXT = (ROOT / "docs/protocol.md").read_text()
MAPS = {"word": Word, "source_state": SourceState}
TABLES = message_types() | MAPS
AUDIO = ("audio_frame", "audio_head", "replay_request", "audio_progress")
UNITS = {"s": "s", "ns": "ns", "bytes": "bytes", "position": "samples", "seq": "count"}
SIMPLE = {str: "str", bytes: "bytes", bool: "bool", int: "int", float: "float", UtteranceId: "id"}


def type_in_words(hint: object) -> str:
    if isinstance(hint, types.GenericAlias):
        return f"list of {type_in_words(get_args(hint)[0])}"
    return SIMPLE.get(hint) or type_name(hint)


def default_in_words(spec: dataclasses.Field) -> str:
    if spec.default is dataclasses.MISSING:
        return "required"
    if isinstance(spec.default, str):
        return f'`"{spec.default}"`'
    return f"`{[] if spec.default == () else str(spec.default).lower()}`"


@pytest.mark.parametrize("name", TABLES)
def test_a_message_has_its_fields_in_order_with_type_and_default(name: str):
    hints = get_type_hints(TABLES[name])
    expected = [
        (spec.name, type_in_words(hints[spec.name]), default_in_words(spec))
        for spec in dataclasses.fields(TABLES[name])
    ]
    rows = table(TEXT, name)
    assert [(row["field"].strip("`"), row["type"], row["default"]) for row in rows] == expected
    assert all(row["meaning"] for row in rows)


@pytest.mark.parametrize("name", TABLES)
def test_the_units_are_those_of_the_names(name: str):
    for row in table(TEXT, name):
        suffix = row["field"].strip("`").rpartition("_")[2]
        if row["type"] in ("int", "float") and suffix in UNITS:
            unit = "frames" if suffix == "seq" and name in AUDIO else UNITS[suffix]
            assert row["unit"].split(" ")[0].rstrip(",") == unit, row


def test_no_message_is_described_that_is_not_there():
    messages = TEXT.partition("\n## Messages\n")[2].partition("\n## Rules\n")[0]
    assert set(re.findall(r"^#### (\w+)$", messages, re.MULTILINE)) == set(TABLES)


def test_the_links_are_in_the_table_as_they_are():
    expected = [
        {
            "link": f"`{link.name}`",
            "per": link.per,
            "pattern": link.pattern.value,
            "bound by": link.bound_by,
            "written by": ", ".join(link.writers),
            "carries": ", ".join(f"`{type_name(cls)}`" for cls in link.carries),
            "depth": str(link.depth),
            "size": str(link.max_bytes),
        }
        for link in LINKS.values()
    ]
    assert table(TEXT, "Sockets") == expected


def test_every_topic_is_in_the_table():
    topics = TEXT.partition("| topic | message |")[2].partition("\n\n")[0]
    published = {cls for link in LINKS.values() if link.pattern is Pattern.PUB_SUB for cls in link.carries}
    for cls in published - {HistoryEnd}:  # which is on history/REQUESTER alone
        message = object.__new__(cls)
        if "source" in get_type_hints(cls):
            object.__setattr__(message, "source", "SOURCE")
        assert f"`{topic_of(message)}`" in topics


@pytest.mark.parametrize(
    ("message", "field", "words"),
    [
        ("job", "purpose", Purpose),
        ("final", "cut_reason", CutReason),
        ("heartbeat", "state", ServiceState),
    ],
)
def test_the_words_of_a_field_are_listed(message: str, field: str, words: type[StrEnum]):
    [row] = [row for row in table(TEXT, message) if row["field"] == f"`{field}`"]
    assert {str(word) for word in words} <= set(re.findall(r"`(\w+)`", row["meaning"]))


def test_the_constants_are_right():
    assert f"Protocol version: {PROTOCOL_VERSION}." in TEXT
    [pcm] = [row for row in table(TEXT, "audio_frame") if row["field"] == "`pcm`"]
    assert pcm["unit"] == f"{FRAME_BYTES} bytes"
