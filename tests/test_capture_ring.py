"""The ring: what it holds survives whatever happens to the process that writes it."""

import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from rig.processes import eventually
from voicetap.errors import ConfigError
from voicetap.messages import FRAME_BYTES, FRAME_SAMPLES, AudioFrame, ReplayRequest
from voicetap_capture import ring as ring_module
from voicetap_capture.framer import Framer
from voicetap_capture.ring import MAX_REPLAY_FRAMES, Ring, replay_frames, replay_span

SECONDS = 10.0  # 312 slots


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audio-mic.ring"


def open_ring(path: Path, seconds: float = SECONDS, origin: str = "mic:") -> Ring:
    return Ring(path, "mic", seconds, origin)


def frame(ring: Ring, seq: int, reason: str = "") -> AudioFrame:
    return AudioFrame(
        source="mic",
        stream=ring.stream,
        seq=seq,
        position=seq * FRAME_SAMPLES,
        captured_ns=seq + 1,
        wall_ns=seq + 2,
        pcm=struct.pack("<H", seq % 65536) * FRAME_SAMPLES,
        gap_reason=reason,
    )


def fill(ring: Ring, frames: int) -> None:
    for seq in range(ring.next_seq, ring.next_seq + frames):
        ring.commit(frame(ring, seq))


def test_what_is_committed_is_read_back(path):
    with open_ring(path) as ring:
        assert (ring.first_seq, ring.next_seq, ring.next_position, ring.last()) == (0, 0, 0, None)
        committed = frame(ring, 0, reason="device_lost")
        ring.commit(committed)
        assert ring.read(0) == committed == ring.last()
        assert (ring.next_seq, ring.next_position) == (1, FRAME_SAMPLES)
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_oldest_frames_are_overwritten(path):
    with open_ring(path) as ring:
        fill(ring, 1000)
        assert ring.next_seq - ring.first_seq == ring.slots - 1
        for seq in range(ring.first_seq, ring.next_seq):
            assert ring.read(seq) == frame(ring, seq)
        assert ring.read(ring.first_seq - 2) is None


def test_numbering_continues_after_a_restart(path):
    with open_ring(path) as ring:
        fill(ring, 500)
        stream = ring.stream
    with open_ring(path) as ring:
        assert (ring.stream, ring.next_seq) == (stream, 500)
        assert ring.last() == frame(ring, 499)
        fill(ring, 1)
        assert ring.read(500) == frame(ring, 500)


def test_a_slot_torn_by_a_kill_is_no_frame(path):
    with open_ring(path) as ring:
        fill(ring, ring.slots + 5)
        stream, next_seq = ring.stream, ring.next_seq
        offset = ring._offset(next_seq)
    with path.open("r+b") as file:  # half of the next frame is written, the head is not
        file.seek(offset)
        file.write(os.urandom(500))
    with open_ring(path) as ring:
        assert (ring.stream, ring.next_seq) == (stream, next_seq)
        assert ring.read(ring.first_seq) and ring.last()
        fill(ring, 1)
        assert ring.last() == frame(ring, next_seq)


def test_a_flipped_bit_is_noticed(path):
    with open_ring(path) as ring:
        fill(ring, 10)
        ring._map[ring._offset(5) + 700] ^= 1
        assert ring.read(5) is None
        assert ring.read(6) == frame(ring, 6)


@pytest.mark.parametrize("damage", ["truncated", "foreign", "head", "last slot", "empty"])
def test_a_damaged_file_is_replaced_by_a_new_stream(path, damage):
    with open_ring(path) as ring:
        fill(ring, 10)
        stream, last = ring.stream, ring._offset(9)
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        del content[-1:]
    elif damage == "foreign":
        content[:8] = b"RIFFWAVE"
    elif damage == "head":
        content[128:136] = struct.pack("<Q", 2**60)
    elif damage == "last slot":
        content[last + 100] ^= 1
    else:
        content = b""
    path.write_bytes(content)
    with open_ring(path) as ring:
        assert ring.stream != stream
        assert ring.next_seq == 0


