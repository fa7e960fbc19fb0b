"""A reader of capture's frames, as vad is one: collects what one source publishes, and requests replays."""

import time

from rig.processes import eventually
from voicetap import links
from voicetap.bus import Bus
from voicetap.messages import AudioFrame, AudioHead, AudioProgress, Heartbeat, ReplayRequest

COLLECT_S = 15.0


class AudioReader:
    """Everything received from one source, and the heartbeats of its capture."""

    def __init__(self, bus: Bus, source: str):
        self.source = source
        self.frames: dict[int, AudioFrame] = {}
        self.replayed: dict[int, AudioFrame] = {}
        self.heads: list[AudioHead] = []
        self.heartbeats: list[Heartbeat] = []
        self._bus = bus
        self._audio = bus.receiver(links.AUDIO.of(source), (f"audio/{source}", f"head/{source}"))
        self._replay = bus.receiver(links.AUDIO.of(source), ("replay/test",))
        self._heartbeats = bus.receiver(links.HEARTBEAT.of("capture-1"))
        self._requests = bus.sender(links.REPLAY.of(source))

    def until(self, question, within_s: float = 15.0) -> None:
        eventually(lambda: self.poll() or question(), within_s, f"heads {self.heads[-3:]}, {len(self.frames)} frames")

    def poll(self) -> None:
        self._bus.wait(0.01)
        for message in self._audio:
            if isinstance(message, AudioHead):
                self.heads.append(message)
            else:
                self.frames[message.seq] = message
        self.replayed |= {frame.seq: frame for frame in self._replay}
        self.heartbeats += self._heartbeats

    @property
    def state(self) -> str:
        return self.heads[-1].state if self.heads else ""

    @property
    def next_seq(self) -> int:
        return self.heads[-1].next_seq if self.heads else 0

    def progress(self, needed_seq: int, next_seq: int = 0, state: str = "") -> None:
        stream = self.heads[-1].stream
        where = AudioProgress(source=self.source, stream=stream, needed_seq=needed_seq, next_seq=next_seq, state=state)
        self._requests.send(where)

    def request(self, from_seq: int, to_seq: int, stream: str = "") -> None:
        stream = stream or self.heads[-1].stream
        self._requests.send(
            ReplayRequest(source=self.source, stream=stream, from_seq=from_seq, to_seq=to_seq, requester="test")
        )

    def collect(self) -> list[AudioFrame]:
        """All frames, in order, by replay."""
        deadline_s = time.monotonic() + COLLECT_S
        while missing := [seq for seq in range(self.next_seq) if seq not in self.replayed]:
            # Repeatedly, as vad does: frames sent by a capture that was killed may be lost.
            self.request(missing[0], self.next_seq)
            self.poll()
            if missing[0] not in self.replayed and time.monotonic() > deadline_s:
                raise AssertionError(f"frame {missing[0]} does not come; heads {self.heads[-3:]}")
        return [self.replayed[seq] for seq in range(self.next_seq)]
