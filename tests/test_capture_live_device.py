"""A live device that fails, falls silent and comes back."""

import math
import random
import threading
import time as clock

import pytest

from voicetap.messages import FRAME_BYTES
from voicetap_capture.sources.live_device import OPENING_S, QUICK_RETRIES_S, LiveDevice, ReopenBackoff


def test_back_off_is_short_then_doubles_and_is_short_again_after_a_reset():
    backoff = ReopenBackoff(max_s=2.0)
    eager = [backoff.next_wait_s() for _ in range(math.ceil(QUICK_RETRIES_S / 0.15))]
    assert set(eager) == {0.15}
    assert [backoff.next_wait_s() for _ in range(5)] == [0.25, 0.5, 1.0, 2.0, 2.0]
    backoff.reset()
    assert backoff.next_wait_s() == 0.15


class FakeDevice:
    name = "fake"
    warning = ""
    note = "channel 1 of 2"

    def __init__(self):
        self.blocks: list[bytes] = []
        self.error = None
        self.closed = False

    def read(self) -> bytes:
        if self.error:
            raise self.error
        return self.blocks.pop(0) if self.blocks else b""

    def flush(self) -> bytes:
        return b"tail"

    def close(self) -> None:
        self.closed = True


def settle(source: LiveDevice) -> None:
    """Reads until the device is open, or could not be opened."""
    source.read(0)
    while source._opening:
        source._opening._thread.join()
        source.read(0)


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

    source = LiveDevice(open_device, device_timeout_s=1.0, retry_max_s=10.0, clock=time)
    settle(source)
    assert source.state == "live"
    opened[0].blocks.append(b"ab")
    assert source.read(0) == b"ab"
    time.now_s = 1.1
    assert source.read(0) == b"tail"
    assert (source.state, source.detail) == ("lost", "no sound from 'fake' for 1 s")
    assert opened[0].closed
    time.now_s += source.wait_s()
    settle(source)
    assert len(opened) == 2 and source.state == "lost", "an open device without audio is not back yet"
    opened[1].blocks.append(b"cd")
    assert source.read(0) == b"cd" and source.state == "live"


def test_a_warning_is_published_and_cleared(caplog):
    device = FakeDevice()
    source = LiveDevice(lambda: device, device_timeout_s=1.0, retry_max_s=10.0, clock=Time())
    for warning in ("", "moved", "moved", ""):
        device.warning = warning
        device.blocks.append(b"ab")
        settle(source)
        source.read(0)
        assert (source.state, source.detail) == ("live", warning)
    assert [record.message for record in caplog.records] == ["moved", "listening to 'fake' again"]


def test_a_missing_device_is_retried_until_it_is_there(caplog):
    time, absent = Time(), True

    def open_device() -> FakeDevice:
        if absent:
            raise OSError("no such thing")
        return FakeDevice()

    source = LiveDevice(open_device, device_timeout_s=1.0, retry_max_s=10.0, clock=time)
    for _ in range(100):
        settle(source)
        time.now_s += source.wait_s()
    assert (source.state, source.detail) == ("lost", "no such thing")
    assert len(caplog.records) == 1, "logged once"
    absent = False
    settle(source)
    source._device.blocks.append(b"ab")
    assert source.read(0) == b"ab" and source.state == "live"


class PunctualDevice(FakeDevice):
    """A block every 32 ms, each a little late, as a sound server delivers them."""

    def __init__(self, time: Time):
        super().__init__()
        self._time = time
        self._dice = random.Random(1)
        self._due_s = 0.0
        self.polls = 0
        self.ages_s: list[float] = []

    def read(self) -> bytes:
        self.polls += 1
        if self._time.now_s < self._due_s:
            return b""
        self.ages_s.append(self._time.now_s - self._due_s)
        self._due_s = (len(self.ages_s) + 1) * 0.032 + self._dice.uniform(0, 0.0005)
        return bytes(FRAME_BYTES)


def test_a_device_is_polled_once_a_block_and_soon_after_it_arrives():
    time = Time()
    device = PunctualDevice(time)
    source = LiveDevice(lambda: device, device_timeout_s=1.0, retry_max_s=10.0, clock=time)
    settle(source)
    while len(device.ages_s) < 500:
        source.read(0)
        time.now_s += source.wait_s() + 0.0003  # a wake-up takes its time
    assert device.polls < 1.3 * 500
    assert max(device.ages_s[20:]) < 0.0035 and sum(device.ages_s) / 500 < 0.0015


class SlowDevice:
    """Opens when `gate` is set."""

    def __init__(self):
        self.gate = threading.Event()
        self.threads: list[threading.Thread] = []
        self.device = FakeDevice()

    def __call__(self) -> FakeDevice:
        self.threads.append(threading.current_thread())
        self.gate.wait()
        return self.device


def test_a_device_that_takes_long_to_open_is_waited_for_and_opened_once(caplog):
    time, slow = Time(), SlowDevice()
    source = LiveDevice(slow, 1.0, 10.0, "Jabra", clock=time)
    for time.now_s in (0.0, 1.0, OPENING_S):
        assert (source.read(0), source.state, source.detail, source.is_starting) == (b"", "live", "", True)
        assert source.wait_s() < 0.1
    for time.now_s in (OPENING_S + 0.1, 100.0, 1000.0):
        source.read(0)
        assert (source.state, source.detail) == ("lost", "waiting for Jabra to open")
        assert not source.is_starting
    assert [record.message for record in caplog.records] == ["waiting for Jabra to open"]
    slow.gate.set()
    settle(source)
    slow.device.blocks.append(b"ab")
    assert source.read(0) == b"ab" and (source.state, source.detail) == ("live", "")
    assert len(slow.threads) == 1 and slow.threads[0] is not threading.current_thread()


def test_a_device_that_is_being_opened_is_abandoned_and_closed_once_it_is_open():
    slow = SlowDevice()
    source = LiveDevice(slow, 1.0, 10.0, clock=Time())
    source.read(0)
    start_s = clock.monotonic()
    source.close()
    assert clock.monotonic() - start_s < 1
    assert not slow.device.closed and slow.threads[0].daemon
    slow.gate.set()
    slow.threads[0].join()
    assert slow.device.closed


def test_a_device_that_has_just_been_opened_is_closed_with_its_source():
    slow = SlowDevice()
    slow.gate.set()
    source = LiveDevice(slow, 1.0, 10.0, clock=Time())
    source.read(0)
    source.close()
    assert slow.device.closed


def test_a_fault_of_ours_while_opening_ends_the_process():
    def open_device() -> FakeDevice:
        raise AttributeError("no such thing")

    source = LiveDevice(open_device, 1.0, 10.0, clock=Time())
    with pytest.raises(AttributeError):
        settle(source)
