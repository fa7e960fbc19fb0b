"""How much the frames of one stream sound like speech: what follows on one another is heard together."""

from collections.abc import Iterable

from voicetap.messages import FRAME_SAMPLES, AudioFrame

from .silero import Silero


class Hearing:
    """Where something is missing between two frames, the model forgets what was before."""

    def __init__(self, silero: Silero):
        self._silero = silero
        self._heard_end = -1  # position after the last frame

    def probabilities(self, frames: Iterable[AudioFrame]) -> dict[int, float]:
        """Of speech, by the frame's `seq`."""
        found: dict[int, float] = {}
        for run in _runs(frames):
            if run[0].position != self._heard_end:
                self._silero.reset()
            self._heard_end = run[-1].position + FRAME_SAMPLES
            heard = self._silero.probabilities(b"".join(frame.pcm for frame in run))
            found |= zip((frame.seq for frame in run), heard, strict=True)
        return found


def _runs(frames: Iterable[AudioFrame]) -> list[list[AudioFrame]]:
    """Parts in which nothing is missing between one frame and the next."""
    found: list[list[AudioFrame]] = []
    for frame in frames:
        if not found or found[-1][-1].position + FRAME_SAMPLES != frame.position:
            found.append([])
        found[-1].append(frame)
    return found
