"""capture's parts that see no socket, device or clock."""

import math
import random
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicetap.messages import FRAME_BYTES, FRAME_NS, FRAME_SAMPLES, ReplayRequest
from voicetap_capture import replay
from voicetap_capture.backoff import EAGER_S, Backoff
from voicetap_capture.channels import MIX, to_mono
from voicetap_capture.continuity import TOLERANCE_NS, WINDOW_NS, Continuity
from voicetap_capture.framer import Framer
from voicetap_capture.pacing import BURST_FRAMES, Pace
from voicetap_capture.reopening import Reopening
from voicetap_capture.resampler import Resampler
from voicetap_capture.selection import InputDevice, choose

SECOND_NS = 1_000_000_000


def framer(last=None) -> Framer:
    return Framer("mic", "ab12", last)


def pieces(pcm: bytes, sizes: list[int]) -> list[bytes]:
    """`pcm` in blocks of these sizes, repeated as often as it takes; whole samples."""
    found, start = [], 0
    while start < len(pcm):
        size = 2 * sizes[len(found) % len(sizes)]
        found.append(pcm[start : start + size])
        start += size
    return found


SIZES = st.lists(st.integers(1, 2000), min_size=1, max_size=8)


@given(samples=st.integers(0, 6000), sizes=SIZES)
def test_frames_do_not_depend_on_the_blocks(samples, sizes):
    pcm = array("h", [index % 30000 for index in range(samples)]).tobytes()
    cut = framer()
    frames = [frame for piece in pieces(pcm, sizes) for frame in cut.feed(piece, 0, 0)]
    frames += cut.flush()
    assert b"".join(frame.pcm for frame in frames) == pcm + bytes(-len(pcm) % FRAME_BYTES)
    assert [frame.seq for frame in frames] == list(range(len(frames)))
    assert [frame.position for frame in frames] == [seq * FRAME_SAMPLES for seq in range(len(frames))]


def test_a_frame_is_as_old_as_the_sound_that_came_after_it():
    frames = list(framer().feed(bytes(3 * FRAME_BYTES), 10 * SECOND_NS, 20 * SECOND_NS))
    assert [10 * SECOND_NS - frame.captured_ns for frame in frames] == [2 * FRAME_NS, FRAME_NS, 0]
    assert [20 * SECOND_NS - frame.wall_ns for frame in frames] == [2 * FRAME_NS, FRAME_NS, 0]


def test_what_was_not_heard_is_a_jump_in_position_alone():
    cut = framer()
    [first] = cut.feed(bytes(FRAME_BYTES), SECOND_NS, 0)
    missing = cut.bridge(bytes(FRAME_BYTES), 3 * SECOND_NS + FRAME_NS, "device_lost")
    second, third = cut.feed(bytes(2 * FRAME_BYTES), 3 * SECOND_NS + 2 * FRAME_NS, 0)
    assert missing == 32_000
    assert second.seq == first.seq + 1
    assert second.position == first.position + FRAME_SAMPLES + 32_000
    assert (second.gap_reason, third.gap_reason) == ("device_lost", "")


