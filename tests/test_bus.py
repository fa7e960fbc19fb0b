"""Sockets against those who mean no good, and CURVE."""

import dataclasses
import os
import socket
import time
from collections.abc import Iterator

import msgpack
import pytest
import zmq
import zmq.auth

from rig.bus import on_tcp, receive
from rig.processes import eventually
from rig.sample_messages import final, id_of
from voicetap import links
from voicetap.bus import MAX_MESSAGES_PER_TURN, Bus
from voicetap.codec import encode
from voicetap.errors import AddressInUse, SettingsError
from voicetap.links import LINKS, Link, Pattern
from voicetap.messages import AudioProgress, Committed, Heartbeat, HistoryRequest, Job, WorkerReport

TRUE_MESSAGE = {
    "replay": AudioProgress(source="mic", stream="a", needed_seq=1),
    "jobs": Job(
        utterance_id=id_of(1),
        attempt=0,
        start_position=0,
        end_position=1,
        ended_ns=0,
        wall_ns=0,
        cut_reason="",
        pcm=b"",
    ),
    "workers": WorkerReport(worker="w", boot_id="b", state="ready", received=0, decoding=(), holding=()),
    "results": final(1),
    "history": HistoryRequest(requester="me", since=1, limit=1),
}
BOUND_RECEIVERS = [link for link in LINKS.values() if link.pattern is Pattern.PUSH_PULL]


