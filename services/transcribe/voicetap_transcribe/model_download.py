"""Finds Whisper's weights: in a directory, in an installed package, in the local cache, or on the Hugging Face hub."""

import io
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
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

from . import weights
from .engines import windows
from .engines.base import ModelMissing, ModelUnavailable, Progress
from .weights import PINS

FILES = ("config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*", windows.DECLARATION)
TIMEOUT_S = 5.0
PROGRESS_S = 1.0
STALL_S = 20.0  # without MIN_RATE for this long, a download is no longer waited for
MIN_RATE = 20_000  # bytes per second; at this rate tiny.en takes an hour
constants.DOWNLOAD_CHUNK_SIZE = 1 << 16  # the library's 10 MB would show no progress for minutes on a slow line

log = logging.getLogger("weights")


@dataclass(frozen=True)
class Found:
    """Weights on this machine.

    `origin` says where from; it is empty for a directory of the settings. `repository` is the hub id of published
    weights, or empty.
    """

    directory: Path
    origin: str = ""
    repository: str = ""


def find_model(model: str, sizes: Mapping[str, str], offline: bool, progress: Progress) -> Found:
    """The weights: `model` itself, else an installed package's, else the local cache's, else downloaded from the hub.

    `sizes` are hub ids by short name. Those in weights.PINS have one revision, and their hashes are checked.
    Raises ConfigError when there is no such model, ModelUnavailable when the hub cannot be reached, is no hub or is too
    slow. Then a download in progress continues, and the next call waits for that one.
    """
    if Path(model).is_dir():
        return Found(Path(model), repository=weights.repository_of(Path(model)))
    if model.startswith((".", "/", "~")):
        raise ConfigError(f"transcribe.model: there is no directory {model}")
    if "/" not in model and model not in sizes:
        raise ConfigError(f"transcribe.model: there is no size {model}{nearest(model, sizes)}")
    repository = sizes.get(model, model)
    published = repository if repository in PINS else ""
    if packaged := weights.packaged(repository):
        return Found(packaged[0], f"package {packaged[1]}", repository)
    if cached := _cached(repository):
        return Found(cached, "local cache", published)
    if offline or constants.HF_HUB_OFFLINE:
        raise ModelMissing(f"transcribe.model: {model} is not in the local cache, and offline is set")
    return Found(_downloaded(repository, progress), constants.ENDPOINT, published)


def _cached(repository: str) -> Path | None:
    pin = PINS.get(repository)
    for revision in (pin.revision, None) if pin else (None,):
        try:
            found = snapshot_download(repository, revision=revision, allow_patterns=FILES, local_files_only=True)
        except LocalEntryNotFoundError:
            continue
        except HFValidationError:
            raise ConfigError(f"transcribe.model: {repository} is no hub id, which looks like owner/name") from None
        directory = Path(found)
        if not (directory / "model.bin").is_file():  # the download was interrupted
            continue
        if pin and (wrong := weights.wrong_file(directory, pin)):
            log.warning("%s in the local cache is not used: its %s is not the published one", repository, wrong)
            continue
        return directory
    return None


# ---- the hub

_downloads: dict[str, "_Download"] = {}  # those that have not failed, by repository


def _downloaded(repository: str, progress: Progress) -> Path:
    progress(f"downloading {repository} from {constants.ENDPOINT}")
    download = _downloads.setdefault(repository, _Download(repository))
    try:
        return download.wait(progress)
    finally:
        if download.is_done:
            _downloads.pop(repository, None)


