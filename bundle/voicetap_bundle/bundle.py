"""Bundle: all programs of voicetap as child processes of this one, in one runtime directory."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from voicetap import Tap, config, source_spec
from voicetap.errors import EX_CONFIG, EX_TEMPFAIL, AddressInUse
from voicetap.messages import Entry, Heartbeat
from voicetap.service import restart_backoff, shutdown
from voicetap.service.locks import Lock, is_held
from voicetap.tap import TapMessage
from voicetap.vocabulary import ServiceState, SourceStatus
from voicetap_watchdog.layout import BundleLayout
from voicetap_watchdog.supervisord_rpc import SupervisedProcess

from . import overrides, status_report
from .heartbeat_monitor import HeartbeatMonitor
from .programs import ProgramControl, SuperviseLog, message_of

START_S = 120.0  # the first start may download a model
POLL_S = 0.25  # between two checks of supervisord's programs, while starting
MESSAGE_TIMEOUT_S = 0.1
SOURCE_CHECK_S = 1.0  # between two checks whether a source has failed for good, while running
UNSTORED_S = 10.0  # until `once` gives up on a disk that stays full
EXIT_NOT_RUNNING = 3  # of commands that need a running bundle
MAX_CRASHES_AT_START = 3  # of one program that was never ready: the fault will not pass by itself


class BundleError(RuntimeError):
    """The bundle did not start, or failed later.

    `exit_code` is what `voicetap` exits with, `program` the program at fault, if one is.
    """

    def __init__(self, text: str, exit_code: int, program: str = ""):
        super().__init__(text)
        self.exit_code = exit_code
        self.program = program


class Bundle:
    """`with Bundle(source="mic") as box:` then `for entry in box.tap(): ...`.

    `source`: one or a list of `[NAME=]mic | mic:DEVICE | file:PATH | raw:PATH`. `settings` are those of
    voicetap.toml by their dotted names: `{"vad.endpoint_ms": 300}`. Without `runtime_dir` the bundle uses a private
    temporary directory, which `stop` removes. A bundle may be started and stopped any number of times.
    A private bundle ignores the user's `journal.data_dir`, `addresses`, `curve_dir` and `tap_group`: they belong to
    the bundle that runs permanently. Its processes are killed when this process ends, unless it is `detached`.
    """

    def __init__(
        self,
        source: str | Sequence[str] | None = None,
        *,
        engine: str | None = None,
        model: str | None = None,
        pace: str | None = None,
        runtime_dir: str | None = None,
        settings: Mapping[str, object] | None = None,
        detached: bool = False,
    ):
        specs = [source] if isinstance(source, str) else source
        arguments = {
            "sources": [overrides.absolute(spec) for spec in specs] if specs is not None else None,
            "transcribe.engine": engine,
            "transcribe.model": model,
            "capture.pace": pace,
        }
        given = {name: value for name, value in arguments.items() if value is not None}
        self._overrides = ({} if runtime_dir else overrides.PRIVATE_SETTINGS) | dict(settings or {}) | given
        self._runtime_dir = runtime_dir
        self._private_dir = ""
        self._detached = detached
        self._process: subprocess.Popen | None = None
        self._closing = ExitStack()
        self.stop_asked = False

    def __enter__(self) -> "Bundle":
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self, within_s: float = START_S) -> "Bundle":
        """Returns when every service is ready. Raises SettingsError, AddressInUse, BundleError or TimeoutError."""
        try:
            self.launch()
            self.wait_until_ready(within_s)
        except BaseException:
            self.stop()
            raise
        return self

    def launch(self) -> None:
        """Starts the processes and returns at once. Raises SettingsError or AddressInUse."""
        self._private_dir = "" if self._runtime_dir else tempfile.mkdtemp(prefix="voicetap-")
        variables = overrides.environment(self._overrides | {"runtime_dir": self._runtime_dir or self._private_dir})
        self.settings = config.load(variables)
        layout = BundleLayout(self.settings)
        self.programs = layout.process_names()
        self._lock = Lock(layout.runtime_dir, layout.lock_name)
        if is_held(layout.runtime_dir, layout.lock_name):
            running = f"as process {self._lock.owner()} in {self.settings.runtime_dir}"
            raise AddressInUse(f"voicetap runs already, {running} (`voicetap down` stops it)")
        self._launched_s, self._was_ready = time.monotonic(), False
        self._unstored_s = self._launched_s
        # An existing journal has entries from before this launch, which `messages` does not yield.
        self._since = None if self._has_history() else 1
        self._failed: dict[str, BundleError] = {}  # sources that cannot be read after all
        self._next_check_s = 0.0
        self._output = self._closing.enter_context(SuperviseLog())
        self._heartbeats = self._closing.enter_context(HeartbeatMonitor(self.settings, self.programs))
        self._program_control = ProgramControl(self.settings)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "voicetap_watchdog.supervise", *self._parent_arguments()],
            env=variables | {"VOICETAP_RUNTIME_DIR": self.settings.runtime_dir},
            stdin=subprocess.DEVNULL,
            stdout=self._output.file,
            stderr=self._output.file,
            start_new_session=True,  # a terminal's Ctrl-C reaches this process only, which then stops the bundle
        )
        if self.stop_asked:  # by a signal that arrived before there was a process to terminate
            self._process.terminate()

    def wait_until_ready(self, within_s: float) -> None:
        """Raises BundleError when the bundle fails, TimeoutError when it is not ready after `within_s`."""
        deadline_s = time.monotonic() + within_s
        while not self.is_ready():
            if not self.is_running():
                raise BundleError("stopped before it was ready", 1)
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"not ready within {within_s:g} s: {', '.join(self.waiting_for())}")

    def is_ready(self) -> bool:
        """Waits up to POLL_S for heartbeats. Raises BundleError when the bundle cannot become ready."""
        self._heartbeats.poll(POLL_S)
        self._raise_if_failed()
        is_ready = not self._unready() and self._lock.owner() == self._process.pid
        self._was_ready = self._was_ready or is_ready
        return is_ready

    def waiting_for(self) -> list[str]:
        """The programs that are not ready yet, with the detail from their heartbeats."""
        return [f"{name} ({beat.detail})" if beat and beat.detail else name for name, beat in self._unready().items()]

    def problems(self) -> list[str]:
        """What supervise has logged since the last call."""
        return [message_of(line) or line for line in self._output.read() if " ERROR " in line or " WARNING " in line]

    def _unready(self) -> dict[str, Heartbeat | None]:
        latest = {name: self._heartbeats.fresh(name) for name in self.programs}
        return {name: beat for name, beat in latest.items() if not beat or beat.state == ServiceState.STARTING}

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def tap(self, since: int | None = 1, *, interims: bool = False, events: bool = False, source: str = "") -> Tap:
        """A Tap of this bundle, from its first entry on."""
        return Tap(since, interims=interims, events=events, source=source, settings=self.settings)

    def messages(
        self, *, once: bool = False, interims: bool = False, events: bool = False
    ) -> Iterator[TapMessage | None]:
        """Yields what is published from the launch until the bundle has stopped; None when nothing came for 0.1 s.

        With `once` it ends when every source has ended and all entries were yielded. Raises BundleError when the
        bundle fails, and at its end or that of all others for a source that cannot be read after all.
        """
        with self.tap(self._since, interims=interims, events=events) as tap:
            while self.is_running() and not (once and self.is_drained()) and not self._have_all_sources_failed():
                yield tap.next(timeout_s=MESSAGE_TIMEOUT_S)
                if once:
                    self._raise_if_unstored()
            while (message := tap.next(timeout_s=0)) is not None:
                yield message
            next_seq = tap.next_seq
        if not self.is_running():
            self._raise_if_failed()
        elif once:
            with self.tap(since=next_seq) as rest:  # requested after the drain, so the answer is complete
                yield from rest.history()
        if self._failed and self.is_running():
            raise next(iter(self._failed.values()))

    def _raise_if_unstored(self) -> None:
        """Raises BundleError when all sources have ended, and journal has held entries in memory only for too long."""
        journal = self._heartbeats.fresh("journal")
        have_ended = all(
            each and all(source.state == SourceStatus.ENDED for source in each.sources) for each in self._captures()
        )
        is_held = journal is not None and journal.state == ServiceState.DEGRADED and journal.queue_depth > 0
        if not (have_ended and is_held):
            self._unstored_s = time.monotonic()
        elif time.monotonic() - self._unstored_s > UNSTORED_S:
            raise BundleError(f"{journal.queue_depth} entries are in memory only: {journal.detail}", EX_TEMPFAIL)

    def _captures(self) -> list[Heartbeat | None]:
        """The fresh heartbeat of every capture."""
        return [self._heartbeats.fresh(name) for name in self.programs if name.startswith("capture-")]

    def transcripts(self) -> Iterator[Entry]:
        """Every entry, until all sources have ended: for files."""
        return (message for message in self.messages(once=True) if message is not None)

    def is_drained(self) -> bool:
        """Whether every source has ended and all its entries are committed, according to vad."""
        self._heartbeats.poll(0)
        vad = self._heartbeats.fresh("vad")
        return bool(vad and vad.sources) and all(
            source.state == SourceStatus.DRAINED or source.source in self._failed for source in vad.sources
        )

    def position_s(self) -> float:
        """Seconds of sound that vad has processed, summed over all sources."""
        vad = self._heartbeats.fresh("vad")
        return sum(source.position_s for source in vad.sources) if vad else 0.0

    def lost_sources(self) -> dict[str, str]:
        """The sources that deliver nothing, and why."""
        states = [source for capture in self._captures() if capture for source in capture.sources]
        return {source.source: source.detail for source in states if source.state == SourceStatus.LOST}

    def engine(self) -> str:
        """Engine and model in use, as reported by the first worker; before that, the engine set."""
        worker = self._heartbeats.fresh("transcribe-1")
        return worker.detail if worker and worker.detail else self.settings.transcribe.engine

    def status(self) -> dict:
        """What `voicetap status --json` prints."""
        self._heartbeats.poll(0)
        return status_report.build(self._heartbeats, self._program_control, self.settings.runtime_dir)

    def kill(self, program: str, signal_name: str = "KILL") -> bool:
        """Sends a signal to one program, to test its recovery. False when it does not run."""
        return self._program_control.signal(program, signal_name)

    def ask_to_stop(self) -> None:
        """Requests an orderly stop and returns at once; a second request stops without order. For signal handlers."""
        self.stop_asked = True
        if self.is_running():
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)  # a stopped process handles SIGTERM only once continued

    def stop(self) -> None:
        """Stops all programs in order and removes the private directory. May be called again."""
        if self._process is not None:
            if not self.stop_asked:
                self.ask_to_stop()
            try:
                self._process.wait(shutdown.BUNDLE_KILL_S)
            except subprocess.TimeoutExpired:
                self._process.kill()  # the programs die with their parent
                self._process.wait()
        self.release()
        if self._private_dir:
            shutil.rmtree(self._private_dir, ignore_errors=True)

    def release(self) -> None:
        """Closes this end of a detached bundle, which continues to run."""
        self._closing.close()
        if self.is_running():
            self._process.returncode = 0  # else Popen warns about a child that still runs
        self._process = None
        self.stop_asked = False

    def _parent_arguments(self) -> tuple[str, ...]:
        return () if self._detached else ("--with-parent", str(os.getpid()))

    def _has_history(self) -> bool:
        return bool(self.settings.journal.data_dir) or any(Path(self.settings.runtime_dir).glob("journal.sqlite*"))

    def _raise_if_failed(self) -> None:
        """Raises BundleError with a one-line reason if the bundle has ended unasked, or can never become ready."""
        exit_code = self._process.poll()
        if exit_code is None:
            for program in self._program_control.processes().values():
                if program.is_misconfigured:
                    raise BundleError(self._reason(program), EX_CONFIG, program.name)
                if not self._was_ready and self._crashes(program) >= MAX_CRASHES_AT_START:
                    how = self._program_control.last_exit(program.name)
                    raise BundleError(f"{self._reason(program)} ({how})", 1, program.name)
        elif not self.stop_asked:
            self._output.read()
            last = self._output.last_line
            reason = message_of(last) if last else f"the supervisor ended with exit code {exit_code}"
            raise BundleError(reason, exit_code if exit_code > 0 else 1)

    def _have_all_sources_failed(self) -> bool:
        """Whether no source is left. Updates which have failed: a container in a pipe is found only when it arrives."""
        sources = source_spec.parse_all(self.settings)
        if time.monotonic() >= self._next_check_s:
            self._next_check_s = time.monotonic() + SOURCE_CHECK_S
            for program in self._program_control.processes().values():
                if program.is_misconfigured and program.name.startswith("capture-"):
                    name = sources[int(program.name.removeprefix("capture-")) - 1].name
                    self._failed[name] = BundleError(self._reason(program), EX_CONFIG, program.name)
        return len(self._failed) == len(sources)

    def _reason(self, program: SupervisedProcess) -> str:
        line = self._program_control.last_log_line(program.name)
        return f"{program.name}: {message_of(line) or 'it cannot start, and its log is empty'}"

    def _crashes(self, program: SupervisedProcess) -> int:
        """Starts since the launch, after the first, of a program that does not run now."""
        if program.pid and program.name not in self._unready():
            return 0
        starts_s = restart_backoff.starts_of(self.settings.runtime_dir, program.name)
        return len([start_s for start_s in starts_s if start_s > self._launched_s]) - 1


@contextmanager
def stop_on_signals(box: Bundle) -> Iterator[None]:
    """In this context SIGINT, SIGTERM and SIGHUP call `box.ask_to_stop()`; a second signal stops without order.

    The handlers raise no exception: readers of `box.messages()` receive everything up to the stop, then it ends.
    Signals that are ignored (nohup) stay ignored. The former handlers are restored at the end.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
    for number in before:
        signal.signal(number, lambda *_: box.ask_to_stop())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
