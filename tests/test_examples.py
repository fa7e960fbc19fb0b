"""Every code block in README.md and docs/ is run, beside a bundle that has played the bundled sample.

A block with `<!-- prints: TEXT -->` before it is ended once that text has come; any other has to end by itself, with
exit code 0. What cannot be run says why, and its commands and options are checked all the same.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import tomllib
import wave
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import av
import pytest

from rig.documents import DOCUMENTS, ROOT, Block, blocks, table
from voicetap import config, links, source_spec
from voicetap.messages import SAMPLE_BYTES, SAMPLE_RATE_HZ
from voicetap_bundle import Bundle
from voicetap_bundle.cli import COMMANDS, voicetap

SAMPLE = ROOT / "bundle/voicetap_bundle/data/sample.flac"
TAP = ROOT / "docs/examples/tap.js"
SENTENCES = 4
FIRST_S = 3.3  # the first of them
WITHIN_S = 50.0
BLOCKS = [block for document in DOCUMENTS for block in blocks(document)]
RUN = [block for block in BLOCKS if block.language in ("sh", "python") and not block.not_run]
NOT_RUN = {
    "it would run these tests within themselves",
    "needs microphones, the hub, or a file of yours",
    "needs root and systemd",
    "needs a Docker engine",
    "each takes minutes, an idle machine, and some a model",
}
# Cheap and the same everywhere: files as fast as they can be read, and an engine that needs no download.
SETTINGS = {
    "VOICETAP_CONFIG": os.devnull,
    "VOICETAP_CAPTURE_PACE": "max",
    "VOICETAP_TRANSCRIBE_ENGINE": "pocketsphinx",
    "VOICETAP_TRANSCRIBE_OFFLINE": "true",
}


@pytest.fixture(scope="module")
def bundle() -> Iterator[Bundle]:
    """One that has transcribed the sample, and goes on running."""
    with Bundle(f"sample=file:{SAMPLE}", engine="pocketsphinx", pace="max") as bundle:
        assert len(list(bundle.transcripts())) == SENTENCES
        yield bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the blocks run: with what a reader has at hand, and stand-ins for the set-up and for a sound card."""
    path = tmp_path_factory.mktemp("docs")
    with wave.open(str(path / "talk.wav"), "wb") as talk:
        talk.setparams((1, SAMPLE_BYTES, SAMPLE_RATE_HZ, 0, "NONE", ""))
        talk.writeframes(first := pcm_of(SAMPLE)[: int(FIRST_S * SAMPLE_RATE_HZ) * SAMPLE_BYTES])
    (path / "talk.raw").write_bytes(first)
    (path / "tests").symlink_to(ROOT / "tests")
    shutil.copy(TAP, path)  # not a link: Node.js would look for its packages where the link leads
    for block in BLOCKS:
        if block.file:
            (path / block.file).write_text(block.text)
    (path / "bin").mkdir()
    script(
        path / "run", f'exec "{sys.executable}" -P -m voicetap_bundle up "$@"'
    )  # tests/test_packaging.py has the rest
    script(path / "bin/arecord", f"exec cat '{path}/talk.raw'")
    return path


def script(path: Path, command: str) -> None:
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)


def pcm_of(path: Path) -> bytes:
    """s16le mono 16 kHz, as the sample is."""
    with av.open(str(path)) as container:
        return b"".join(frame.to_ndarray().astype("<i2").tobytes() for frame in container.decode(audio=0))


@pytest.mark.parametrize("block", RUN, ids=str)
def test_a_block_runs(block: Block, bundle: Bundle, folder: Path):
    if "npm install" in block.text:
        prepare_node(folder)
    environment = os.environ | SETTINGS | {"VOICETAP_RUNTIME_DIR": runtime_dir(block, bundle, folder)}
    environment |= {"HOME": str(folder), "XDG_STATE_HOME": str(folder / f"state-{block}")}
    environment["PATH"] = f"{folder}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
    output, exit_code = run(command_of(block, folder), environment, folder, block.prints)
    assert block.prints in output, output
    assert "Traceback" not in output, output
    assert block.prints or exit_code == 0, output


def runtime_dir(block: Block, bundle: Bundle, folder: Path) -> str:
    """The bundle's; what starts one of its own gets another."""
    starts_one = re.search(r"^(.*\| )?(\S+=\S+ )?(\./run|voicetap up)\b", block.text, re.MULTILINE)
    return str(folder / "own") if starts_one else bundle.settings.runtime_dir


def command_of(block: Block, folder: Path) -> list[str]:
    if block.language == "sh":
        return ["bash", "-euc", block.text]
    path = folder / (block.file or f"{'test_' if 'def test_' in block.text else ''}block_{block.line}.py")
    path.write_text(block.text)
    if path.name.startswith("test_"):
        return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(path)]
    return [sys.executable, str(path)]


