"""A process of the simulated host: it turns when something comes or its time is up, and dies or freezes at any step.

A step is everything that others could see of it: a message sent or read, a change of a file, a named moment. Frozen in
the middle of a turn, it waits there while the world goes on, and then continues with what it knew before.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from .network import Receiver, Sender
from .node import Node

if TYPE_CHECKING:
    from .world import World

FOR_EVER_S = 60.0  # a process that nobody kills for this long is a violation


class Killed(BaseException):
    """The process goes no further than here; no `except Exception` may keep it alive."""


class Shell(Protocol):
    """A service as the simulation runs it."""

    def turn(self) -> float:
        """Works; then waits for at most so many seconds."""

    def drain(self) -> None:
        """Told to stop."""


class Process:
    """`make` makes its shell, in its first turn. `exited` hears how it ended."""

    def __init__(
        self,
        world: "World",
        service: str,
        name: str,
        pid: int,
        make: Callable[["Process"], Shell],
        exited: Callable[["Process", int], None],
    ):
        self.world = world
        self.service = service
        self.name = name
        self.pid = pid
        self.dead = False
        self.node = Node(self, world.settings)
        self.ends: list[Sender | Receiver] = []
        self.at_end: list[Callable[[], object]] = []
        self._make = make
        self._exited = exited
        self._shell: Shell | None = None
        self._turning = False
        self._wake_s = float("inf")
        self._frozen_until_s = 0.0
        self._frozen_for_ever = False
        self._deaf_until_s = 0.0
        self._fuse: list[tuple[int, Callable[[], None]]] = []  # steps to go, and what happens then
        self.steps = 0

    def start(self) -> None:
        self.wake(self.world.timeline.now_s)

    # ---- what befalls it ------------------------------------------------------------------------

    def after_steps(self, steps: int, happen: Callable[[], None]) -> None:
        self._fuse.append((self.steps + steps, happen))

    def spare(self) -> None:
        """What was to happen to it does not."""
        self._fuse.clear()

    def kill(self) -> None:
        if not self.dead:
            self.note("KILLED")
            self._end(-9)

    def freeze(self, seconds: float) -> None:
        """For ever, or until it is killed, if that is longer than FOR_EVER_S."""
        if self._frozen_for_ever:
            return
        self.note(f"FROZEN for {seconds:.3f} s")
        self.world.witness.count(f"freeze: {self.service}")
        self._frozen_until_s = self.world.timeline.now_s + seconds
        self._frozen_for_ever = seconds >= FOR_EVER_S

    def terminate(self) -> None:
        self.note("TERMINATED")
        self.node.stopping = True
        if self._shell is None:
            self.exit(-15)  # before it could say what a signal should do
        self.wake(self.world.timeline.now_s)

    @property
    def is_well(self) -> bool:
        return not self.is_frozen and self.node.state == "ready"

    @property
    def is_frozen(self) -> bool:
        return self.world.timeline.now_s < self._frozen_until_s

    def step(self) -> None:
        """One of its steps: where it dies, freezes, or goes on. Raises Killed."""
        if self.dead:
            raise Killed
        self.steps += 1
        self.world.timeline.count()
        if self._fuse and self._fuse[0][0] <= self.steps:
            self._fuse.pop(0)[1]()
        if self._frozen_until_s:
            self._stand_still()
        if self.dead:
            raise Killed

    def wait(self, seconds: float) -> None:
        """In the middle of a turn; others go on."""
        start_s = self.world.timeline.now_s
        self.world.go_on(start_s + self.world.hesitation_s(), lambda: self.dead)
        self.world.go_on(start_s + seconds, lambda: self.dead or self._has_something())
        self.step()

    def _stand_still(self) -> None:
        """Those who wait below us on the stack must be able to go on, so who will not continue leaves it."""
        while self.is_frozen:  # meanwhile it may be frozen again, and longer
            if self._frozen_for_ever:
                raise Killed
            self.world.go_on(self._frozen_until_s, lambda: self.dead)
            if self.dead:
                return
        self._frozen_until_s = 0.0

    # ---- its life -------------------------------------------------------------------------------

    def rest(self, seconds: float) -> None:
        """It will not hear anything before."""
        self._deaf_until_s = self.world.timeline.now_s + seconds

    def wake(self, when_s: float) -> None:
        when_s = max(when_s, self._deaf_until_s)
        if when_s < self._wake_s and not self._turning and not self.dead:
            self._wake_s = when_s
            self.world.timeline.at(when_s, self._turn_if_due)

    def _turn_if_due(self) -> None:
        now_s = self.world.timeline.now_s
        if self.dead or self._turning or now_s < self._wake_s:
            return
        self._wake_s = float("inf")
        if self.is_frozen:
            return self.wake(self._frozen_until_s)
        if self._frozen_for_ever:
            return self.world.witness.violated(f"nobody killed {self.name}, which is frozen")
        self._frozen_until_s = 0.0
        self._turning = True
        wait_s = self.world.run_in(self, self._live)
        self._turning = False
        if not self.dead:
            due_s = min(self.world.timeline.now_s + wait_s, self._arrival_s())
            self.wake(max(due_s, now_s + self.world.hesitation_s()))

    def _live(self) -> float:
        """One turn, or the end. The world sees to what it raises."""
        self.step()
        if self._shell is None:
            self._shell = self._make(self)
        if self.node.alive():
            return min(self._shell.turn(), self.node.next_beat_s - self.world.timeline.now_s)
        self._shell.drain()
        self.exit(0)
        return 0.0

    def exit(self, status: int) -> None:
        if not self.dead:
            self.note(f"exits with {status}")
            self._end(status)

    def _end(self, status: int) -> None:
        self.dead = True
        self.world.witness.count(f"exit: {self.service}")
        for end in self.ends:
            self.world.network.close(end, orderly=status == 0)
        for release in reversed(self.at_end):
            release()
        self._exited(self, status)

    def _arrival_s(self) -> float:
        arriving = [end.arriving for end in self.ends if isinstance(end, Receiver)]
        return min((messages[0][0] for messages in arriving if messages), default=float("inf"))

    def _has_something(self) -> bool:
        return self._arrival_s() <= self.world.timeline.now_s

    def note(self, text: str) -> None:
        if self.world.tracing:
            self.world.note(self.name, text)
