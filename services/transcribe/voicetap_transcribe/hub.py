"""Where Whisper's weights come from: a directory, the local cache, or the hub."""

import io
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import tqdm

from voicetap.config import nearest
from voicetap.errors import ConfigError

from . import windows
from .engine import ModelMissing, ModelUnavailable, Progress

FILES = ("config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*", windows.FILE)
TIMEOUT_S = 5.0
PROGRESS_S = 1.0


def find(model: str, sizes: Mapping[str, str], offline: bool, progress: Progress) -> str:
    """The directory of the weights: as given, else from the local cache, else from the hub.

    `sizes` are the hub ids of models that people know by a shorter name.
    Raises ConfigError when there is no such model, ModelUnavailable when the hub cannot be reached.
    """
    if Path(model).is_dir():
        return model
    if model.startswith((".", "/", "~")):
        raise ConfigError(f"transcribe.model: there is no directory {model}")
    if "/" not in model and model not in sizes:
        raise ConfigError(f"transcribe.model: there is no size {model}{nearest(model, sizes)}")
    repository = sizes.get(model, model)
    if cached := _cached(repository):
        return cached
    if offline or constants.HF_HUB_OFFLINE:
        raise ModelMissing(f"transcribe.model: {model} is not in the local cache, and offline is set")
    progress(f"downloading {repository} from {constants.ENDPOINT}")
    return _downloaded(repository, progress)


def _cached(repository: str) -> str | None:
    try:
        directory = snapshot_download(repository, allow_patterns=FILES, local_files_only=True)
    except LocalEntryNotFoundError:
        return None
    except HFValidationError:
        raise ConfigError(f"transcribe.model: {repository} is no hub id, which looks like owner/name") from None
    return directory if Path(directory, "model.bin").is_file() else None  # a download that was cut short


def _downloaded(repository: str, progress: Progress) -> str:
    try:
        HfApi(constants.ENDPOINT).model_info(repository, timeout=TIMEOUT_S)  # what follows would wait for ever
        return snapshot_download(
            repository, allow_patterns=FILES, etag_timeout=TIMEOUT_S, tqdm_class=_progress_bar(repository, progress)
        )
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        reason = "needs a login" if isinstance(error, GatedRepoError) else "does not exist"
        raise ConfigError(f"transcribe.model: {repository} {reason} on {constants.ENDPOINT}") from error
    except (OSError, HTTPError) as error:
        why = str(error).partition("\n")[0].removeprefix("Got: ")
        raise ModelUnavailable(f"{repository} cannot be had from {constants.ENDPOINT}: {why}") from error


def _progress_bar(repository: str, progress: Progress) -> type[tqdm]:
    """A bar that draws nothing and says how far it is, PROGRESS_S apart."""

    class Bar(tqdm):
        def __init__(self, *arguments: object, **named: object):
            super().__init__(*arguments, **named | {"file": io.StringIO(), "disable": False, "mininterval": PROGRESS_S})

        def display(self, *arguments: object, **named: object) -> None:
            if self.unit == "B" and self.n:
                progress(f"downloading {repository}: {self.n / 1e6:.0f} of {self.total / 1e6:.0f} MB")

    return Bar
