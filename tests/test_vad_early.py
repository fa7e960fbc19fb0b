"""What is decoded before it is known to be final: by a vad between neighbours, and in the whole bundle."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import speech, world
from rig.vad import Neighbours, silent, spoken
from voicetap import Tap
from voicetap.messages import FRAME_BYTES, Final, SpeechStopped
from voicetap.settings import Settings
from voicetap_bundle import Bundle

DECODE_S = 0.25
SENTENCES = 2


@pytest.fixture
def around(settings: Settings) -> Iterator[Neighbours]:
    with Neighbours(settings) as neighbours:
        yield neighbours


def test_a_pause_is_decoded_early_and_so_is_the_end_whose_final_has_the_same_sound(around, spawn):
    spawn("voicetap_vad", vad_endpoint_ms=1000)
    around.hear(silent(20) + spoken()[: 40 * FRAME_BYTES] + silent(20))
    around.pump(lambda: len(around.all_guesses) == 1, "the pause")
    around.hear(spoken()[40 * FRAME_BYTES :] + silent(20))
    around.pump(lambda: len(around.all_guesses) == 2, "the end")
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


@pytest.mark.skipif(not speech.have_flite(), reason="flite is not installed (apt install flite)")
def test_the_text_is_out_at_the_end_although_decoding_takes_longer(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # for the worker, where the coded engine is
    played = world.make(tmp_path, SENTENCES)
    with Bundle(f"file:{played.path}", engine="rig.coded:CodedEngine", model=str(DECODE_S)) as box:
        with box.tap(events=True) as tap:
            late_s = lateness_s(tap)
    assert min(late_s) < DECODE_S / 2, late_s


def lateness_s(tap: Tap) -> list[float]:
    """From the end of each utterance to its text."""
    ended_s, late_s = {}, []
    deadline_s = time.monotonic() + 40
    while len(late_s) < SENTENCES:
        assert time.monotonic() < deadline_s, late_s
        heard = tap.next(timeout_s=0.5)
        if isinstance(heard, SpeechStopped):
            ended_s[heard.utterance_id] = time.monotonic()
        elif isinstance(heard, Final):
            late_s.append(time.monotonic() - ended_s[heard.utterance_id])
    return late_s
