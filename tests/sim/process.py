"""A process of the simulated host: its work loop turns when a message arrives or its wait is over.

A turn is one iteration of the loop. It consists of steps, at each of which the process may die or freeze: everything
visible from outside, which is a message sent or read, a change of a file, a failpoint. A process frozen within a turn
waits there while the world continues, and then resumes with its old state.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from .network import Receiver, Sender
from .node import Node

if TYPE_CHECKING:
    from .world import World

FOR_EVER_S = 60.0  # a freeze this long lasts until the process is killed; if it is not, that is a violation


class Killed(BaseException):
    """Ends the turn of a dead process. No `except Exception` may keep it alive."""


class Shell(Protocol):
    """A service in the simulation."""

    def turn(self) -> float:
        """One iteration of the work loop. Returns the seconds to wait at most."""

    def drain(self) -> None:
        """Called once, after SIGTERM."""


class Process:
    """`create_shell` is called in the first turn, `on_exit` with the exit status."""

    def __init__(
        self,
        world: "World",
        service: str,
        name: str,
        pid: int,
        create_shell: Callable[["Process"], Shell],
        on_exit: Callable[["Process", int], None],
    ):
        self.world = world
        self.service = service
        self.name = name
        self.pid = pid
        self.dead = False
        self.node = Node(self, world.settings)
        self.ends: list[Sender | Receiver] = []
        self.exit_callbacks: list[Callable[[], object]] = []
        self._create_shell = create_shell
        self._on_exit = on_exit
        self._shell: Shell | None = None
        self._turning = False
        self._wake_s = float("inf")
        self._frozen_until_s = 0.0
        self._frozen_for_ever = False
        self._abort_is_pending = False
        self._asleep_until_s = 0.0
        self._planned: list[tuple[int, Callable[[], None]]] = []  # faults, each at a number of steps
        self.steps = 0

    def start(self) -> None:
        self.wake(self.world.timeline.now_s)

    # ---- faults and signals ---------------------------------------------------------------------

    def after_steps(self, steps: int, fault: Callable[[], None]) -> None:
        self._planned.append((self.steps + steps, fault))

    def cancel_faults(self) -> None:
        self._planned.clear()

    def kill(self) -> None:
        if not self.dead:
            self.trace("KILLED")
            self._release(-9)

    def abort(self) -> None:
        """SIGABRT: a process that is stopped receives it when it continues."""
        if self.is_frozen:
            self._abort_is_pending = True
        else:
            self.kill()

    def freeze(self, seconds: float) -> None:
        """Until it is killed, if `seconds` is FOR_EVER_S or more."""
        if self._frozen_for_ever:
            return
        self.trace(f"FROZEN for {seconds:.3f} s")
        self.world.witness.count(f"freeze: {self.service}")
        self.world.disturbances.on_freeze(self.name, self.world.timeline.now_s, seconds)
        self._frozen_until_s = self.world.timeline.now_s + seconds
        self._frozen_for_ever = seconds >= FOR_EVER_S

    def terminate(self) -> None:
        self.trace("TERMINATED")
        self.node.stopping = True
        if self._shell is None:
            self.exit(-15)  # before it installed a signal handler
        self.wake(self.world.timeline.now_s)

    @property
    def is_healthy(self) -> bool:
        return not self.is_frozen and self.node.state == "ready"

    @property
    def is_frozen(self) -> bool:
        return self.world.timeline.now_s < self._frozen_until_s

    def step(self) -> None:
        """A step, at which a planned fault may happen. Raises Killed if the process is dead."""
        if self.dead:
            raise Killed
        self.steps += 1
        self.world.timeline.count()
        if self._planned and self._planned[0][0] <= self.steps:
            self._planned.pop(0)[1]()
        if self._frozen_until_s:
            self._wait_while_frozen()
        if self.dead:
            raise Killed

    def pause(self, seconds: float) -> None:
        """Waits within a turn for all of `seconds`, whatever messages arrive, while the world continues."""
        self.world.run_until(self.world.timeline.now_s + seconds, lambda: self.dead)
        self.step()

    def wait(self, seconds: float) -> None:
        """Waits within a turn, for a message or `seconds`, while the world continues."""
        start_s = self.world.timeline.now_s
        self.world.run_until(start_s + self.world.scheduling_delay_s(), lambda: self.dead)
        self.world.run_until(start_s + seconds, lambda: self.dead or self._has_messages())
        self.step()

    def _wait_while_frozen(self) -> None:
        """Processes that wait below this one on the stack must be able to resume, so one frozen for ever leaves it."""
        while self.is_frozen:  # meanwhile it may be frozen again, for longer
            if self._frozen_for_ever:
                raise Killed
            self.world.run_until(self._frozen_until_s, lambda: self.dead)
            if self.dead:
                return
        self._continue()

    def _continue(self) -> None:
        self._frozen_until_s = 0.0
        if self._abort_is_pending:
            self.kill()

    # ---- the work loop --------------------------------------------------------------------------

    def sleep(self, seconds: float) -> None:
        """No message starts a turn before."""
        self._asleep_until_s = self.world.timeline.now_s + seconds

    def wake(self, when_s: float) -> None:
        when_s = max(when_s, self._asleep_until_s)
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
            return self.world.witness.add_violation(f"{self.name} is frozen and was not killed")
        self._continue()
        if self.dead:
            return
        self._turning = True
        wait_s = self.world.run_turn(self, self._turn)
        self._turning = False
        if not self.dead:
            due_s = min(self.world.timeline.now_s + wait_s, self._arrival_s())
            self.wake(max(due_s, now_s + self.world.scheduling_delay_s()))

    def _turn(self) -> float:
        """One turn, or the drain and exit. The world handles exceptions."""
        self.step()
        if self._shell is None:
            self.world.disturbances.on_first_turn(self.name, self.world.timeline.now_s)
            self._shell = self._create_shell(self)
        if self.node.alive():
            return min(self._shell.turn(), self.node.next_beat_s - self.world.timeline.now_s)
        self._shell.drain()
        self.exit(0)
        return 0.0

    def exit(self, status: int) -> None:
        if not self.dead:
            self.trace(f"exits with {status}")
            self._release(status)

    def _release(self, status: int) -> None:
        self.dead = True
        self.world.disturbances.on_exit(self.name, self.world.timeline.now_s)
        self.world.witness.count(f"exit: {self.service}")
        for end in self.ends:
            self.world.network.close(end, orderly=status == 0)
        for callback in reversed(self.exit_callbacks):
            callback()
        self._on_exit(self, status)

    def _arrival_s(self) -> float:
        arriving = [end.arriving for end in self.ends if isinstance(end, Receiver)]
        return min((messages[0][0] for messages in arriving if messages), default=float("inf"))

    def _has_messages(self) -> bool:
        return self._arrival_s() <= self.world.timeline.now_s

    def trace(self, text: str) -> None:
        if self.world.tracing:
            self.world.trace(self.name, text)
