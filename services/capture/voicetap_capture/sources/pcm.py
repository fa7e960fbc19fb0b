"""Raw audio of any rate, number of channels and encoding to s16le mono 16 kHz; and what is no raw audio."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from voicetap.messages import FRAME_SAMPLES, SAMPLE_RATE_HZ

from .channels import MIX, ChannelMixer

HEAD_BYTES = 4096  # of a stream, in which its container is recognised
_BYTES = {"s16le": 2, "s16be": 2, "u8": 1, "s32le": 4, "f32le": 4, "f32be": 4, "mulaw": 1, "alaw": 1}


@dataclass(frozen=True)
class RawFormat:
    """`encoding` is one of the setting's choices; `channel` is the one to use, or MIX."""

    rate_hz: int = SAMPLE_RATE_HZ
    channels: int = 1
    encoding: str = "s16le"
    channel: int = MIX

    @property
    def sample_bytes(self) -> int:
        """Of one sample of all channels."""
        return _BYTES[self.encoding] * self.channels

    @property
    def frame_bytes(self) -> int:
        """What becomes a frame; more or less, if the rate is another one."""
        return FRAME_SAMPLES * self.rate_hz // SAMPLE_RATE_HZ * self.sample_bytes

    @property
    def is_seekable(self) -> bool:
        """Whether a sample of the output depends on one sample of the input alone."""
        return self.rate_hz == SAMPLE_RATE_HZ and (self.channels == 1 or self.channel != MIX)


class RawConverter:
    """Whole samples in, s16le mono 16 kHz out."""

    def __init__(self, format_: RawFormat):
        self._encoding = format_.encoding
        self._mixer = ChannelMixer(format_.channels, min(format_.channel, format_.channels - 1))
        self._resampler = None
        if format_.rate_hz != SAMPLE_RATE_HZ:
            from .resampler import Resampler

            self._resampler = Resampler(format_.rate_hz)

    @property
    def note(self) -> str:
        return self._mixer.note

    def convert(self, pcm: bytes, last: bool = False) -> bytes:
        """The output available so far; with the `last` block all of it, after which none may follow."""
        mono = self._mixer.to_mono(pcm if self._encoding == "s16le" else _to_s16(pcm, self._encoding))
        return self._resampler.resample(mono, last) if self._resampler else mono


def _to_s16(pcm: bytes, encoding: str) -> bytes:
    import numpy  # 0.1 s of start-up, only where another encoding is set

    if encoding in ("mulaw", "alaw"):
        return numpy.array(_expanded(encoding), "<i2")[numpy.frombuffer(pcm, "u1")].tobytes()
    if encoding.startswith("f32"):
        samples = numpy.nan_to_num(numpy.frombuffer(pcm, "<f4" if encoding == "f32le" else ">f4"))
        return numpy.clip(numpy.rint(samples * 32768.0), -32768, 32767).astype("<i2").tobytes()
    if encoding == "u8":
        return ((numpy.frombuffer(pcm, "u1").astype("<i2") - 128) << 8).tobytes()
    if encoding == "s32le":
        return (numpy.frombuffer(pcm, "<i4") >> 16).astype("<i2").tobytes()
    return numpy.frombuffer(pcm, ">i2").astype("<i2").tobytes()


@cache
def _expanded(encoding: str) -> list[int]:
    """The sample of each code: once, not for every block."""
    return [(_from_mulaw if encoding == "mulaw" else _from_alaw)(code) for code in range(256)]


def _from_mulaw(code: int) -> int:
    """ITU-T G.711."""
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)
    return 0x84 - magnitude if code & 0x80 else magnitude - 0x84


def _from_alaw(code: int) -> int:
    """ITU-T G.711."""
    code ^= 0x55
    exponent = (code & 0x70) >> 4
    magnitude = ((code & 0x0F) << 4) + (8 if exponent == 0 else 0x108)
    magnitude <<= max(0, exponent - 1)
    return magnitude if code & 0x80 else -magnitude


# ---- what is no raw audio -----------------------------------------------------------------------


def container_of(head: bytes) -> str:
    """What a stream with this head is, such as `a WAV file`; empty for what may be raw audio.

    Two bytes of an MPEG header are common in raw audio, so a second header must follow where the first says.
    """
    return next((name for name, fits in _CONTAINERS if fits(head)), "")


def may_be_mpeg(head: bytes) -> bool:
    """Whether more of the stream is needed to tell."""
    return head.startswith(b"\xff")


def _starts(*magics: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(magics)


def _is_chunked(outer: tuple[bytes, ...], *inner: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(outer) and head[8:12] in inner


def _is_mp3(head: bytes) -> bool:
    size = _mp3_frame_bytes(head)
    return bool(size and _mp3_frame_bytes(head[size:]))


def _mp3_frame_bytes(header: bytes) -> int:
    """Length of a frame of MPEG audio, layer III; 0 if there is none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return 0
    version, rate, bitrate = header[1] >> 3 & 3, header[2] >> 2 & 3, header[2] >> 4
    if version == 1 or rate == 3 or bitrate in (0, 15):
        return 0
    is_mpeg_1 = version == 3
    kbps = (_MPEG_1_KBPS if is_mpeg_1 else _MPEG_2_KBPS)[bitrate - 1]
    rate_hz = (44_100, 48_000, 32_000)[rate] >> (0 if is_mpeg_1 else 1 if version == 2 else 2)
    return (144 if is_mpeg_1 else 72) * 1000 * kbps // rate_hz + (header[2] >> 1 & 1)


def _is_adts(head: bytes) -> bool:
    size = _adts_frame_bytes(head)
    return bool(size and _adts_frame_bytes(head[size:]))


def _adts_frame_bytes(header: bytes) -> int:
    if len(header) < 6 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0:
        return 0
    return (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5


_MPEG_1_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG_2_KBPS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_CONTAINERS: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("a WAV file", _is_chunked((b"RIFF", b"RIFX", b"RF64"), b"WAVE")),
    ("an AIFF file", _is_chunked((b"FORM",), b"AIFF", b"AIFC")),
    ("an MP3 file", _starts(b"ID3\x02", b"ID3\x03", b"ID3\x04")),
    ("an MP3 file", _is_mp3),
    ("an AAC file", _is_adts),
    ("an Ogg file", _starts(b"OggS\0")),
    ("a FLAC file", _starts(b"fLaC")),
    ("a WebM or Matroska file", _starts(b"\x1aE\xdf\xa3")),
    ("an MP4 file", lambda head: head[4:8] == b"ftyp"),
    ("an AU file", _starts(b".snd\0")),
    ("a CAF file", _starts(b"caff\0")),
    ("an AMR file", _starts(b"#!AMR")),
)
