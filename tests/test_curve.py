"""Who may connect: CURVE keys, groups, addresses of this machine and of others; and why a link does not answer."""

import dataclasses
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq
import zmq.auth

from rig.bus import on_tcp, receive
from rig.processes import eventually
from rig.sample_messages import final
from voicetap import curve, links
from voicetap.bus import Bus
from voicetap.codec import encode
from voicetap.curve import create_server_key, stays_on_this_machine
from voicetap.errors import SettingsError
from voicetap.messages import HistoryRequest
from voicetap.runtime_dir import prepare

REQUEST = HistoryRequest(requester="me", since=1, limit=1)


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
    friend.sender(links.HISTORY).send(REQUEST)
    transcript = friend.receiver(links.TRANSCRIPT)
    assert receive(receiver, 1) == [REQUEST]
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
        push.send(encode(REQUEST))
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
    app.sender(links.HISTORY).send(REQUEST)
    assert receive(receiver, 1) == [REQUEST]
    app.sender(links.RESULTS).send(final(1))
    assert not results.socket.poll(200), "a client's key opens transcript and history alone"

    assert curve.revoke(tmp_path / "ours", "laptop") and not curve.revoke(tmp_path / "ours", "laptop")
    bus("app", theirs).sender(links.HISTORY).send(REQUEST)
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
    bus("app", ours).sender(links.HISTORY).send(REQUEST)
    assert receive(receiver, 1) == [REQUEST]


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
    bus("app", ours).sender(links.HISTORY).send(REQUEST)
    assert receive(receiver, 1) == [REQUEST]


def test_an_abstract_socket_has_no_file(bus, settings, runtime_dir):
    ours = dataclasses.replace(settings, addresses=(f"history=ipc://@{runtime_dir.name}",))
    journal = bus("journal", ours)
    receiver = journal.receiver(links.HISTORY)
    bus("app", ours).sender(links.HISTORY).send(REQUEST)
    assert receive(receiver, 1) == [REQUEST]
    assert journal.removed_socket_file() is None and list(runtime_dir.iterdir()) == []


def test_with_keys_the_socket_files_work_as_before(bus, settings, keys):
    ours = dataclasses.replace(settings, curve_dir=keys("ours"))
    receiver = bus("journal", ours).receiver(links.HISTORY)
    bus("app").sender(links.HISTORY).send(REQUEST)
    assert receive(receiver, 1) == [REQUEST]


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
