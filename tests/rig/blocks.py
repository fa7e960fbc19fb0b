"""Audio in blocks of any size, as devices deliver it."""

from hypothesis import strategies as st

from voicetap.messages import SAMPLE_BYTES

SIZES = st.lists(st.integers(1, 2000), min_size=1, max_size=8)  # samples


def blocks_of(pcm: bytes, sizes: list[int]) -> list[bytes]:
    """`pcm` in blocks of these sizes in samples, repeated as often as needed."""
    found, start = [], 0
    while start < len(pcm):
        size = SAMPLE_BYTES * sizes[len(found) % len(sizes)]
        found.append(pcm[start : start + size])
        start += size
    return found