class _Download(threading.Thread):
    """Downloads one set of weights. A thread, as nothing can abort the library in it; it never keeps the process."""

    def __init__(self, repository: str):
        super().__init__(name="download", daemon=True)
        self._repository = repository
        self._pin = PINS.get(repository)
        self._ended = threading.Event()
        self._directory: Path | None = None
        self._error: Exception | None = None
        self._bytes = self._total = 0

    @property
    def is_done(self) -> bool:
        return self._ended.is_set()

    def wait(self, progress: Progress) -> Path:
        """The directory, once all is there. Raises ModelUnavailable when it is slower than MIN_RATE for STALL_S."""
        if not self.is_alive() and not self.is_done:
            self.start()
        seen = deque([(time.monotonic(), self._bytes)])
        while not self._ended.wait(PROGRESS_S):
            seen.append((time.monotonic(), self._bytes))
            while seen[-1][0] - seen[1][0] >= STALL_S:
                seen.popleft()
            elapsed_s, gained = seen[-1][0] - seen[0][0], seen[-1][1] - seen[0][1]
            if elapsed_s >= STALL_S and gained < MIN_RATE * elapsed_s:
                raise ModelUnavailable(
                    f"{self._repository} comes from {constants.ENDPOINT} at {gained / elapsed_s / 1000:.1f} kB/s"
                )
            if self._bytes:
                progress(f"downloading {self._amount()}, {gained / elapsed_s / 1000:.0f} kB/s")
        if self._error:
            raise self._error
        progress(f"downloaded {self._amount()}")
        assert self._directory
        return self._directory

    def run(self) -> None:
        try:
            self._directory = self._fetch()
        except Exception as error:  # noqa: BLE001  `wait` raises it again
            self._error = self._classified(error)
        self._ended.set()

    def _fetch(self) -> Path:
        revision = self._pin.revision if self._pin else None
        # snapshot_download has no timeout for this
        about = HfApi(constants.ENDPOINT).model_info(self._repository, revision=revision, timeout=TIMEOUT_S)
        if not about.sha:
            raise ValueError("an answer without a revision")
        directory = self._snapshot(revision)
        if self._pin and weights.wrong_file(directory, self._pin):  # damaged in the cache, perhaps: once more
            directory = self._snapshot(revision, force_download=True)
            if wrong := weights.wrong_file(directory, self._pin):
                raise ModelUnavailable(f"{wrong} of {self._repository} from {constants.ENDPOINT} has a wrong hash")
        return directory

    def _snapshot(self, revision: str | None, **more: bool) -> Path:
        return Path(
            snapshot_download(
                self._repository,
                revision=revision,
                allow_patterns=FILES,
                etag_timeout=TIMEOUT_S,
                endpoint=constants.ENDPOINT,
                tqdm_class=self._progress_bar(),
                **more,
            )
        )

    def _classified(self, error: Exception) -> Exception:
        """The error to raise in its place. Whatever is not about the network or the name: that was no hub."""
        from_hub = f"{self._repository} cannot be downloaded from {constants.ENDPOINT}"
        if isinstance(error, ModelUnavailable):
            return error
        if isinstance(error, (RepositoryNotFoundError, RevisionNotFoundError)):
            reason = "needs a login" if isinstance(error, GatedRepoError) else "does not exist"
            if not self._pin:
                return ConfigError(f"transcribe.model: {self._repository} {reason} on {constants.ENDPOINT}")
            return ModelUnavailable(f"{from_hub}: it {reason} there")
        if isinstance(error, (OSError, HTTPError)):
            why = str(error).partition("\n")[0].removeprefix("Got: ")
            return ModelUnavailable(f"{from_hub}: {why}")
        return ModelUnavailable(f"{from_hub}: what answers there is no hub ({type(error).__name__})")

    def _amount(self) -> str:
        return f"{self._repository}: {self._bytes / 1e6:.0f} of {self._total / 1e6:.0f} MB"

    def _progress_bar(self) -> type[tqdm]:
        """A progress bar that records the bytes of all files and draws nothing."""
        download = self

        class Bar(tqdm):
            def __init__(self, *arguments: object, **named: object):
                super().__init__(*arguments, **named | {"file": io.StringIO(), "disable": False})

            def update(self, n: float | None = 1) -> bool | None:
                updated = super().update(n)
                if self.unit == "B":
                    download._bytes, download._total = int(self.n), int(self.total or 0)
                return updated

        return Bar
