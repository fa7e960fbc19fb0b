"""The table of sockets: unique, complete, and its addresses usable."""

import dataclasses

import pytest

from rig.sample_messages import failed, final, gap, interim, started
from voicetap import links
from voicetap.codec import message_types
from voicetap.errors import SettingsError
from voicetap.links import LINKS, Link, Pattern, addresses_of, topic_of
from voicetap.messages import AudioFrame, HistoryEnd, JournalHead, Status

SERVICES = ("capture", "vad", "transcribe", "journal", links.EVERY_SERVICE)
BY_NAME = pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)


def test_every_link_is_in_the_table_once():
    declared = [link for link in vars(links).values() if isinstance(link, Link)]
    assert sorted(link.name for link in declared) == sorted(LINKS)
    assert all(name == link.name for name, link in LINKS.items())


def test_every_message_travels_somewhere():
    assert {cls for link in LINKS.values() for cls in link.carries} == set(message_types().values())


@BY_NAME
def test_a_link_is_sane(link):
    assert link.bound_by in SERVICES and link.per in ("", "source", "worker", "program")
    assert 1 <= link.depth <= 10_000 and link.rate_hz >= 0 and 1024 <= link.max_bytes <= 4 << 20
    assert len(set(link.carries)) == len(link.carries) >= 1
    if link.pattern is Pattern.PUB_SUB:
        assert link.writers == (link.bound_by,), "a publisher binds, so that subscribers may come and go"
    else:
        assert link.bound_by not in link.writers, "a sender connects: its queue outlives the receiver"


@BY_NAME
def test_its_socket_is_in_the_runtime_directory(link):
    assert link.address("/run/x", {}) == f"ipc:///run/x/{link.name}"
    assert link.of("a-1").address("/run/x", {}) == f"ipc:///run/x/{link.name}-a-1"
    assert link.of("a").address("/run/x", {f"{link.name}-a": "tcp://127.0.0.1:1"}) == "tcp://127.0.0.1:1"


def test_a_path_the_kernel_would_refuse_is_refused_first():
    fits = "/" + "x" * (107 - len("//transcript"))
    assert links.TRANSCRIPT.address(fits, {}).endswith("x/transcript")
    with pytest.raises(SettingsError, match="107 bytes: choose a shorter runtime_dir"):
        links.TRANSCRIPT.address(fits + "x", {})
    with pytest.raises(SettingsError, match="107 bytes"):
        links.TRANSCRIPT.address(fits[:-1] + "é", {})


def test_addresses_are_set_by_the_name_of_the_link(settings):
    given = ("transcript=tcp://127.0.0.1:5708", "audio-mic=ipc:///tmp/a=b")
    assert addresses_of(dataclasses.replace(settings, addresses=given)) == {
        "transcript": "tcp://127.0.0.1:5708",
        "audio-mic": "ipc:///tmp/a=b",
    }


@pytest.mark.parametrize(
    "wrong, complaint",
    [
        ("transcripts=tcp://127.0.0.1:1", "did you mean transcript"),
        ("transcript", "LINK=ipc"),
        ("transcript=udp://127.0.0.1:1", "LINK=ipc"),
        ("=tcp://127.0.0.1:1", "no link"),
    ],
)
def test_a_wrong_address_is_one_line(settings, wrong, complaint):
    with pytest.raises(SettingsError, match=complaint):
        addresses_of(dataclasses.replace(settings, addresses=(wrong,)))


def test_topics_name_kind_and_source():
    topics = {topic_of(message) for message in some_messages()}
    assert {"transcript.final/mic", "speech.started/mic", "audio/mic", "status/mic", "journal_head"} <= topics
    assert all(topic.isascii() for topic in topics)


def some_messages() -> list[object]:
    audio = AudioFrame(source="mic", stream="a", seq=1, position=0, captured_ns=0, wall_ns=0, pcm=b"")
    status = Status(source="mic", state="lost", detail="", wall_ns=0)
    end = HistoryEnd(requester="me", journal_id="a", first_seq=1, next_seq=1, head_seq=1)
    head = JournalHead(journal_id="a", first_seq=1, next_seq=1)
    return [failed(1), final(1), gap(1), interim(1), started(1), audio, status, end, head]
