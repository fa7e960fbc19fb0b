"""The audit: no violation for an intact bundle, and one for every way in which records can contradict each other."""

import json
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rig import processes, speech, world
from rig.processes import eventually
from voicetap.codec import decode, encode
from voicetap.messages import FRAME_SAMPLES
from voicetap_bundle import Bundle
from voicetap_bundle.audit import audit
from voicetap_bundle.reconciliation import (
    FrameRun,
    NumberedSpan,
    StreamRecords,
    sequence_violations,
    span_of,
    summary,
    violations,
)
from voicetap_capture.ring import Ring, survey_all

F = FRAME_SAMPLES


def entry(number: int, first: int, last: int, kind: str = "entry") -> NumberedSpan:
    """The span of frames `first` to `last` (exclusive)."""
    return NumberedSpan(number, kind, first * F, last * F)


GOOD = StreamRecords(
    "mic",
    "ab",
    runs=(FrameRun(20, 20 * F, 30), FrameRun(50, 60 * F, 40)),  # frames 0 to 20 were overwritten, 10 never captured
    decided_seq=80,
    decided_to=90 * F,
    last_number=4,
    entries=(entry(1, 5, 10), entry(2, 22, 30), entry(3, 50, 60, "gap"), entry(4, 70, 80)),
)


def test_the_summary_of_intact_records():
    assert violations(GOOD) == []
    found = summary(GOOD)
    counts = [found[name] for name in ("utterances", "gaps", "frames", "waiting", "retired")]
    assert counts == [3, 1, 70, 0, 0]
    frame_s = F / 16_000
    seconds = {name: found[name] / frame_s for name in ("heard_s", "utterance_s", "gap_s", "silence_s", "undecided_s")}
    expected = {"heard_s": 100, "utterance_s": 23, "gap_s": 10, "silence_s": 57, "undecided_s": 10}
    assert seconds == pytest.approx(expected)


@pytest.mark.parametrize(
    "records",
    [
        replace(GOOD, last_number=5, segments=(entry(5, 82, 82, "open"),)),
        replace(GOOD, last_number=5, segments=(entry(5, 82, 88, "speech"),)),
        replace(GOOD, segments=(entry(4, 70, 80, "speech"),)),  # committed a moment ago
        replace(GOOD, segments=(entry(4, 70, 70, "open"),)),
        replace(GOOD, entries=(*GOOD.entries, entry(5, 91, 95))),  # decided a moment ago
        replace(GOOD, entries=(entry(1, 5, 10), *GOOD.entries[2:]), segments=(entry(2, 22, 30, "speech"),)),
        replace(GOOD, entries=GOOD.entries[:1], segments=(entry(2, 22, 30, "speech"),), runs=()),  # 3 and 4 wait for 2
        replace(GOOD, entries=GOOD.entries[1:], has_expired_entries=True),
        replace(GOOD, entries=(), has_expired_entries=True, runs=()),
        replace(GOOD, entries=(*GOOD.entries[:3], entry(4, 45, 70)), decided_to=90 * F),  # bridges the gap
    ],
)
def test_work_in_progress_is_no_violation(records: StreamRecords):
    assert violations(records) == []


@pytest.mark.parametrize(
    ("records", "complaint"),
    [
        (replace(GOOD, entries=GOOD.entries[:2] + GOOD.entries[3:]), "mic/ab/3: no entry"),
        (replace(GOOD, entries=GOOD.entries[1:]), "mic/ab/1: no entry"),
        (replace(GOOD, last_number=5), "mic/ab/5: no entry"),
        (replace(GOOD, entries=(*GOOD.entries, entry(4, 70, 80))), "mic/ab/4: 2 entries"),
        (replace(GOOD, segments=(entry(4, 71, 80, "speech"),)), "mic/ab/4: the journal has"),
        (replace(GOOD, segments=(entry(4, 70, 79, "speech"),)), "mic/ab/4: the journal has"),
        (replace(GOOD, entries=(*GOOD.entries[:3], entry(4, 28, 80))), "mic/ab/4: 14336-40960 begins before"),
        (replace(GOOD, decided_to=79 * F), "mic/ab/4: 35840-40960 does not fit"),
        (replace(GOOD, entries=(*GOOD.entries, entry(5, 82, 95))), "mic/ab/5: 41984-48640 does not fit"),
        (replace(GOOD, damaged=(33,)), "mic/ab: frame 33 is damaged"),
        (replace(GOOD, runs=(GOOD.runs[0], FrameRun(50, 49 * F, 40))), "mic/ab: frame 50 lies at"),
        (
            replace(GOOD, entries=(*GOOD.entries[:3], NumberedSpan(4, "entry", 70 * F + 1, 80 * F))),
            "cuts through a frame",
        ),
        (
            replace(GOOD, entries=(*GOOD.entries[:3], NumberedSpan(4, "entry", 70 * F, 80 * F - 1))),
            "cuts through a frame",
        ),
        (
            replace(GOOD, entries=(*GOOD.entries[:2], entry(3, 49, 60, "gap"), GOOD.entries[3])),
            "mic/ab/3: the gap 25088-30720 holds sound",
        ),
        (
            replace(GOOD, entries=(*GOOD.entries[:2], entry(3, 51, 60, "gap"), GOOD.entries[3])),
            "mic/ab: nothing was captured from 25600 to 30720",
        ),
    ],
)
def test_a_contradiction_is_reported(records: StreamRecords, complaint: str):
    assert [text for text in violations(records) if complaint in text]


