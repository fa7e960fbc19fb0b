"""What a group of processes costs: CPU seconds, and the memory that is their own share (PSS)."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator

import psutil

from rig import processes

LOOK_EVERY_S = 2.0
MIB = 1 << 20

Find = Callable[[], Iterable[psutil.Process]]


def of_tree(pid: int) -> Find:
    """A process and all below it."""
    return lambda: [root := psutil.Process(pid), *root.children(recursive=True)]


class Meter:
    """`with Meter(find) as meter:`, and then `meter.cpu_s`, `meter.seconds`, `meter.peak_pss_bytes`."""

    def __init__(self, find: Find):
        self._find = find
        self._done = threading.Event()
        self._looking = threading.Thread(target=self._look_until_done)
        self.cpu_s = self.seconds = 0.0
        self.peak_pss_bytes = 0

    def __enter__(self) -> "Meter":
        self._start_s, self._cpu_before_s = time.monotonic(), dict(self._cpu_s())
        self._looking.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._looking.join()
        self.seconds = time.monotonic() - self._start_s
        self.cpu_s = sum(cpu_s - self._cpu_before_s.get(pid, 0.0) for pid, cpu_s in self._cpu_s())

    def _look_until_done(self) -> None:
        while not self._done.wait(LOOK_EVERY_S):
            self.peak_pss_bytes = max(self.peak_pss_bytes, sum(self._each(lambda p: p.memory_full_info().pss)))

    def _cpu_s(self) -> Iterator[tuple[int, float]]:
        return self._each(lambda process: (process.pid, sum(process.cpu_times()[:2])))

    def _each(self, ask: Callable[[psutil.Process], object]) -> Iterator:
        for process in self._find():
            try:
                yield ask(process)
            except psutil.NoSuchProcess:
                continue  # it has just ended


def of_runtime_dir(path) -> Find:
    """All processes of a bundle."""
    return lambda: processes.processes_of(path)
