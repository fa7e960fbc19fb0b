"""Named moments: they happen once, cost nothing when off, and show in which order services write and tell."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rig import failpoints, speech
from rig.audio_reader import AudioReader
from rig.processes import environment, eventually
from rig.sample_messages import final
from voicetap import links
from voicetap.bus import Bus
from voicetap.messages import Committed
from voicetap.service import failpoint
from voicetap.service.failpoint import marker
from voicetap_capture.ring import Ring

ROOT = Path(__file__).parent.parent
PASS = "from voicetap.service.failpoint import failpoint; [failpoint('a.b') or print(n, flush=True) for n in range(3)]"
QUIET_S = 0.3


def pass_by(runtime_dir: Path, plan: str) -> subprocess.Popen:
    command = [sys.executable, "-c", PASS]
    return subprocess.Popen(command, env=environment(runtime_dir, failpoints=plan), stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("what", "number"), [("KILL", signal.SIGKILL), ("TERM", signal.SIGTERM)])
def test_it_happens_at_its_time_and_once(runtime_dir, what, number):
    with pass_by(runtime_dir, f"c.d:1:STOP;a.b:2:{what}") as first:
        assert first.communicate(timeout=10)[0] == "0\n" and first.returncode == -number
    with pass_by(runtime_dir, f"c.d:1:STOP;a.b:2:{what}") as second:
        assert second.communicate(timeout=10)[0] == "0\n1\n2\n" and second.returncode == 0


@pytest.mark.parametrize("what", ["STOP", "hang", "gil"])
def test_it_may_stay_for_ever(runtime_dir, what):
    with pass_by(runtime_dir, f"a.b:2:{what}") as process:
        assert process.stdout.readline() == "0\n"
        eventually(marker(runtime_dir, "a.b").exists, 5, "it came there")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(QUIET_S)
        process.kill()


def test_off_it_is_a_function_that_does_nothing():
    assert "VOICETAP_FAILPOINTS" not in os.environ
    assert failpoint.failpoint("vad.segment.committed") is None
    assert len(failpoint.failpoint.__code__.co_code) <= 8, "no more than a return"


def test_every_moment_in_the_code_is_attacked_and_no_other():
    named = re.compile(r'failpoint\(f?"([^"]+)"\)')
    paths = [*ROOT.glob("proto/**/*.py"), *ROOT.glob("services/*/voicetap_*/*.py")]
    texts = [path.read_text() for path in paths if path.name != "failpoint.py"]
    found = {moment for text in texts for moment in named.findall(text)}
    everywhere = {moment.rpartition(".")[2] for moment in found if moment.startswith("{")}
    assert everywhere == set(failpoints.IN_EVERY_SERVICE)
    assert {moment for moment in found if not moment.startswith("{")} == {
        moment for moment in failpoints.FAILPOINTS if moment.partition(".")[2] not in failpoints.IN_EVERY_SERVICE
    }


def test_capture_publishes_nothing_that_is_not_in_its_ring(spawn, settings, runtime_dir, tmp_path):
    recording = speech.write_wav(tmp_path / "quiet.wav", speech.silence(3))
    with Bus("app", settings) as bus:
        reader = AudioReader(bus, "file")
        process = spawn("voicetap_capture", sources=f"file:{recording}", failpoints="capture.slot.written:20:hang")
        reader.until(marker(runtime_dir, "capture.slot.written").exists)
        reader.until(lambda: len(reader.frames) >= 10)
        listen_until_s = time.monotonic() + QUIET_S
        while time.monotonic() < listen_until_s:
            reader.poll()
    process.kill()
    process.wait()
    with Ring(runtime_dir / "audio-file.ring", "file", settings.capture.ring_s, f"file:{recording}") as ring:
        assert max(reader.frames) < ring.next_seq == 19


def test_journal_acknowledges_nothing_that_is_not_stored(spawn, settings, runtime_dir):
    with Bus("vad", settings) as bus:
        results, commits = bus.sender(links.RESULTS), bus.receiver(links.COMMITS)
        process = spawn("voicetap_journal", failpoints="journal.entry.received:1:hang")
        eventually(lambda: list(commits), 10, "journal is there")
        results.send(final(1))
        eventually(marker(runtime_dir, "journal.entry.received").exists, 5, "it has the entry")
        bus.wait(QUIET_S)
        assert not [message for message in commits if isinstance(message, Committed)]
        process.kill()
        process.wait()
        spawn("voicetap_journal")
        again = lambda: results.send(final(1)) and any(isinstance(message, Committed) for message in commits)  # noqa: E731
        eventually(again, 10, "stored this time")