def test_a_hole_or_a_repetition_in_the_journal_is_reported():
    assert sequence_violations([5, 6, 7]) == []
    assert sequence_violations([1, 2, 4, 4]) == ["journal_seq 2 is followed by 4", "journal_seq 4 is followed by 4"]


def test_a_ring_is_surveyed_beside_its_writer(tmp_path: Path):
    from test_capture_ring import frame

    with Ring(tmp_path / "audio-mic.ring", "mic", 10.0, "mic:") as ring:
        for seq in range(400):
            jump = 1000 if seq >= 350 else 0
            ring.commit(replace(frame(ring, seq), position=seq * F + jump))
        [found] = survey_all(tmp_path)
        assert (found.source, found.stream, found.next_seq) == ("mic", ring.stream, 400)
        oldest = ring.first_seq
        assert found.runs == [[oldest, oldest * F, 350 - oldest], [350, 350 * F + 1000, 50]] and not found.damaged
        ring._map[ring._offset(390) + 100] ^= 1
        assert survey_all(tmp_path)[0].damaged == [390]
    (tmp_path / "audio-mic.ring").write_bytes(b"no ring" * 1000)
    with pytest.raises(ValueError, match="no ring"):
        survey_all(tmp_path)


@pytest.mark.skipif(not speech.have_flite(), reason="flite is not installed (apt install flite)")
def test_a_running_bundle_passes_after_kills_and_changed_files_are_reported(
    tmp_path: Path, runtime_dir: Path, spawn, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # workers import the coded engine from there
    played = world.build(tmp_path, sentences=4)
    box = Bundle(
        f"file:{played.path}", engine="rig.coded:CodedEngine", model="0.05", pace="max", runtime_dir=str(runtime_dir)
    )
    with box:
        assert audit(box.settings)["violations"] == []
        for program in ("vad", "journal", "capture-1"):
            assert box.kill(program)
        eventually(box.is_drained, 20, "all to be published")
        found = audit(box.settings)
        [stream] = found["streams"]
        assert (found["violations"], stream["waiting"], stream["undecided_s"]) == ([], 0, 0)
        assert stream["utterances"] >= 4 and stream["heard_s"] == played.seconds
        box._process.kill()  # like a power failure: all files stay
        eventually(lambda: not processes.processes_of(runtime_dir), 5, "all to die")
    _forge_journal(runtime_dir)
    _forge_segment_store(runtime_dir)
    spawn("voicetap_journal")
    audited = subprocess.run(
        [sys.executable, "-W", "error", "-m", "voicetap_bundle", "audit", "--json"],
        env=processes.environment(runtime_dir),
        capture_output=True,
        text=True,
    )
    found = "\n".join(json.loads(audited.stdout)["violations"])
    assert audited.returncode == 1 and audited.stderr == ""
    for complaint in ("journal_seq 1 is followed by 3", "/2: no entry", "/3: the journal has", "/900: no entry"):
        assert complaint in found


def test_without_a_bundle_it_exits_3(runtime_dir: Path):
    audited = subprocess.run(
        [sys.executable, "-m", "voicetap_bundle", "audit"],
        env=processes.environment(runtime_dir),
        capture_output=True,
        text=True,
    )
    assert (audited.returncode, audited.stdout) == (3, "")
    assert audited.stderr.startswith("voicetap: nothing runs in") and len(audited.stderr.splitlines()) == 1


def _forge_journal(runtime_dir: Path) -> None:
    """Deletes entry 2 and moves entry 3 by one sample."""
    with sqlite3.connect(runtime_dir / "journal.sqlite") as database:
        database.execute("DELETE FROM entries WHERE journal_seq = 2")
        body = database.execute("SELECT body FROM entries WHERE journal_seq = 3").fetchone()[0]
        moved = encode(replace(decode(body), start_s=decode(body).start_s + 1 / 16_000))
        database.execute("UPDATE entries SET body = ? WHERE journal_seq = 3", (moved,))
    database.close()


def _forge_segment_store(runtime_dir: Path) -> None:
    """Restores the segment of number 3 as it was before the move, and sets the last number to 900."""
    [path] = runtime_dir.glob("cuts-*.sqlite")
    with sqlite3.connect(runtime_dir / "journal.sqlite") as database:
        third = decode(database.execute("SELECT body FROM entries WHERE journal_seq = 3").fetchone()[0])
    database.close()
    before = span_of(third)
    span = (0, 1, 0, before.start - 1, before.end)
    with sqlite3.connect(path) as database:
        row = (third.utterance_id.stream, 3, "speech", *span, 0, 0, "silence", 0, 0, "")
        database.execute(f"INSERT INTO cuts VALUES ({', '.join('?' * len(row))})", row)
        database.execute("UPDATE marks SET last_number = 900")
    database.close()