@pytest.fixture
def raw(settings) -> Iterator[zmq.Socket]:
    """A PUSH that sends what it likes."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.linger = 0
        yield push


@pytest.mark.parametrize("link", BOUND_RECEIVERS, ids=lambda link: link.name)
def test_what_does_not_belong_on_a_link_is_refused_and_what_follows_is_heard(link: Link, bus, raw, settings, caplog):
    link = link.of("x") if link.per else link
    receiver = bus(link.bound_by).receiver(link)
    raw.connect(link.address(settings.runtime_dir, {}))
    foreign = encode(Committed(utterance_id=id_of(1), journal_seq=1))
    bad = [[b""], [b"\xc1" * 100], [b"GET / HTTP/1.1"], [foreign], [msgpack.packb({"type": "final"})], [b"a"] * 500]
    for parts in bad:
        raw.send_multipart(parts)
    true = TRUE_MESSAGE[link.name]
    raw.send(encode(true))
    assert receive(receiver, 1) == [true]
    assert receiver.rejected == len(bad)
    assert len(caplog.records) == 1 and link.full_name in caplog.text, "named once, not once a message"


def test_an_oversized_message_costs_its_sender_the_connection_and_nobody_else(bus, raw, settings):
    receiver = bus("journal").receiver(links.HISTORY)
    raw.connect(links.HISTORY.address(settings.runtime_dir, {}))
    raw.send(b"x" * 100_000)
    honest = bus("app").sender(links.HISTORY)
    honest.send(TRUE_MESSAGE["history"])
    assert receive(receiver, 1) == [TRUE_MESSAGE["history"]]


def test_a_flood_leaves_the_loop_its_turn(bus):
    receiver, sender = bus("journal").receiver(links.RESULTS), bus("vad").sender(links.RESULTS)
    sent = sum(sender.send(final(number)) for number in range(1, 1001))
    eventually(lambda: receiver.socket.poll(0), 5, "the first")
    assert len(list(receiver)) <= MAX_MESSAGES_PER_TURN
    receive(receiver, sent - MAX_MESSAGES_PER_TURN)


def test_what_cannot_be_sent_is_counted(bus):
    sender = bus("vad").sender(links.RESULTS)
    kept = sum(sender.send(final(number)) for number in range(1, 1200))
    assert kept == links.RESULTS.depth and sender.drops == 1199 - kept


def test_a_topic_is_a_prefix(bus):
    out, subscriber = bus("journal").sender(links.TRANSCRIPT), bus("app")
    finals = subscriber.receiver(links.TRANSCRIPT, ("transcript.final/hall",))
    eventually(lambda: out.send(final(1, source="hall")) and finals.socket.poll(10), 5, "a connection")
    for source in ("mic", "hallway"):
        out.send(final(9, source=source))
    assert receive(finals, 2)[-1].source == "hallway"


def test_who_sends_transcripts_knows_what_somebody_reads_of_them(bus):
    journal, first, second = bus("journal"), bus("app"), bus("app")
    out = journal.sender(links.TRANSCRIPT)
    first.receiver(links.TRANSCRIPT, ("transcript.final/",))
    eventually(lambda: journal.wait(0.1) == set() and out.has_subscribers("transcript.final/"), 5, "a subscription")
    assert not out.has_subscribers("transcript.interim/")
    readers = [second.receiver(links.TRANSCRIPT, topics) for topics in (("transcript.interim/hall",), ("",))]
    eventually(lambda: out.has_subscribers("transcript.interim/"), 5, "another")
    eventually(lambda: out.has_subscribers("transcript.failed/"), 5, "one to everything")
    for reader in readers:
        assert out.has_subscribers("transcript.interim/")
        second.close(reader)
    eventually(lambda: not out.has_subscribers("transcript.interim/"), 5, "the end of both")


def test_what_a_reader_sends_is_no_harm(bus, settings):
    out = bus("journal").sender(links.TRANSCRIPT)
    with zmq.Context() as context, context.socket(zmq.XSUB) as stranger:
        stranger.linger = 0
        stranger.connect(links.TRANSCRIPT.address(settings.runtime_dir, {}))
        for parts in ([b""], [b"GET /", b"HTTP/1.1"], [b"\0never"], [b"\1transcript.interim/"]):
            stranger.send_multipart(parts)
        eventually(lambda: out.has_subscribers("transcript.interim/"), 5, "the subscription after all that")


def test_a_socket_that_is_closed_early_is_gone_and_its_bus_goes_on(bus, settings):
    here = bus("vad")
    for _ in range(20):
        here.close(here.sender(links.JOBS.of("a")))
        here.close(here.receiver(links.COMMITS))
    assert here.wait(0) == set() and not here._sockets
    here.sender(links.RESULTS)


def test_a_closed_bus_leaves_no_file(settings, runtime_dir):
    with Bus("journal", settings) as journal:
        journal.receiver(links.RESULTS)
        journal.sender(links.TRANSCRIPT)
        assert {path.name for path in runtime_dir.iterdir()} == {"results", "transcript"}
    assert list(runtime_dir.iterdir()) == []


# ---- those who do not speak our protocol ---------------------------------------------------------

ZMTP_1 = b"\x01\x00\x06\x00HELLO"
HTTP = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
ZMTP_1_MESSAGE = b"\x01\x00" + bytes([len(encode(TRUE_MESSAGE["history"])) + 1, 0]) + encode(TRUE_MESSAGE["history"])


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
@pytest.mark.parametrize("bytes_sent", [ZMTP_1, HTTP, ZMTP_1_MESSAGE], ids=["zmtp1", "http", "zmtp1-message"])
def test_a_browser_or_an_old_zmtp_peer_delivers_nothing(bus, settings, transport, bytes_sent):
    settings = on_tcp(settings, "history") if transport == "tcp" else settings
    receiver = bus("journal", settings).receiver(links.HISTORY)
    with connect(receiver.socket.last_endpoint.decode()) as stranger:
        stranger.sendall(bytes_sent)
        bus("app", settings).sender(links.HISTORY).send(TRUE_MESSAGE["history"])
        assert receive(receiver, 1) == [TRUE_MESSAGE["history"]]
        assert not receiver.socket.poll(50) and receiver.rejected == 0


def connect(endpoint: str) -> socket.socket:
    if endpoint.startswith("ipc://"):
        stranger = socket.socket(socket.AF_UNIX)
        stranger.connect(endpoint.removeprefix("ipc://"))
        return stranger
    return socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2])))


def test_an_address_that_cannot_be_bound_is_one_line(bus, settings):
    there = on_tcp(settings, "history")
    bus("journal", there).receiver(links.HISTORY)
    with pytest.raises(AddressInUse, match="history cannot be bound to tcp://127.0.0.1"):
        bus("journal", there).receiver(links.HISTORY)
    nowhere = dataclasses.replace(settings, addresses=("history=ipc:///nowhere/at/all",))
    with pytest.raises(SettingsError, match="history cannot be bound to ipc:///nowhere"):
        bus("journal", nowhere).receiver(links.HISTORY)


def test_every_service_may_have_a_heartbeat(bus):
    beat = Heartbeat(service="vad", name="vad", pid=1, boot_id="b", seq=1, state="ready")
    out, heard = bus("vad").sender(links.HEARTBEAT.of("vad")), bus("app").receiver(links.HEARTBEAT.of("vad"))
    eventually(lambda: out.send(beat) and heard.socket.poll(10), 5, "a beat")
    assert receive(heard, 1)[0] == beat


def test_messages_gather_while_one_rests_and_a_descriptor_ends_the_rest(bus):
    capture = bus("capture")
    requests = capture.receiver(links.REPLAY.of("mic"))
    vad = bus("vad").sender(links.REPLAY.of("mic"))
    vad.send(TRUE_MESSAGE["replay"])
    assert requests.socket.poll(5000)
    start_s = time.monotonic()
    assert capture.sleep(0.05) == set() and time.monotonic() - start_s >= 0.05
    assert list(requests) == [TRUE_MESSAGE["replay"]]
    read_fd, write_fd = os.pipe()
    capture.watch(read_fd)
    os.write(write_fd, b"!")
    assert capture.sleep(5) == {read_fd} == capture.wait(5)
    capture.unwatch(read_fd)
    os.close(read_fd)
    os.close(write_fd)


def test_what_comes_after_a_wait_that_found_nothing_is_found_by_the_second_look(bus):
    capture = bus("capture")
    requests = capture.receiver(links.REPLAY.of("mic"))
    vad = bus("vad").sender(links.REPLAY.of("mic"))
    for _ in range(2):
        assert capture.wait(0) == set()
        vad.send(TRUE_MESSAGE["replay"])
        assert requests.socket.poll(5000)
        assert [list(requests), list(requests)] == [[], [TRUE_MESSAGE["replay"]]]
    vad.send(TRUE_MESSAGE["replay"])
    assert capture.wait(5) == set() and list(requests) == [TRUE_MESSAGE["replay"]]