@pytest.mark.parametrize("other", [{"seconds": 20.0}, {"origin": "mic:USB"}])
def test_another_ring_is_another_stream(path, other):
    with open_ring(path) as ring:
        fill(ring, 10)
        stream = ring.stream
    with open_ring(path, **other) as ring:
        assert ring.stream != stream and ring.next_seq == 0
    assert [path] == list(path.parent.iterdir())


def test_another_boot_is_another_stream(path, monkeypatch):
    with open_ring(path) as ring:
        fill(ring, 10)
    monkeypatch.setattr(ring_module, "_boot_id", lambda: "another")
    with open_ring(path) as ring:
        assert ring.next_seq == 0


def test_a_full_disk_is_one_line_and_leaves_nothing(path, monkeypatch):
    def full(fd: int, offset: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ConfigError, match="no room for 0 MB of sound: No space left .* capture.ring_s"):
        open_ring(path).__enter__()
    assert [] == list(path.parent.iterdir())


def test_a_ring_that_is_replaced_does_not_count_against_the_room(path, monkeypatch):
    with open_ring(path, seconds=20.0) as ring:
        fill(ring, 10)

    def allocate(fd: int, offset: int, length: int) -> None:
        if sum(file.stat().st_size for file in path.parent.iterdir()):
            raise OSError(28, "No space left on device")
        os.ftruncate(fd, length)

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    with open_ring(path) as ring:
        assert ring.next_seq == 0


def test_a_file_name_may_be_any_bytes(path):
    origin = os.fsdecode(b"file:/caf\xe9.wav")
    with open_ring(path, origin=origin) as ring:
        fill(ring, 10)
    with open_ring(path, origin=origin) as ring:
        assert ring.next_seq == 10


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_capture_ring import open_ring, frame
with open_ring(Path(sys.argv[1])) as ring:
    while True:
        ring.commit(frame(ring, ring.next_seq))
"""


def test_a_writer_killed_at_any_moment_leaves_whole_frames(path):
    stream, seen = None, 0
    for _ in range(6):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(Path(__file__).parent)])
        eventually(lambda seen=seen: _next_seq(path) > seen + 400, 10, "the writer writes")
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        with open_ring(path) as ring:
            assert stream in (None, ring.stream)
            stream, seen = ring.stream, ring.next_seq
            for seq in range(ring.first_seq, seen):
                assert ring.read(seq) == frame(ring, seq)


def _next_seq(path: Path) -> int:
    if not path.exists():
        return 0
    with path.open("rb") as file:
        file.seek(128)
        return struct.unpack("<Q", file.read(8))[0]


def test_a_frame_fits_its_slot():
    assert ring_module._SLOT_BYTES == 64 + FRAME_BYTES, "600 s are 20 MB"


# ---- replay -------------------------------------------------------------------------------------


def request(from_seq: int, to_seq: int) -> ReplayRequest:
    return ReplayRequest(source="mic", stream="ab12", from_seq=from_seq, to_seq=to_seq, requester="vad")


@pytest.mark.parametrize(
    "asked, sent",
    [((5, 8), (5, 8)), ((0, 8), (3, 8)), ((5, 99), (5, 20)), ((-9, 2), ()), ((30, 40), ()), ((8, 5), ())],
)
def test_replay_sends_the_requested_frames_that_are_held(asked, sent):
    assert list(replay_span(request(*asked), first_seq=3, next_seq=20)) == list(range(*sent) if sent else [])


def test_replay_sends_a_bounded_piece():
    assert list(replay_span(request(0, 10**9), 10, 10**6)) == list(range(10, 10 + MAX_REPLAY_FRAMES))


def test_a_damaged_frame_is_replayed_as_silence():
    held = {frame.seq: frame for frame in Framer("mic", "ab12", None).add(b"\1" * 3 * FRAME_BYTES, 0, 0)}
    before, damaged, after = replay_frames(range(0, 3), {0: held[0], 2: held[2]}.get)
    assert (before, after) == (held[0], held[2])
    assert (damaged.seq, damaged.position, damaged.pcm) == (1, FRAME_SAMPLES, bytes(FRAME_BYTES))
