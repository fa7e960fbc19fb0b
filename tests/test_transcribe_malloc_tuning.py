"""malloc keeps the buffers of a decode for the next one, and returns them when idle."""

import subprocess
import sys

MEASURE = """
import ctypes, resource, sys, threading
from pathlib import Path
from voicetap_transcribe import malloc_tuning

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def rss_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() >> 20

def use(mib):
    buffer = libc.malloc(mib << 20)
    ctypes.memset(buffer, 1, mib << 20)
    libc.free(buffer)

def decode():
    use(54)  # once, for the first time
    before = faults()
    for _ in range(10):
        use(54)
    print(faults() - before, rss_mib())
    malloc_tuning.release_freed_memory()
    print(rss_mib())

if sys.argv[1:] == ["keep"]:
    malloc_tuning.keep_freed_memory()
thread = threading.Thread(target=decode)
thread.start()
thread.join()
"""
PAGES = 54 * 256


def measured(*arguments: str) -> tuple[int, int, int]:
    """Page faults of ten uses of a buffer, and MiB in use after them and after freed memory was released."""
    command = [sys.executable, "-c", MEASURE, *arguments]
    faults, kept_mib, left_mib = map(int, subprocess.run(command, capture_output=True, check=True).stdout.split())
    return faults, kept_mib, left_mib


def test_buffers_are_kept_from_use_to_use_and_given_back_in_a_pause():
    faults, kept_mib, left_mib = measured("keep")
    assert faults < PAGES, "ten uses cost less than one that begins with nothing"
    assert kept_mib - left_mib > 50


def test_without_it_each_use_begins_with_nothing():
    """If this fails, glibc keeps freed memory itself, and malloc_tuning is not needed any more."""
    faults, kept_mib, left_mib = measured()
    assert faults > 5 * PAGES
    assert kept_mib - left_mib < 10
