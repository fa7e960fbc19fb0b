"""The interface of a speech recogniser, and its selection by name among the entry points `voicetap.engines`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

from voicetap.config import nearest
from voicetap.errors import ConfigError
from voicetap.messages import Word
from voicetap.settings import Settings

GROUP = "voicetap.engines"
PREFERRED, FALLBACK = "faster-whisper", "pocketsphinx"  # what `auto` tries, in this order
FALLBACK_MODEL = "tiny.en"  # of the preferred engine; it comes with the installation

Progress = Callable[[str], None]


class ModelUnavailable(RuntimeError):
    """The model is unavailable now, but may be later: the hub does not answer. The text is one line."""


class ModelMissing(ConfigError):
    """The settings forbid to download the model. The text is one line."""


class Preempted(Exception):
    """A decode was aborted in favour of a more urgent one."""


def _never() -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of one decode, beside the settings."""

    speech: bytes = b""  # as in Job: a bit per frame of 32 ms; empty: not known
    last_language: str = ""  # the last one of this source that was detected surely
    is_interim: bool = False  # the result is soon replaced: speed matters more than accuracy
    is_preempted: Callable[[], bool] = _never

    def check_preempted(self) -> None:
        """Raises Preempted if the decode is to be aborted. Engines should call it between steps, but need not."""
        if self.is_preempted():
            raise Preempted


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of one decode. Word times count from the first sample of `pcm`."""

    text: str = ""
    words: tuple[Word, ...] = ()
    language: str = ""
    language_probability: float = 0.0
    avg_logprob: float = 0.0
    no_speech_prob: float = 0.0
    compression_ratio: float = 0.0


class Engine(Protocol):
    """`load` and `close` are called once each. No two methods are called at the same time."""

    name: str
    model: str  # name for transcripts; set by `load`
    # `origin: str` is optional: where the model came from, for status. Set by `load`

    def load(self, settings: Settings, progress: Progress) -> None:
        """Prepares for `transcribe`. Calls `progress` with one line whenever a long wait has news.

        Raises ConfigError where a retry is useless, ModelUnavailable where it may succeed.
        """

    def transcribe(self, pcm: bytes, options: Options) -> Result:
        """Decodes s16le mono 16 kHz audio of any length. May raise Preempted; any other exception fails the job."""

    def close(self) -> None:
        """Releases everything, above all memory."""


def create(name: str) -> Engine:
    """A new engine. `package.module:Class` works as a name without an entry point, for trying an engine out.

    Raises ConfigError if there is none of that name or it cannot be imported.
    """
    points = {point.name: point for point in entry_points(group=GROUP)}
    if ":" in name:
        points[name] = EntryPoint(name, name, GROUP)
    if name not in points:
        raise ConfigError(f"there is no engine {name}{nearest(name, points)}; there are {_listed(points, name)}")
    try:
        return points[name].load()()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"engine {name} cannot be imported: {error}") from error


def load(settings: Settings, progress: Progress) -> tuple[Engine, str]:
    """The engine of the settings, loaded, and a remark for the user or an empty string. Raises as `Engine.load`."""
    wanted = settings.transcribe.engine
    engine = create(PREFERRED if wanted == "auto" else wanted)
    try:
        engine.load(settings, progress)
        return engine, ""
    except (ModelUnavailable, ModelMissing) as error:
        if wanted != "auto":
            raise
        return _load_fallback(settings, progress, error)


def load_preferred(settings: Settings, progress: Progress) -> Engine:
    """The engine that `auto` prefers. Raises as `Engine.load`."""
    engine = create(PREFERRED)
    engine.load(settings, progress)
    return engine


def _load_fallback(settings: Settings, progress: Progress, cause: Exception) -> tuple[Engine, str]:
    """The first fallback that supports the settings, such as the language. Raises `cause` if there is none."""
    small = replace(settings, transcribe=replace(settings.transcribe, model=FALLBACK_MODEL, offline=True))
    for name, its_settings in ((PREFERRED, small), (FALLBACK, settings)):
        try:
            engine = create(name)  # pocketsphinx has no package for every Python
            engine.load(its_settings, progress)
        except ConfigError:
            continue
        return engine, f"{cause}; using {engine.name} {engine.model} meanwhile, which makes more mistakes"
    raise cause from None


def _listed(names: dict, name: str) -> str:
    """All names, those similar to `name` first."""
    match = nearest(name, names)
    return ", ".join(sorted([*names, "auto"], key=lambda listed: (listed not in match, listed)))
