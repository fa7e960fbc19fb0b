"""Bundle: all of voicetap as child processes of this one, in a runtime directory of its own."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from voicetap import Tap, config
from voicetap.errors import EX_CONFIG, AddressInUse
from voicetap.messages import Entry
from voicetap.service import shutdown
from voicetap.service.locks import Lock, is_held
from voicetap.tap import TapMessage

from . import report
from .beats import Beats
from .overrides import absolute, environment
from .programs import programs_of
from .supervisord import Supervisord

LOCK_NAME = "bundle"
START_S = 120.0  # a model may have to be fetched first
LOOK_EVERY_S = 0.25  # at what supervisord says, while starting
TURN_S = 0.1


class BundleError(RuntimeError):
    """The bundle did not start or did not go on. `exit_code` is what `voicetap` exits with."""

    def __init__(self, text: str, exit_code: int):
        super().__init__(text)
        self.exit_code = exit_code


class Bundle:
    """`with Bundle(source="mic") as box:` then `for entry in box.tap(): ...`.

    `source`: one or a list of `[NAME=]mic | mic:DEVICE | file:PATH | raw:PATH`. `settings` are those of
    voicetap.toml by their dotted names: `{"vad.endpoint_ms": 300}`. Without `runtime_dir` everything lives in a
    private temporary directory, and nothing of it is left after `stop`. May be started and stopped any number of times.
    All ends when this process does, however it ends; `detached` ones live on.
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
        self._overrides = {
            **(settings or {}),
            "sources": [absolute(spec) for spec in specs] if specs is not None else None,
            "transcribe.engine": engine,
            "transcribe.model": model,
            "capture.pace": pace,
        }
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
        """Returns when every service is ready. Raises SettingsError, BundleError or TimeoutError."""
        try:
            self.launch()
            self.wait_until_ready(within_s)
        except BaseException:
            self.stop()
            raise
        return self

    def launch(self) -> None:
        """Starts the processes and returns at once. Raises SettingsError."""
        self._private_dir = "" if self._runtime_dir else tempfile.mkdtemp(prefix="voicetap-")
        variables = environment(self._overrides | {"runtime_dir": self._runtime_dir or self._private_dir})
        self.settings = config.load(variables)
        self.programs = programs_of(self.settings)
        self._lock = Lock(Path(self.settings.runtime_dir), LOCK_NAME)
        if is_held(Path(self.settings.runtime_dir), LOCK_NAME):
            running = f"as process {self._lock.owner()} in {self.settings.runtime_dir}"
            raise AddressInUse(f"voicetap runs already, {running} (`voicetap down` stops it)")
        # a journal that is there already has more to tell than what is said from now on
        self._since = None if self._has_history() else 1
        self._words = self._closing.enter_context(tempfile.TemporaryFile())
        self._beats = self._closing.enter_context(Beats(self.settings, self.programs))
        self._supervisord = Supervisord(self.settings.runtime_dir)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "voicetap_watchdog.supervise", *self._tie()],
            env=variables | {"VOICETAP_RUNTIME_DIR": self.settings.runtime_dir},
            stdin=subprocess.DEVNULL,
            stdout=self._words,
            stderr=self._words,
            start_new_session=True,  # so that a terminal's Ctrl-C reaches this process alone
        )
        if self.stop_asked:  # by a signal that came before there was anything to end
            self._process.terminate()

    def wait_until_ready(self, within_s: float) -> None:
        deadline_s = time.monotonic() + within_s
        while not self.is_ready():
            if not self.is_running():
                raise BundleError("stopped before it was ready", 1)
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"not ready within {within_s:g} s: {', '.join(self.waiting_for())}")

    def is_ready(self) -> bool:
        """Looks for at most LOOK_EVERY_S. Raises BundleError when the bundle cannot become ready."""
        self._beats.hear(LOOK_EVERY_S)
        self._check()
        return not self.waiting_for() and self._lock.owner() == self._process.pid

    def waiting_for(self) -> list[str]:
        """The programs that are not ready yet, with what they say about it."""
        beats = {name: self._beats.of(name) for name in self.programs}
        unready = {name: beat for name, beat in beats.items() if not beat or beat.state == "starting"}
        return [f"{name} ({beat.detail})" if beat and beat.detail else name for name, beat in unready.items()]

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def tap(self, since: int | None = 1, *, interims: bool = False, events: bool = False, source: str = "") -> Tap:
        """A Tap of this bundle, from its first entry on."""
        return Tap(since, interims=interims, events=events, source=source, settings=self.settings)

    def listen(
        self, *, once: bool = False, interims: bool = False, events: bool = False
    ) -> Iterator[TapMessage | None]:
        """What is published, from the launch on, until the bundle has stopped; None when nothing came for TURN_S.

        `once` ends it when every source is at its end and all of it has been yielded. Raises BundleError when the
        bundle dies.
        """
        with self.tap(self._since, interims=interims, events=events) as tap:
            while self.is_running() and not (once and self.is_drained()):
                yield tap.next(timeout_s=TURN_S)
            while (heard := tap.next(timeout_s=0)) is not None:
                yield heard
            next_seq = tap.next_seq
        if not self.is_running():
            self._check()
        elif once:
            with self.tap(since=next_seq) as rest:  # asked after the end: so its answer is complete
                yield from rest.history()

    def transcripts(self) -> Iterator[Entry]:
        """Every entry, until all sources are at their end: for files."""
        return (heard for heard in self.listen(once=True) if heard is not None)

    def is_drained(self) -> bool:
        """Whether every source has ended and all of it is committed, as vad says."""
        self._beats.hear(0)
        vad = self._beats.of("vad")
        return bool(vad and vad.sources) and all(source.state == "drained" for source in vad.sources)

    def position_s(self) -> float:
        """How far vad has heard all sources together."""
        vad = self._beats.of("vad")
        return sum(source.position_s for source in vad.sources) if vad else 0.0

    def lost_sources(self) -> dict[str, str]:
        """The sources that deliver nothing, and why."""
        beats = [self._beats.of(name) for name in self.programs if name.startswith("capture-")]
        states = [source for beat in beats if beat for source in beat.sources]
        return {source.source: source.detail for source in states if source.state == "lost"}

    def engine(self) -> str:
        """Engine and model in use, in the words of the worker."""
        worker = self._beats.of("transcribe-1")
        return worker.detail if worker and worker.detail else self.settings.transcribe.engine

    def status(self) -> dict:
        """What `voicetap status --json` prints."""
        self._beats.hear(0)
        return report.status(self._beats, self._supervisord.programs(), self.settings.runtime_dir)

    def kill(self, program: str, signal_name: str = "KILL") -> bool:
        """Sends one program a signal, for tests of what happens then. False when it does not run."""
        return self._supervisord.signal(program, signal_name)

    def ask_to_stop(self) -> None:
        """Ends everything in order, and returns at once; asked again, without order. For signal handlers."""
        self.stop_asked = True
        if self.is_running():
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)  # whoever froze it: it too ends in order

    def stop(self) -> None:
        """Ends everything in order and removes what is left of it. May be called again."""
        if self._process is not None:
            if not self.stop_asked:
                self.ask_to_stop()
            try:
                self._process.wait(shutdown.BUNDLE_KILL_S)
            except subprocess.TimeoutExpired:
                self._process.kill()  # every program is tied to the life of its parent
                self._process.wait()
        self.release()
        if self._private_dir:
            shutil.rmtree(self._private_dir, ignore_errors=True)

    def release(self) -> None:
        """Lets go of a detached bundle: it lives on."""
        self._closing.close()
        if self.is_running():
            self._process.returncode = 0  # so that Popen does not complain about a child it leaves alone
        self._process = None
        self.stop_asked = False

    def _tie(self) -> tuple[str, ...]:
        return () if self._detached else ("--with-parent", str(os.getpid()))

    def _has_history(self) -> bool:
        return bool(self.settings.journal.data_dir) or any(Path(self.settings.runtime_dir).glob("journal.sqlite*"))

    def _check(self) -> None:
        """Raises BundleError with the one line that says why the bundle does not run, if it should."""
        exit_code = self._process.poll()
        if exit_code is None:
            for program in self._supervisord.programs().values():
                if program.given_up:
                    raise BundleError(f"{program.name}: {plain(self._supervisord.last_words(program.name))}", EX_CONFIG)
        elif not self.stop_asked:
            self._words.seek(0)
            lines = self._words.read().decode(errors="replace").strip().splitlines()
            reason = plain(lines[-1]) if lines else f"the supervisor ended with exit code {exit_code}"
            raise BundleError(reason, exit_code if exit_code > 0 else 1)


def plain(log_line: str) -> str:
    """A log line's message, without its time, name and level."""
    return log_line.rpartition(" ERROR ")[2].strip()
