"""What a speech recogniser has to be, and how one is chosen: by name, from the entry points `voicetap.engines`."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

from voicetap.config import nearest
from voicetap.errors import ConfigError
from voicetap.messages import Word
from voicetap.settings import Settings

GROUP = "voicetap.engines"
BEST, EMBEDDED = "faster-whisper", "pocketsphinx"  # what `auto` tries, in this order

Progress = Callable[[str], None]


class ModelUnavailable(RuntimeError):
    """The model cannot be had now, but may be later: the hub does not answer. The text is one line."""


class ModelMissing(ConfigError):
    """The settings forbid to fetch the model. The text is one line."""


class Abandoned(Exception):
    """A decode gave way to something more urgent."""


def _never() -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class Options:
    """What one utterance adds to the settings.

    `gives_way` says whether to raise Abandoned: `look_up` does both. An engine should now and then, and need not.
    """

    previous_text: str = ""
    is_interim: bool = False  # soon out of date: better quick than exact
    gives_way: Callable[[], bool] = _never


def look_up(options: Options) -> None:
    """From the decode. Raises Abandoned when it is to give way."""
    if options.gives_way():
        raise Abandoned


@dataclass(frozen=True, kw_only=True)
class Result:
    """What an engine heard. Word times count from the first sample it was given."""

    text: str = ""
    words: tuple[Word, ...] = ()
    language: str = ""
    language_probability: float = 0.0
    avg_logprob: float = 0.0
    no_speech_prob: float = 0.0
    compression_ratio: float = 0.0


class Engine(Protocol):
    """All methods are called from one thread, and `load` and `close` once."""

    name: str
    model: str  # as people know it, for transcripts; set by `load`

    def load(self, settings: Settings, progress: Progress) -> None:
        """Gets ready to transcribe; `progress` takes a line whenever there is news of a long wait.

        Raises ConfigError for what no retry will cure, ModelUnavailable for what one may.
        """

    def transcribe(self, pcm: bytes, options: Options) -> Result:
        """The text of s16le mono 16 kHz sound."""

    def close(self) -> None:
        """Gives everything back, memory above all."""


def create(name: str) -> Engine:
    """A fresh engine. `package.module:Class` does as a name without an entry point, for trying one out.

    Raises ConfigError when there is none of that name, or it cannot be imported.
    """
    found = {point.name: point for point in entry_points(group=GROUP)}
    if ":" in name:
        found[name] = EntryPoint(name, name, GROUP)
    if name not in found:
        raise ConfigError(f"there is no engine {name}{nearest(name, found)}; there are {_listed(found, name)}")
    try:
        return found[name].load()()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"engine {name} cannot be imported: {error}") from error


def load(settings: Settings, progress: Progress) -> tuple[Engine, str]:
    """The engine of the settings, loaded, and a remark people should read. Raises as `Engine.load` does."""
    wanted = settings.transcribe.engine
    engine = create(BEST if wanted == "auto" else wanted)
    try:
        engine.load(settings, progress)
        return engine, ""
    except (ModelUnavailable, ModelMissing) as error:
        if wanted != "auto":
            raise
        return _embedded(settings, progress, error)


def _embedded(settings: Settings, progress: Progress, cause: Exception) -> tuple[Engine, str]:
    engine = create(EMBEDDED)
    try:
        engine.load(settings, progress)
    except ConfigError:  # it cannot do what is asked for, another language say: then the better one is waited for
        raise cause from None
    return engine, f"{cause}; using {EMBEDDED}, which makes more mistakes"


def _listed(names: dict, name: str) -> str:
    """The names, those most like `name` first."""
    match = nearest(name, names)
    return ", ".join(sorted([*names, "auto"], key=lambda known: (known not in match, known)))
