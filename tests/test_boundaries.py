"""The import rules that keep the parts apart."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

ROOT = Path(__file__).parent.parent
ONLY_IN = {  # each heavy library is imported in as few files as it can be
    "zmq": {"proto/voicetap/bus.py", "proto/voicetap/curve.py", "proto/voicetap/diagnosis.py"},
    "msgpack": {"proto/voicetap/codec.py"},
    "pyaudio": {"services/capture/voicetap_capture/sources/microphone.py"},
    "soxr": {"services/capture/voicetap_capture/sources/resampler.py"},
    "av": {"services/capture/voicetap_capture/sources/file.py"},
    "onnxruntime": {"services/vad/voicetap_vad/silero.py"},
    "faster_whisper": {"services/transcribe/voicetap_transcribe/engines/faster_whisper.py"},
    "pocketsphinx": {"services/transcribe/voicetap_transcribe/engines/pocketsphinx.py"},
    "supervisor": {"services/watchdog/voicetap_watchdog/supervisord_main.py"},
    "silero_vad": set(),
    "torch": set(),
}


def sources() -> list[Path]:
    folders = ("proto", "services", "bundle")
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py") if ".venv" not in path.parts)


def imports() -> Iterator[tuple[Path, str]]:
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            for name in names:
                yield path.relative_to(ROOT), name.split(".")[0]


def test_heavy_libraries_stay_in_their_file():
    assert [] == [(str(p), lib) for p, lib in imports() if lib in ONLY_IN and str(p) not in ONLY_IN[lib]]


def test_services_import_only_themselves_and_the_contract():
    for path, package in imports():
        if package.startswith("voicetap_") and path.parts[0] != "bundle":
            assert package in path.parts, f"{path} imports {package}"


def test_the_bundle_imports_no_service_but_the_watchdog():
    """Which has the names of files and programs, and supervisord's RPC; both without heavy libraries."""
    imported = {package for path, package in imports() if path.parts[0] == "bundle" and package.startswith("voicetap_")}
    assert imported <= {"voicetap_bundle", "voicetap_watchdog"}
    code = "import sys; import voicetap_bundle.programs; print(' '.join({n.split('.')[0] for n in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "voicetap_watchdog" in loaded and not {"supervisor", "zmq", "numpy"} & set(loaded)


def test_top_folders_are_not_packages():
    for folder in ("proto", "services", "bundle", "deploy", "tests", "bench", "tools"):
        assert not (ROOT / folder / "__init__.py").exists()


def test_the_contract_alone_is_enough_for_an_app():
    code = "import sys; from voicetap import Tap; print(' '.join({n.split('.')[0] for n in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "onnxruntime", "av", "pyaudio", "click", "rich", "supervisor"} & set(loaded)


def test_importing_the_contract_imports_neither_zmq_nor_msgpack():
    """A service sets its parent-death signal through it, before anything slow."""
    code = "import sys, voicetap; dir(voicetap); print(' '.join({n.split('.')[0] for n in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "voicetap" in loaded and not {"zmq", "msgpack"} & set(loaded)


def test_every_class_that_a_tap_yields_can_be_imported_from_the_contract():
    import voicetap
    from voicetap.tap import TapMessage

    names = {cls.__name__ for cls in get_args(TapMessage)}
    assert names | {"Tap", "AsyncTap", "Word"} <= set(voicetap.__all__) <= set(dir(voicetap))
    assert all(getattr(voicetap, name) for name in voicetap.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Finale'"):
        _ = voicetap.Finale