def run(command: list[str], environment: dict[str, str], folder: Path, until: str, count: int = 0) -> tuple[str, int]:
    """Output and exit code. Ended, as by Ctrl-C, once `until` or `count` lines were printed; killed after WITHIN_S."""
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=folder,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    patience = threading.Timer(WITHIN_S, os.killpg, (process.pid, signal.SIGKILL))
    patience.start()
    lines = []
    for line in process.stdout:
        lines.append(line)
        if (until and until in line) or len(lines) == count:
            end(process)
            break
    process.stdout.read()
    exit_code = process.wait()
    patience.cancel()
    process.stdout.close()
    return "".join(lines), exit_code


def end(process: subprocess.Popen) -> None:
    """As Ctrl-C does: every process of the block gets the signal."""
    try:
        os.killpg(process.pid, signal.SIGINT)
    except ProcessLookupError:
        return


def prepare_node(folder: Path) -> None:
    """Skips where there is no Node.js, or no registry to install packages from."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("Node.js and npm are not installed")
    command = ["npm", "install", "--no-audit", "--no-fund", "zeromq", "@msgpack/msgpack"]
    try:
        installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30)
    except subprocess.TimeoutExpired:
        pytest.skip("npm's registry does not answer")
    if installed.returncode:
        pytest.skip(f"npm cannot install the packages: {installed.stderr[-200:]}")


KILLED = """
// Preloaded: SIGKILL in place of the third line, or after a line and before its position is saved.
let left = 2;
const log = console.log;
console.log = (line) => {
  if (left === 0) process.kill(process.pid, "SIGKILL");
  log(line);
  left -= 1;
  if (process.env.BEFORE_SAVING) process.kill(process.pid, "SIGKILL");
};
"""


def test_the_tap_in_javascript_resumes_after_a_kill(bundle: Bundle, folder: Path):
    """None is missing, and only the entry in hand comes again."""
    prepare_node(folder)
    (folder / "killed.js").write_text(KILLED)
    environment = os.environ | {"VOICETAP_RUNTIME_DIR": bundle.settings.runtime_dir}
    command = ["node", "--require", "./killed.js", "tap.js", "resumed.json"]
    runs = []
    for count, more in ((0, {"BEFORE_SAVING": "yes"}), (0, {}), (2, {})):
        output, _ = run(command, environment | more, folder, "", count)
        runs.append([json.loads(line)["journal_seq"] for line in output.splitlines()])
    assert runs == [[1], [1, 2], [3, 4]]


def test_every_file_of_a_running_bundle_is_in_the_table_of_state(bundle: Bundle):
    rows = table((ROOT / "docs/architecture.md").read_text(), "State")
    names = re.findall(r"`(?:RUNTIME_DIR/)?([\w.*-]+)`", " ".join(row["file"] for row in rows))
    known = "|".join(re.sub("SOURCE|NAME|\\*", "[a-z0-9-]+", name.replace(".", r"\.")) for name in names)
    runtime_dir = Path(bundle.settings.runtime_dir)
    files = [str(path.relative_to(runtime_dir)) for path in runtime_dir.rglob("*") if path.is_file()]
    assert len(files) > len(names) / 2
    # SQLite and supervisord add files beside their own
    assert [
        name for name in files if not re.fullmatch(rf"({known})(-wal|-shm|\.pid)?", name.removeprefix("log/"))
    ] == []


def test_the_reasons_for_what_is_not_run_are_few_and_known():
    assert {block.not_run for block in BLOCKS if block.not_run} == NOT_RUN


def commands_of(block: Block) -> Iterator[list[str]]:
    """The commands of a shell block, one by one, as words, without the variables before them."""
    for line in block.text.splitlines():
        words = [word for word in shlex.split(line, comments=True) if not re.match(r"[A-Z_]+=", word)]
        for separates, command in groupby(words, lambda word: word in ("|", "&&")):
            if not separates:
                yield [word.strip("()") for word in command]


def options_of(command: str) -> set[str]:
    """The options of a command of `voicetap`, and those of its own commands."""
    found = voicetap.get_command(None, command)
    commands = [found, *getattr(found, "commands", {}).values()]
    return {name for each in commands for option in each.params for name in option.opts}


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "sh"], ids=str)
def test_commands_and_options_exist(block: Block):
    for words in commands_of(block):
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        if words[:1] == ["voicetap"]:
            assert options <= options_of(words[1]), words
        elif words[:1] == ["./run"]:
            assert options <= options_of("up"), words
        for path in (ROOT / word for word in words if word.startswith(("bench/", "tools/", "deploy/", "tests/"))):
            assert path.exists(), words
            if path.parent.name == "bench":
                known = path.with_suffix(".py").read_text()
                assert all(f'"{option}"' in known for option in options), words


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "toml"], ids=str)
def test_settings_are_accepted(block: Block, tmp_path: Path):
    data = tomllib.loads(block.text)
    if "project" in data:  # of an engine's own package
        assert set(data["project"]["entry-points"]) == {"voicetap.engines"}
        return
    path = tmp_path / "voicetap.toml"
    path.write_text(block.text)
    settings = config.load({"VOICETAP_CONFIG": str(path)})
    links.addresses_of(settings)
    source_spec.parse_all(settings)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_commands_in_tables_and_prose_exist(document: Path):
    named = set(re.findall(r"`voicetap ([a-z]+)", document.read_text()))
    assert named - {"runs"} <= set(COMMANDS), "`voicetap runs already` is a message"
