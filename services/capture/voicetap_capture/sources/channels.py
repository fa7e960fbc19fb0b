"""From several channels to one: the channel that is set, or the mean of all as long as it is about as loud as any.

Where the channels cancel out (one is inverted) or most are silent, the mean loses the voice; then the loudest channel
is used. Plain Python: numpy would double capture's start-up time.
"""

import logging
from array import array
from operator import mul

MIX = -1  # as a channel: chosen automatically
MAX_LOSS = 8.0  # in power, 9 dB: the mean of two channels loses 6 dB where only one has a voice
QUIET_POWER = 30.0**2  # -61 dBFS: what is below is noise, and changes nothing
HALF_LIFE_SAMPLES = 800.0  # of the measured power, at 16 kHz 50 ms: the length of a syllable's onset
FADE_SAMPLES = 80  # from one choice to the next, 5 ms at 16 kHz, so that it does not click

log = logging.getLogger("capture")


class ChannelMixer:
    """Blocks of interleaved s16 samples in, of one channel out. `wanted` is one of the `channels`, or MIX."""

    def __init__(self, channels: int, wanted: int):
        self._channels = channels
        self._choice = wanted
        self._is_automatic = wanted == MIX and channels > 1
        self._powers = [0.0] * (channels + 1)  # of each channel, and last of their mean

    @property
    def note(self) -> str:
        """What is used, for users; empty if there is no choice."""
        if self._channels == 1:
            return ""
        return (
            f"channel {self._choice} of {self._channels}" if self._choice != MIX else f"{self._channels} channels mixed"
        )

    def to_mono(self, pcm: bytes) -> bytes:
        if self._channels == 1 or not pcm:
            return pcm
        samples = array("h", pcm)
        parts = [samples[channel :: self._channels] for channel in range(self._channels)]
        if not self._is_automatic:
            return parts[self._choice].tobytes()
        if all(part == parts[0] for part in parts[1:]):  # one channel, copied: most stereo files
            return parts[0].tobytes()
        parts.append(_mean(parts))
        before = self._choice
        self._choose(parts)
        after = parts[self._choice]
        return (after if before == self._choice else _faded(parts[before], after)).tobytes()

    def _choose(self, parts: list[array]) -> None:
        kept = 0.5 ** (len(parts[0]) / HALF_LIFE_SAMPLES)
        now = [sum(map(mul, part, part)) / len(part) for part in parts]
        self._powers = [kept * power + (1 - kept) * new for power, new in zip(self._powers, now, strict=True)]
        *channels, _ = self._powers
        loudest = max(channels)
        if loudest > QUIET_POWER and self._powers[self._choice] * MAX_LOSS < loudest:
            is_mix_loud = self._powers[MIX] * MAX_LOSS >= loudest
            self._choice = MIX if is_mix_loud else channels.index(loudest)
            log.debug("using %s", self.note)


def _mean(parts: list[array]) -> array:
    return array("h", [sum(together) // len(parts) for together in zip(*parts, strict=True)])


def _faded(before: array, after: array) -> array:
    """`after`, blended in over its first samples."""
    length = min(FADE_SAMPLES, len(after))
    for index in range(length):
        after[index] = (before[index] * (length - index) + after[index] * index) // length
    return after
