"""Finds Whisper's weights: in a directory, in the local cache, or on the Hugging Face hub."""

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

from .engines import decoding
from .engines.base import ModelMissing, ModelUnavailable, Progress

FILES = ("config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*", decoding.DECLARATION)
TIMEOUT_S = 5.0
PROGRESS_S = 1.0


def find_model(model: str, sizes: Mapping[str, str], offline: bool, progress: Progress) -> str:
    """The directory of the weights: `model` itself, else in the local cache, else downloaded from the hub.

    `sizes` are hub ids by short name.
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
    return directory if Path(directory, "model.bin").is_file() else None  # else the download was interrupted


def _downloaded(repository: str, progress: Progress) -> str:
    try:
        HfApi(constants.ENDPOINT).model_info(repository, timeout=TIMEOUT_S)  # snapshot_download has no timeout for this
        return snapshot_download(
            repository, allow_patterns=FILES, etag_timeout=TIMEOUT_S, tqdm_class=_progress_bar(repository, progress)
        )
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        reason = "needs a login" if isinstance(error, GatedRepoError) else "does not exist"
        raise ConfigError(f"transcribe.model: {repository} {reason} on {constants.ENDPOINT}") from error
    except (OSError, HTTPError) as error:
        why = str(error).partition("\n")[0].removeprefix("Got: ")
        raise ModelUnavailable(f"{repository} cannot be downloaded from {constants.ENDPOINT}: {why}") from error


def _progress_bar(repository: str, progress: Progress) -> type[tqdm]:
    """A progress bar that calls `progress` every PROGRESS_S and draws nothing."""

    class Bar(tqdm):
        def __init__(self, *arguments: object, **named: object):
            super().__init__(*arguments, **named | {"file": io.StringIO(), "disable": False, "mininterval": PROGRESS_S})

        def display(self, *arguments: object, **named: object) -> None:
            if self.unit == "B" and self.n:
                progress(f"downloading {repository}: {self.n / 1e6:.0f} of {self.total / 1e6:.0f} MB")

    return Bar
