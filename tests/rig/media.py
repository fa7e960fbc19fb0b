"""Media files written by PyAV: audio at chosen times, beside a video or alone, whole or damaged."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_media(
    path: Path, codec: str, parts: list[tuple[float, np.ndarray]], rate_hz: int = 16_000, video_s: float = 0
):
    """Writes `parts`, each int16 samples (or samples × channels) and the time in seconds at which they begin."""
    channels = parts[0][1].shape[1] if parts[0][1].ndim > 1 else 1
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10) if video_s else None
        audio = container.add_stream(codec, rate=rate_hz, layout=layout)
        if video:
            _write_video(container, video, round(10 * video_s))
        size = audio.codec_context.frame_size or 1024
        for start_s, samples in parts:
            for at in range(0, len(samples) - size + 1, size):
                frame = _frame(samples[at : at + size], layout, rate_hz, round(start_s * rate_hz) + at)
                for fitted in av.AudioResampler(audio.codec_context.format, layout, rate_hz).resample(frame):
                    container.mux(audio.encode(fitted))
        container.mux(audio.encode(None))
    return path


def damage(path: Path, start: float, end: float) -> Path:
    """Overwrites a part of the file, given as shares of its length, with zeros."""
    content = bytearray(path.read_bytes())
    first, last = int(len(content) * start), int(len(content) * end)
    content[first:last] = bytes(last - first)
    path.write_bytes(content)
    return path


def _write_video(container, stream, frames: int) -> None:
    stream.width = stream.height = 64
    stream.pix_fmt = "yuv420p"
    for number in range(frames):
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        frame.pts = number
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _frame(samples: np.ndarray, layout: str, rate_hz: int, position: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples).reshape(1, -1), format="s16", layout=layout)
    frame.rate, frame.pts, frame.time_base = rate_hz, position, Fraction(1, rate_hz)
    return frame
