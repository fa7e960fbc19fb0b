"""proto/README.md is the wire in prose: nothing in the code is missing there."""

import dataclasses
import re
from pathlib import Path

import pytest

from voicetap.codec import message_types, type_name
from voicetap.links import LINKS
from voicetap.messages import PROTOCOL_VERSION, Failed, Final, Gap, HistoryEnd, HistoryRequest, Interim, JournalHead

README = (Path(__file__).parent.parent / "proto" / "README.md").read_text()


def row(name: str) -> list[str]:
    """The cells of a link's row in the table."""
    [line] = re.findall(rf"^\| `{name}`.*\|$", README, re.MULTILINE)
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("name", message_types())
def test_every_message_is_described(name):
    assert re.search(rf"`{name}\b", README), f"{name} is not in proto/README.md"


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
def test_every_link_is_in_the_table_as_it_is(link):
    name, pattern, bound_by, written_by, carries = row(link.name)
    assert (f"(per {link.per})" in name) == bool(link.per)
    assert (pattern, bound_by, written_by) == (link.pattern.value, link.bound_by, ", ".join(link.writers))
    named = set(re.findall(r"`([a-z_]+)`", carries))
    if "what `results` carries" in carries:
        named = named - {"results"} | {type_name(cls) for cls in LINKS["results"].carries}
    assert named == {type_name(cls) for cls in link.carries}


def test_no_link_is_described_that_is_not_there():
    table = README.partition("| link |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `([a-z]+)`", table, re.MULTILINE)) == set(LINKS)


def test_the_version_is_right():
    assert f"Protocol version: {PROTOCOL_VERSION}." in README


@pytest.mark.parametrize("cls", [Final, Failed, Gap, Interim, JournalHead, HistoryRequest, HistoryEnd])
def test_what_a_tap_reads_has_its_fields_in_the_reference(cls):
    fields = {spec.name for spec in dataclasses.fields(cls)}
    missing = {name for name in fields if not re.search(rf"\b{name}\b", README)}
    assert not missing, f"{type_name(cls)}: {sorted(missing)} are not in proto/README.md"
