"""Audio files of any format, decoded by PyAV to 16 kHz mono."""

import logging
from collections.abc import Iterator

import av

from voicetap.errors import ConfigError
from voicetap.messages import SAMPLE_BYTES, SAMPLE_RATE_HZ
from voicetap.vocabulary import SourceStatus

from . import Jump
from .channels import MIX, ChannelMixer
from .timeline import ELEMENTARY_FORMATS, Hole, Timeline

MAX_DECODE_BYTES = 1 << 20  # per read, half a minute of audio: seeking in a long file must not delay the heartbeat

log = logging.getLogger("capture")


class FileSource:
    """The first audio stream of the file `path`, from sample `position` on. Raises ConfigError if there is no audio.

    A position is that of the file's own time, from its start: audio that begins late, and what is missing between, are
    jumps. It is reached by decoding from the start: a seek in a compressed file is not exact to the sample.
    """

    live = False
    detail = ""
    is_starting = False

    def __init__(self, path: str, position: int, realtime: bool, channel: int = MIX):
        self.state = SourceStatus.LIVE
        self.realtime = realtime
        self.jump: Jump | None = None
        self._next_position = position  # of the audio after `_ready`
        self._ready = b""
        self._mixer = ChannelMixer(1, MIX)
        try:
            self._container = av.open(path)
        except av.error.FFmpegError as error:
            raise ConfigError(f"{path}: {error.strerror}") from None
        try:
            self._stream = self._audio_stream(path, channel)
            self._blocks = self._positioned(channel)
            self._next = next(self._blocks, None)
            if not self._next:
                raise ConfigError(f"{path}: it holds no sound")
        except BaseException:
            self._container.close()
            raise

    @property
    def note(self) -> str:
        return self._mixer.note

    def wait_s(self) -> float:
        return 0.0

    def close(self) -> None:
        self._blocks.close()
        self._container.close()

    def read(self, max_bytes: int) -> bytes:
        """At most `max_bytes`; empty at the end, and until `position` is reached."""
        self.jump = None
        decoded = 0
        while self._next and len(self._ready) < max_bytes and decoded < MAX_DECODE_BYTES:
            jump, pcm = self._next
            if jump.position > self._next_position:
                if self._ready:
                    break  # first what comes before the hole
                self.jump, self._next_position = jump, jump.position
            skipped = (self._next_position - jump.position) * SAMPLE_BYTES
            self._ready += pcm[skipped:]
            self._next_position += max(0, len(pcm) - skipped) // SAMPLE_BYTES
            decoded += len(pcm)
            self._next = next(self._blocks, None)
        pcm, self._ready = self._ready[:max_bytes], self._ready[max_bytes:]
        if not self._next and not self._ready:
            self.state = SourceStatus.ENDED
        return pcm

    def _audio_stream(self, path: str, channel: int) -> av.AudioStream:
        if not self._container.streams.audio:
            raise ConfigError(f"{path}: it has no audio stream")
        stream = self._container.streams.audio[0]
        channels = stream.codec_context.channels
        if 1 < channels <= channel:
            raise ConfigError(f"{path}: it has {channels} channels, and capture.channel is {channel}")
        return stream

    def _positioned(self, channel: int) -> Iterator[tuple[Jump, bytes]]:
        """Non-empty blocks of mono PCM, each with its position, and why there may be a hole before it."""
        at = Jump(0, "")
        for piece in self._pieces(channel):
            if isinstance(piece, Jump):
                at = piece
            elif piece:
                yield at, piece
                at = Jump(at.position + len(piece) // SAMPLE_BYTES, at.reason)

    def _pieces(self, channel: int) -> Iterator[bytes | Jump]:
        """Mono PCM, and a Jump after every hole."""
        resampler, resampled_format = None, None
        for frame, jump in self._frames():
            if resampler and (jump or resampled_format != _format_of(frame)):
                yield from map(self._mono, resampler.resample(None))
                resampler = None
            if jump:
                yield jump
            if not resampler:
                resampler = av.AudioResampler(format="s16", layout=frame.layout, rate=SAMPLE_RATE_HZ)
                if not resampled_format or frame.layout.name != resampled_format[1]:
                    self._mixer = ChannelMixer(frame.layout.nb_channels, min(channel, frame.layout.nb_channels - 1))
                resampled_format = _format_of(frame)
            frame.pts = None
            yield from map(self._mono, resampler.resample(frame))
        if resampler:
            yield from map(self._mono, resampler.resample(None))

    def _frames(self) -> Iterator[tuple[av.AudioFrame, Jump | None]]:
        """Decoded frames, with a Jump where one does not follow the last. Damaged packets are skipped, the same ones
        in every run."""
        is_elementary = self._container.format.name in ELEMENTARY_FORMATS
        timeline = Timeline(is_elementary, is_alone=len(self._container.streams) == 1)
        start_s = (self._container.start_time or 0) / av.time_base
        for packet in self._packets():
            decoded = _decoded(packet)
            timeline.on_packet(packet.pos, packet.size, is_damaged=decoded is None)
            for frame in decoded or ():
                timestamp_s = None if frame.pts is None else float(frame.pts * frame.time_base) - start_s
                hole = timeline.place(timestamp_s, frame.samples / frame.sample_rate)
                yield frame, _jump(hole) if hole else None

    def _mono(self, frame: av.AudioFrame) -> bytes:
        return self._mixer.to_mono(bytes(frame.planes[0])[: frame.samples * frame.layout.nb_channels * SAMPLE_BYTES])

    def _packets(self) -> Iterator[av.Packet]:
        try:
            yield from self._container.demux(self._stream)
        except av.error.FFmpegError as error:
            log.warning("the rest of the file cannot be read: %s", error)


def _decoded(packet: av.Packet) -> list[av.AudioFrame] | None:
    try:
        return packet.decode()
    except av.error.FFmpegError as error:
        log.warning("skipped a damaged packet: %s", error)
        return None


def _format_of(frame: av.AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _jump(hole: Hole) -> Jump:
    log.warning("no audio from %.1f to %.1f s of the file: %s", hole.start_s, hole.end_s, hole.reason)
    return Jump(round(hole.end_s * SAMPLE_RATE_HZ), hole.reason)