def test_a_flushed_frame_does_not_lengthen_the_gap_after_it():
    cut = framer()
    assert [] == list(cut.feed(bytes(FRAME_BYTES // 2), SECOND_NS, 0))
    [flushed] = cut.flush()
    assert flushed.captured_ns == SECOND_NS + FRAME_NS // 2
    assert cut.bridge(b"", 2 * SECOND_NS, "device_lost") == 16_000 - FRAME_SAMPLES // 2


def test_a_successor_goes_on_after_the_last_frame():
    [last] = framer().feed(bytes(FRAME_BYTES), SECOND_NS, 0)
    [next_frame] = framer(last).feed(bytes(FRAME_BYTES), SECOND_NS, 0)
    assert (next_frame.seq, next_frame.position) == (1, FRAME_SAMPLES)


def test_sound_that_came_too_early_is_no_gap():
    [last] = framer().feed(bytes(FRAME_BYTES), SECOND_NS, 0)
    assert framer(last).bridge(bytes(FRAME_BYTES), SECOND_NS, "capture_restart") == 0


def heard_in(recording: Continuity, arrivals_s: list[float]) -> list[int]:
    """What is said to be missing when one frame comes at each of these times."""
    found = [recording.missing(FRAME_SAMPLES, int(arrival_s * SECOND_NS)) for arrival_s in arrivals_s]
    return [missing for missing in found if missing]


def test_samples_that_never_come_are_noticed():
    arrivals_s = [n * 0.032 for n in range(100)] + [n * 0.032 + 0.5 for n in range(100, 300)]
    assert heard_in(Continuity(), arrivals_s) == [pytest.approx(8000, abs=2)]


def test_a_slow_clock_a_jitter_and_a_late_burst_are_no_loss():
    drifting = [n * 0.032 * 1.0005 + (n % 7) * 0.01 for n in range(3000)]
    assert heard_in(Continuity(), drifting) == []
    burst = [n * 0.032 for n in range(100)] + [100 * 0.032 + 2.0] * 62 + [n * 0.032 for n in range(163, 400)]
    assert heard_in(Continuity(), burst) == []
    assert TOLERANCE_NS < WINDOW_NS


# ---- pace ---------------------------------------------------------------------------------------


def test_realtime_gives_a_frame_every_32_ms_whatever_came_before():
    pace = Pace(realtime=True, slots=1000, next_seq=100, now_s=5.0)
    assert pace.frames_due(100, 5.0) == 0
    assert pace.wait_s(100, 5.0) == pytest.approx(0.032)
    assert pace.frames_due(100, 5.033) == 1
    assert pace.frames_due(101, 5.033) == 0
    assert pace.frames_due(101, 5.1) == 2


def test_nothing_runs_further_ahead_than_the_ring_remembers():
    pace = Pace(realtime=False, slots=80, next_seq=0, now_s=0)
    assert pace.frames_due(0, 0) == 40, "half the ring before the reader has said anything"
    assert pace.frames_due(40, 0) == 0
    assert pace.wait_s(40, 0) > 0
    pace.hear(needed_seq=30)
    assert pace.frames_due(40, 0) == 60
    assert pace.frames_due(100, 0) == 0


def test_one_turn_takes_a_bounded_burst():
    assert Pace(realtime=False, slots=10_000, next_seq=0, now_s=0).frames_due(0, 0) == BURST_FRAMES


# ---- replay -------------------------------------------------------------------------------------


def request(from_seq: int, to_seq: int) -> ReplayRequest:
    return ReplayRequest(source="mic", stream="ab12", from_seq=from_seq, to_seq=to_seq, requester="vad")


@pytest.mark.parametrize(
    "asked, sent",
    [((5, 8), (5, 8)), ((0, 8), (3, 8)), ((5, 99), (5, 20)), ((-9, 2), ()), ((30, 40), ()), ((8, 5), ())],
)
def test_replay_sends_what_is_held(asked, sent):
    assert list(replay.span(request(*asked), first_seq=3, next_seq=20)) == list(range(*sent) if sent else [])


def test_replay_sends_a_bounded_piece():
    assert list(replay.span(request(0, 10**9), 10, 10**6)) == list(range(10, 10 + replay.MAX_FRAMES))


def test_a_damaged_frame_is_replayed_as_silence():
    held = {frame.seq: frame for frame in framer().feed(b"\1" * 3 * FRAME_BYTES, 0, 0)}
    before, damaged, after = replay.frames(range(0, 3), {0: held[0], 2: held[2]}.get)
    assert (before, after) == (held[0], held[2])
    assert (damaged.seq, damaged.position, damaged.pcm) == (1, FRAME_SAMPLES, bytes(FRAME_BYTES))


# ---- devices ------------------------------------------------------------------------------------


def device(name: str, index: int, is_default: bool = False) -> InputDevice:
    return InputDevice(name, index, 2, 48_000, False, is_default)


DEVICES = [device("USB Audio: - (hw:1,0)", 0), device("usb audio", 3), device("Built-in 7", 7, is_default=True)]


@pytest.mark.parametrize(
    "wanted, index",
    [
        ("", 7),
        ("usb audio", 3),
        ("USB Audio", 0),
        ("USB Audio: - (hw:1,0)", 0),
        ("(hw:1", 0),
        ("built.*7", 7),
        ("^usb audio$", 3),
        ("Jabra | Built-in", 7),
        ("3", 3),
        ("5", None),
        ("Jabra", None),
        ("|", None),
    ],
)
def test_a_device_is_chosen_by_name_and_never_replaced(wanted, index):
    chosen = choose(wanted, DEVICES)
    assert (chosen.index if chosen else None) == index


def test_back_off_is_eager_then_patient_then_eager_again():
    backoff = Backoff(max_s=2.0)
    eager = [backoff.next_wait_s() for _ in range(math.ceil(EAGER_S / 0.15))]
    assert set(eager) == {0.15}
    assert [backoff.next_wait_s() for _ in range(5)] == [0.25, 0.5, 1.0, 2.0, 2.0]
    backoff.reset()
    assert backoff.next_wait_s() == 0.15


class FakeDevice:
    name = "fake"
    remark = ""

    def __init__(self):
        self.blocks: list[bytes] = []
        self.error = None
        self.closed = False

    def read(self) -> bytes:
        if self.error:
            raise self.error
        return self.blocks.pop(0) if self.blocks else b""

    def tail(self) -> bytes:
        return b"tail"

    def close(self) -> None:
        self.closed = True


class Time:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_silent_device_is_closed_and_opened_again():
    time, opened = Time(), []

    def open_device() -> FakeDevice:
        opened.append(FakeDevice())
        return opened[-1]

    source = Reopening(open_device, device_timeout_s=1.0, retry_max_s=10.0, clock=time)
    assert source.read(0) == b"" and source.state == "live"
    opened[0].blocks.append(b"ab")
    assert source.read(0) == b"ab"
    time.now_s = 1.1
    assert source.read(0) == b"tail"
    assert (source.state, source.detail) == ("lost", "no sound from 'fake' for 1 s")
    assert opened[0].closed
    time.now_s += source.wait_s()
    source.read(0)
    assert len(opened) == 2 and source.state == "lost", "an open device that gives nothing is not back yet"
    opened[1].blocks.append(b"cd")
    assert source.read(0) == b"cd" and source.state == "live"


def test_a_remark_is_passed_on_and_taken_back(caplog):
    device = FakeDevice()
    source = Reopening(lambda: device, device_timeout_s=1.0, retry_max_s=10.0, clock=Time())
    for remark in ("", "moved", "moved", ""):
        device.remark = remark
        device.blocks.append(b"ab")
        source.read(0)
        source.read(0)
        assert (source.state, source.detail) == ("live", remark)
    assert [record.message for record in caplog.records] == ["moved", "listening to 'fake' again"]


def test_an_absent_device_is_tried_until_it_is_there(caplog):
    time, absent = Time(), True

    def open_device() -> FakeDevice:
        if absent:
            raise OSError("no such thing")
        return FakeDevice()

    source = Reopening(open_device, device_timeout_s=1.0, retry_max_s=10.0, clock=time)
    for _ in range(100):
        source.read(0)
        time.now_s += source.wait_s()
    assert (source.state, source.detail) == ("lost", "no such thing")
    assert len(caplog.records) == 1, "said once"
    absent = False
    source.read(0)
    source._device.blocks.append(b"ab")
    assert source.read(0) == b"ab" and source.state == "live"


class PunctualDevice(FakeDevice):
    """A block every 32 ms, each a little late, as a sound server delivers them."""

    def __init__(self, time: Time):
        super().__init__()
        self._time = time
        self._dice = random.Random(1)
        self._due_s = 0.0
        self.looks = 0
        self.ages_s: list[float] = []

    def read(self) -> bytes:
        self.looks += 1
        if self._time.now_s < self._due_s:
            return b""
        self.ages_s.append(self._time.now_s - self._due_s)
        self._due_s = (len(self.ages_s) + 1) * 0.032 + self._dice.uniform(0, 0.0005)
        return bytes(FRAME_BYTES)


def test_a_device_is_asked_once_a_block_and_soon_after_it_is_there():
    time = Time()
    device = PunctualDevice(time)
    source = Reopening(lambda: device, device_timeout_s=1.0, retry_max_s=10.0, clock=time)
    source.read(0)
    while len(device.ages_s) < 500:
        source.read(0)
        time.now_s += source.wait_s() + 0.0003  # a wake-up takes its time
    assert device.looks < 1.3 * 500
    assert max(device.ages_s[20:]) < 0.0035 and sum(device.ages_s) / 500 < 0.0015


# ---- channels and rates -------------------------------------------------------------------------


def test_a_channel_is_picked_or_all_are_mixed():
    stereo = array("h", [100, 300, -32768, -32768]).tobytes()
    assert to_mono(stereo, 2, 1) == array("h", [300, -32768]).tobytes()
    assert to_mono(stereo, 2, MIX) == array("h", [200, -32768]).tobytes()
    assert to_mono(stereo, 1, MIX) == stereo


def tone(rate_hz: int, seconds: float, frequency_hz: float, amplitude: int = 20_000) -> bytes:
    angles = (2 * math.pi * frequency_hz * index / rate_hz for index in range(int(rate_hz * seconds)))
    return array("h", [round(amplitude * math.sin(angle)) for angle in angles]).tobytes()


@given(rate_hz=st.sampled_from([8000, 44_100, 48_000]), sizes=SIZES)
def test_resampling_does_not_depend_on_the_blocks(rate_hz, sizes):
    pcm = tone(rate_hz, 0.2, 440)
    whole = Resampler(rate_hz).feed(pcm, last=True)
    resampler = Resampler(rate_hz)
    blocks = [resampler.feed(piece) for piece in pieces(pcm, sizes)]
    assert b"".join(blocks) + resampler.feed(b"", last=True) == whole
    assert len(whole) // 2 == pytest.approx(3200, abs=1)


def test_resampling_keeps_the_tone():
    heard = array("h", Resampler(48_000).feed(tone(48_000, 0.5, 1000), last=True))
    wanted = array("h", tone(16_000, 0.5, 1000))
    middle = range(1000, 7000)
    assert max(abs(heard[index] - wanted[index]) for index in middle) < 100
