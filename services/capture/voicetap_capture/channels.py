"""One channel out of interleaved 16 bit sound."""

from array import array

MIX = -1


def to_mono(pcm: bytes, channels: int, wanted: int) -> bytes:
    """Channel `wanted`, or the mean of all for MIX. Plain Python: numpy would double capture's start-up time."""
    if channels == 1:
        return pcm
    samples = array("h", pcm)
    if wanted != MIX:
        return samples[wanted::channels].tobytes()
    parts = [samples[channel::channels] for channel in range(channels)]
    return array("h", [sum(together) // channels for together in zip(*parts, strict=True)]).tobytes()
