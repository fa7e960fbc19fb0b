"""Audio files of any format, decoded by PyAV to 16 kHz mono."""

import logging
from collections.abc import Iterator

import av

from voicetap.errors import ConfigError
from voicetap.messages import SAMPLE_BYTES, SAMPLE_RATE_HZ, SourceStatus

MAX_DECODE_BYTES = 1 << 20  # per read, half a minute of audio: seeking in a long file must not delay the heartbeat

log = logging.getLogger("capture")


class FileSource:
    """The first audio stream of the file `path`, from sample `position` on. Raises ConfigError if there is no audio.

    The position is reached by decoding from the start: a seek in a compressed file is not exact to the sample.
    """

    live = False
    detail = ""

    def __init__(self, path: str, position: int, realtime: bool):
        self.state = SourceStatus.LIVE
        self.realtime = realtime
        self._skip_bytes = position * SAMPLE_BYTES
        self._ready = b""
        try:
            self._container = av.open(path)
        except av.error.FFmpegError as error:
            raise ConfigError(f"{path}: {error.strerror}") from None
        try:
            self._blocks = self._decode(path)
            self._next = next(self._blocks, b"")
            if not self._next:
                raise ConfigError(f"{path}: it holds no sound")
        except BaseException:
            self._container.close()
            raise

    def wait_s(self) -> float:
        return 0.0

    def close(self) -> None:
        self._blocks.close()
        self._container.close()

    def read(self, max_bytes: int) -> bytes:
        """At most `max_bytes`; empty at the end, and until `position` is reached."""
        decoded = 0
        while self._next and len(self._ready) < max_bytes and decoded < MAX_DECODE_BYTES:
            decoded += len(self._next)
            self._ready += self._next[self._skip_bytes :]
            self._skip_bytes = max(0, self._skip_bytes - len(self._next))
            self._next = next(self._blocks, b"")
        pcm, self._ready = self._ready[:max_bytes], self._ready[max_bytes:]
        if not self._next and not self._ready:
            self.state = SourceStatus.ENDED
        return pcm

    def _decode(self, path: str) -> Iterator[bytes]:
        """Non-empty blocks of PCM. Damaged packets are skipped, the same ones in every run."""
        if not self._container.streams.audio:
            raise ConfigError(f"{path}: it has no audio stream")
        resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)
        for packet in self._packets():
            for decoded in _frames(packet):
                yield from filter(None, map(_pcm, resampler.resample(decoded)))
        yield from filter(None, map(_pcm, resampler.resample(None)))

    def _packets(self) -> Iterator[av.Packet]:
        try:
            yield from self._container.demux(self._container.streams.audio[0])
        except av.error.FFmpegError as error:
            log.warning("the rest of the file cannot be read: %s", error)


def _frames(packet: av.Packet) -> list[av.AudioFrame]:
    try:
        return packet.decode()
    except av.error.FFmpegError as error:
        log.warning("skipped a damaged packet: %s", error)
        return []


def _pcm(frame: av.AudioFrame) -> bytes:
    return bytes(frame.planes[0])[: frame.samples * SAMPLE_BYTES]
