"""Sockets against those who mean no good, and CURVE."""

import dataclasses
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgpack
import pytest
import zmq
import zmq.auth

from rig.processes import eventually
from rig.sample_messages import final, id_of
from voicetap import curve, links
from voicetap.bus import MAX_MESSAGES_PER_TURN, Bus, Receiver
from voicetap.codec import encode
from voicetap.curve import create_server_key, stays_on_this_machine
from voicetap.errors import AddressInUse, SettingsError
from voicetap.links import LINKS, Link, Pattern
from voicetap.messages import AudioProgress, Committed, Heartbeat, HistoryRequest, Job, WorkerReport
from voicetap.runtime_dir import prepare

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
def bus(settings) -> Iterator[Callable[..., Bus]]:
    """`bus("vad")`: one of that service, closed with the test."""
    with ExitStack() as stack:
        yield lambda service, given=settings: stack.enter_context(Bus(service, given))


@pytest.fixture
def raw(settings) -> Iterator[zmq.Socket]:
    """A PUSH that sends what it likes."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.linger = 0
        yield push


def receive(receiver: Receiver, count: int, within_s: float = 5.0) -> list:
    heard: list = []

    def enough() -> bool:
        heard.extend(receiver)
        return len(heard) >= count

    eventually(enough, within_s, f"{count} messages")
    return heard


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


# ---- tcp and CURVE -------------------------------------------------------------------------------


def on_tcp(settings, *names: str, host: str = "127.0.0.1", **changes: object):
    """These links on free ports."""
    addresses = []
    for name in names:
        with socket.create_server(("127.0.0.1", 0)) as free:
            addresses.append(f"{name}=tcp://{host}:{free.getsockname()[1]}")
    return dataclasses.replace(settings, addresses=tuple(addresses), **changes)


@pytest.fixture
def keys(tmp_path) -> Callable[[str], str]:
    def make(name: str) -> str:
        create_server_key(tmp_path / name)
        return str(tmp_path / name)

    return make


def test_only_the_right_key_is_let_in(bus, settings, keys):
    ours = on_tcp(settings, "history", "transcript", curve_dir=keys("ours"))
    journal = bus("journal", ours)
    receiver, out = journal.receiver(links.HISTORY), journal.sender(links.TRANSCRIPT)
    # whoever has our public key, and a pair of his own
    half_known = keys("theirs")
    strangers = [dataclasses.replace(ours, curve_dir=""), dataclasses.replace(ours, curve_dir=half_known)]
    outside = [bus("app", stranger) for stranger in strangers]
    for app in outside:
        app.sender(links.HISTORY).send(HistoryRequest(requester="thief", since=1, limit=1))
    stolen = [app.receiver(links.TRANSCRIPT) for app in outside]

    friend = bus("app", ours)
    friend.sender(links.HISTORY).send(TRUE_MESSAGE["history"])
    transcript = friend.receiver(links.TRANSCRIPT)
    assert receive(receiver, 1) == [TRUE_MESSAGE["history"]]
    eventually(lambda: out.send(final(1)) and transcript.socket.poll(10), 5, "a friend hears")
    time.sleep(0.1)
    assert [list(thief) for thief in [receiver, *stolen]] == [[], [], []]


def test_a_stranger_who_knows_the_public_key_stays_outside(bus, settings, keys):
    ours = on_tcp(settings, "history", curve_dir=keys("ours"))
    receiver = bus("journal", ours).receiver(links.HISTORY)
    server_key = zmq.auth.load_certificate(Path(ours.curve_dir, "server.key"))[0]
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.linger = 0
        push.curve_publickey, push.curve_secretkey = zmq.curve_keypair()
        push.curve_serverkey = server_key
        push.connect(ours.addresses[0].partition("=")[2])
        push.send(encode(TRUE_MESSAGE["history"]))
        bus("app", ours).sender(links.HISTORY).send(HistoryRequest(requester="friend", since=1, limit=1))
        assert [request.requester for request in receive(receiver, 1)] == ["friend"]
        assert not receiver.socket.poll(100)


def test_a_client_has_a_key_of_its_own_which_can_be_revoked_while_the_bundle_runs(bus, settings, keys, tmp_path):
    ours = on_tcp(settings, "history", "transcript", "results", curve_dir=keys("ours"))
    journal = bus("journal", ours)
    receiver, results = journal.receiver(links.HISTORY), journal.receiver(links.RESULTS)
    curve.allow(tmp_path / "ours", "laptop", tmp_path / "laptop")
    assert curve.allowed_clients(tmp_path / "ours") == ["laptop"]
    theirs = dataclasses.replace(ours, curve_dir=str(tmp_path / "laptop"))

    app = bus("app", theirs)
    app.sender(links.HISTORY).send(TRUE_MESSAGE["history"])
    assert receive(receiver, 1) == [TRUE_MESSAGE["history"]]
    app.sender(links.RESULTS).send(final(1))
    assert not results.socket.poll(200), "a client's key opens transcript and history alone"

    assert curve.revoke(tmp_path / "ours", "laptop") and not curve.revoke(tmp_path / "ours", "laptop")
    bus("app", theirs).sender(links.HISTORY).send(TRUE_MESSAGE["history"])
    assert not receiver.socket.poll(200)


def test_no_secret_of_the_server_is_on_a_clients_machine(keys, tmp_path):
    server, client = Path(keys("ours")), tmp_path / "laptop"
    curve.allow(server, "laptop", client)
    assert {path.name for path in client.iterdir()} == {"server.key", "client.key", "client.key_secret"}
    secret = (server / "server.key_secret").read_text()
    for path in (server / "server.key_secret", client / "client.key_secret"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert (client / "client.key_secret").read_text() != secret
    with pytest.raises(FileExistsError, match="allowed already"):
        curve.allow(server, "laptop", tmp_path / "another")
    for name in ("../x", "", "a/b"):
        with pytest.raises(SettingsError, match="is not a name"):
            curve.allow(server, name, client)


def test_a_client_cannot_bind_and_a_secret_that_others_can_read_is_refused(bus, settings, keys, tmp_path):
    ours = on_tcp(settings, "history", curve_dir=keys("ours"))
    curve.allow(tmp_path / "ours", "laptop", tmp_path / "laptop")
    journal = bus("journal", dataclasses.replace(ours, curve_dir=str(tmp_path / "laptop")))
    with pytest.raises(SettingsError, match="has a client's key only: history cannot be bound"):
        journal.receiver(links.HISTORY)
    (tmp_path / "ours/server.key_secret").chmod(0o640)
    with pytest.raises(SettingsError, match="can be read by other users: chmod 600"):
        Bus("journal", ours)


def test_the_one_pair_of_the_version_before_still_works(bus, settings, keys, tmp_path):
    former = Path(keys("ours"))
    for suffix in ("key", "key_secret"):
        (former / f"server.{suffix}").rename(former / f"bundle.{suffix}")
    ours = on_tcp(settings, "history", curve_dir=str(former))
    receiver = bus("journal", ours).receiver(links.HISTORY)
    bus("app", ours).sender(links.HISTORY).send(TRUE_MESSAGE["history"])
    assert receive(receiver, 1) == [TRUE_MESSAGE["history"]]


def test_why_a_tcp_link_does_not_answer_is_known(bus, settings, keys, tmp_path):
    ours = on_tcp(settings, "history", curve_dir=keys("ours"))
    curve.allow(tmp_path / "ours", "laptop", tmp_path / "laptop")
    laptop = dataclasses.replace(ours, curve_dir=str(tmp_path / "laptop"))
    assert bus("app", ours).diagnose(links.HISTORY) == f"nothing answers at {ours.addresses[0].partition('=')[2]}"
    bus("journal", ours).receiver(links.HISTORY)
    assert bus("app", ours).diagnose(links.HISTORY) == "" == bus("app", laptop).diagnose(links.HISTORY)
    curve.revoke(tmp_path / "ours", "laptop")
    for wrong in (laptop, dataclasses.replace(ours, curve_dir=keys("theirs")), dataclasses.replace(ours, curve_dir="")):
        assert "refuses this connection: its CURVE key is wrong" in bus("app", wrong).diagnose(links.HISTORY)


def test_why_a_socket_file_does_not_answer_is_known(bus, settings, runtime_dir, monkeypatch):
    app = bus("app")
    assert "does not exist: is the bundle running" in app.diagnose(links.HISTORY)
    bus("journal").receiver(links.HISTORY)
    assert app.diagnose(links.HISTORY) == ""
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != runtime_dir)
    found = f"permission denied: {runtime_dir}, owned by uid {os.getuid()} and gid {os.getgid()}"
    assert app.diagnose(links.HISTORY) == found


def test_a_group_may_tap_and_reaches_nothing_else(bus, settings, runtime_dir):
    group = os.getgid() if os.getuid() else 29  # audio, of which root need not be a member
    ours = dataclasses.replace(settings, tap_group=str(group))
    prepare(str(runtime_dir), ours.tap_group)
    journal = bus("journal", ours)
    journal.receiver(links.HISTORY), journal.sender(links.TRANSCRIPT), journal.receiver(links.RESULTS)
    modes = {path.name: (path.stat().st_gid, path.stat().st_mode & 0o770) for path in runtime_dir.iterdir()}
    assert modes["history"] == modes["transcript"] == (group, 0o660)
    assert (runtime_dir.stat().st_gid, runtime_dir.stat().st_mode & 0o777) == (group, 0o710)
    if os.getuid() == 0:
        for name, result in (("history", 0), ("transcript", 0)):
            member = subprocess.run(["test", "-w", runtime_dir / name], user=65534, group=group, extra_groups=[])
            assert member.returncode == result
        outsider = subprocess.run(["test", "-w", runtime_dir / "history"], user=65534, group=65534, extra_groups=[])
        assert outsider.returncode != 0


def test_a_group_that_is_not_there_is_one_line(runtime_dir):
    with pytest.raises(SettingsError, match="tap_group: there is no group nosuchgroup"):
        prepare(str(runtime_dir), "nosuchgroup")


def test_ipv6_can_be_bound(bus, settings):
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as free:
        address = f"tcp://[::1]:{free.getsockname()[1]}"
    ours = dataclasses.replace(settings, addresses=(f"history={address}",))
    receiver = bus("journal", ours).receiver(links.HISTORY)
    bus("app", ours).sender(links.HISTORY).send(TRUE_MESSAGE["history"])
    assert receive(receiver, 1) == [TRUE_MESSAGE["history"]]


def test_an_abstract_socket_has_no_file(bus, settings, runtime_dir):
    ours = dataclasses.replace(settings, addresses=(f"history=ipc://@{runtime_dir.name}",))
    journal = bus("journal", ours)
    receiver = journal.receiver(links.HISTORY)
    bus("app", ours).sender(links.HISTORY).send(TRUE_MESSAGE["history"])
    assert receive(receiver, 1) == [TRUE_MESSAGE["history"]]
    assert journal.removed_socket_file() is None and list(runtime_dir.iterdir()) == []


def test_with_keys_the_socket_files_work_as_before(bus, settings, keys):
    ours = dataclasses.replace(settings, curve_dir=keys("ours"))
    receiver = bus("journal", ours).receiver(links.HISTORY)
    bus("app").sender(links.HISTORY).send(TRUE_MESSAGE["history"])
    assert receive(receiver, 1) == [TRUE_MESSAGE["history"]]


@pytest.mark.parametrize("host", ["0.0.0.0", "*", "192.0.2.1", "[::]", "example.org"])
def test_nothing_leaves_this_machine_without_keys(bus, settings, host):
    for service, link in (("journal", links.TRANSCRIPT), ("app", links.TRANSCRIPT)):
        here = bus(service, on_tcp(settings, "transcript", host=host))
        with pytest.raises(SettingsError, match=r"leaves this machine: set curve_dir \(`voicetap keys"):
            here.sender(link) if service == "journal" else here.receiver(link)


def test_loopback_is_this_machine():
    assert all(stays_on_this_machine(f"tcp://{host}:1") for host in ("127.0.0.1", "127.9.9.9", "localhost", "[::1]"))


def test_keys_that_are_not_there_and_keys_that_are(settings, tmp_path, keys):
    with pytest.raises(SettingsError, match="curve_dir .*voicetap keys"):
        Bus("vad", dataclasses.replace(settings, curve_dir=str(tmp_path / "none")))
    keys("ours")
    with pytest.raises(FileExistsError):
        create_server_key(tmp_path / "ours")


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
