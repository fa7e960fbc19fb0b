"""CPU seconds and memory (PSS, the proportional share of shared pages) of a group of processes."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator

import psutil

from rig import processes

SAMPLE_PERIOD_S = 2.0
MIB = 1 << 20

Find = Callable[[], Iterable[psutil.Process]]


def of_tree(pid: int) -> Find:
    """A process and its descendants."""
    return lambda: [root := psutil.Process(pid), *root.children(recursive=True)]


class Meter:
    """Measures between the begin and the end of `with Meter(find) as meter:`; memory is sampled on a thread."""

    def __init__(self, find: Find):
        self._find = find
        self._done = threading.Event()
        self._sampling = threading.Thread(target=self._sample_until_done)
        self.cpu_s = self.seconds = 0.0
        self.peak_pss_bytes = 0

    def __enter__(self) -> "Meter":
        self._start_s, self._cpu_before_s = time.monotonic(), dict(self._cpu_s())
        self._sampling.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._sampling.join()
        self.seconds = time.monotonic() - self._start_s
        self.cpu_s = sum(cpu_s - self._cpu_before_s.get(pid, 0.0) for pid, cpu_s in self._cpu_s())

    def _sample_until_done(self) -> None:
        while not self._done.wait(SAMPLE_PERIOD_S):
            self.peak_pss_bytes = max(self.peak_pss_bytes, sum(self._each(lambda p: p.memory_full_info().pss)))

    def _cpu_s(self) -> Iterator[tuple[int, float]]:
        return self._each(lambda process: (process.pid, sum(process.cpu_times()[:2])))

    def _each(self, measure: Callable[[psutil.Process], object]) -> Iterator:
        for process in self._find():
            try:
                yield measure(process)
            except psutil.NoSuchProcess:
                continue  # it has just ended


def of_runtime_dir(path) -> Find:
    """All processes of a bundle."""
    return lambda: processes.processes_of(path)
