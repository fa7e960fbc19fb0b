"""What is decoded before it is final, early or in the middle: by a vad between neighbours, and in the whole bundle."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import coded, speech, world
from rig.processes import eventually
from rig.vad import Neighbours, silent, spoken
from voicetap import Tap
from voicetap.codec import UtteranceId
from voicetap.messages import FRAME_BYTES, SAMPLE_RATE_HZ, Final, Interim, SpeechStopped
from voicetap.settings import Settings
from voicetap_bundle import Bundle

DECODE_S = 0.25
SENTENCES = 1
ENDPOINT_S = 0.8  # time enough to decode, on a busy machine too


@pytest.fixture
def around(settings: Settings) -> Iterator[Neighbours]:
    with Neighbours(settings) as neighbours:
        yield neighbours


def test_a_pause_is_decoded_early_and_so_is_the_end_whose_final_has_the_same_sound(around, spawn):
    spawn("voicetap_vad", vad_endpoint_ms=1000, vad_interims="false")
    around.hear(silent(20) + spoken()[: 40 * FRAME_BYTES] + silent(20))
    around.pump(lambda: len(around.all_guesses) == 1, "the pause")
    around.hear(spoken()[40 * FRAME_BYTES :] + silent(20))
    around.pump(lambda: has_heard_all(around), "most of a second pause")
    assert len(around.all_guesses) == 1, "which can wait: the workers are quick"
    pause_until_heard(around, 2)
    assert not around.all_jobs
    around.hear(silent(40))
    around.pump(lambda: around.entries, "the final")
    first, second = around.all_guesses
    [final] = around.all_jobs
    assert {job.purpose for job in around.all_guesses} == {"early"}
    assert (second.utterance_id, second.start_position, second.end_position, second.pcm) == (
        final.utterance_id,
        final.start_position,
        final.end_position,
        final.pcm,
    )
    assert first.end_position < second.end_position
    around.pump(lambda: counts(around) == (2, 1), "and it is said what became of them")
    assert not interims(around)


def pause_until_heard(around: Neighbours, guesses: int) -> None:
    """Nobody speaks, frame by frame, until so many jobs were decoded that are not final."""
    while len(around.all_guesses) < guesses:
        assert not around.all_jobs, "the pause was the end, and was not decoded before"
        around.hear(silent(1))
        around.pump(lambda: has_heard_all(around), "a frame of silence")


def has_heard_all(around: Neighbours) -> bool:
    return around.beat.sources[0].position_s * SAMPLE_RATE_HZ == around.next_position


def counts(around: Neighbours) -> tuple[int, int]:
    [state] = around.beat.sources
    return state.early_jobs, state.early_used


def test_what_comes_late_is_not_decoded_early(around, spawn):
    """A vad that has to catch up knows already what came after the pause."""
    around.hear((silent(20) + spoken()) * 3 + silent(40))
    around.state = "ended"
    spawn("voicetap_vad")
    around.pump(around.drained, "drained")
    assert len(around.entries) == 3
    assert not around.all_guesses


def test_words_are_published_while_they_are_spoken(around, spawn):
    """Each time of all the sound there is, until somebody pauses; and never two of one utterance at a time."""
    worker = around.workers["w1"]
    spawn("voicetap_vad", vad_endpoint_ms=1000)
    around.hear(silent(20) + spoken()[: 28 * FRAME_BYTES])
    around.pump(lambda: worker.drafts, "enough is said")
    around.hear(spoken()[28 * FRAME_BYTES : 46 * FRAME_BYTES])
    around.pump(lambda: len(worker.drafts) == 2 and len(interims(around)) == 2, "and more")
    around.hear(spoken()[46 * FRAME_BYTES :] + silent(15))
    pause_until_heard(around, 3)
    around.pump(lambda: len(interims(around)) == 3, "the end")
    assert [job.purpose for job in worker.drafts] == ["interim", "interim", "early"]
    assert len({job.start_position for job in worker.drafts}) == 1
    ends = [job.end_position for job in worker.drafts]
    assert [round(interim.end_s * 16_000) for interim in interims(around)] == ends == sorted(ends)
    assert {interim.utterance_id for interim in interims(around)} == set(around.started)
    around.pump(lambda: around.beat.sources[0].interims == "full", "and it is said how often")


def test_the_end_comes_sooner_when_a_sentence_is_finished(around, spawn):
    """That is known from the early text; the sound alone would have to be followed by three seconds of silence."""
    around.workers["w1"].text = "Is this the end? It is."
    spawn("voicetap_vad", vad_adaptive_endpoint="true", vad_endpoint_ms=3000)
    around.hear(silent(20) + spoken() + silent(20))
    around.pump(lambda: [job for job in around.all_guesses if job.purpose == "early"], "the pause")
    end_position = around.all_guesses[-1].end_position
    around.pump(lambda: interims(around) and interims(around)[-1].end_s * 16_000 == end_position, "vad has heard of it")
    around.hear(silent(10))
    around.pump(lambda: around.entries, "the end")
    assert [job.end_position for job in around.all_jobs] == [end_position]


def interims(around: Neighbours) -> list[Interim]:
    return [event for event in around.events if isinstance(event, Interim)]


@pytest.mark.skipif(not speech.have_flite(), reason="flite is not installed (apt install flite)")
def test_words_come_while_they_are_spoken_and_the_text_at_the_end(tmp_path: Path, monkeypatch):
    """Although decoding takes longer than from the end to the text."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # for the worker, where the coded engine is
    played = world.make(tmp_path, SENTENCES)
    patient = {"vad.endpoint_ms": int(ENDPOINT_S * 1000)}
    audience = Audience()
    with Bundle(f"file:{played.path}", engine="rig.coded:CodedEngine", model=str(DECODE_S), settings=patient) as box:
        with box.tap(events=True, interims=True) as tap:
            eventually(lambda: audience.hear(tap) and len(audience.late_s) == SENTENCES, 40, "all of it")
    assert min(audience.late_s) < DECODE_S / 2, audience.late_s
    assert set(audience.interims) == set(audience.finals)
    for id_, interims in audience.interims.items():
        first, last = coded.parse(audience.finals[id_])[0]
        for interim in interims:
            [(interim_first, interim_last)] = coded.parse(interim.text)
            assert interim_first == first and interim_last <= last
        assert [interim.revision for interim in interims] == sorted({interim.revision for interim in interims})


class Audience:
    """What a tap has heard, and how long after the end of each utterance its text came."""

    def __init__(self) -> None:
        self.interims: dict[UtteranceId, list[Interim]] = {}
        self.finals: dict[UtteranceId, str] = {}
        self.late_s: list[float] = []
        self._ended_s: dict[UtteranceId, float] = {}

    def hear(self, tap: Tap) -> bool:
        match heard := tap.next(timeout_s=0.2):
            case Interim():
                assert heard.utterance_id not in self.finals
                self.interims.setdefault(heard.utterance_id, []).append(heard)
            case SpeechStopped():
                self._ended_s[heard.utterance_id] = time.monotonic()
            case Final():
                self.finals[heard.utterance_id] = heard.text
                self.late_s.append(time.monotonic() - self._ended_s[heard.utterance_id])
        return True
