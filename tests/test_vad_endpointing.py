"""How long a pause has to be to end an utterance, and that nothing but the end depends on it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicetap.codec import UtteranceId
from voicetap.messages import FRAME_SAMPLES, CutReason, Hypothesis, Purpose
from voicetap.settings import VadSettings
from voicetap_vad.endpointing import PAUSES, Endpointer
from voicetap_vad.segmenter import ScoredFrame, Segmenter, UtteranceEnded, UtteranceStarted

ADAPTIVE = VadSettings(adaptive_endpoint=True)
SHORTEST, USUAL, LONGEST = 350 * 16, 544 * 16, 1000 * 16
SPEECH, QUIET = 0.9, 0.05
SAID = {"done": "Turn it on.", "more": "Turn it on and", "open": "turn it on"}


def heard(text: str, avg_logprob: float = -0.2) -> Hypothesis:
    return Hypothesis(
        worker="w1",
        boot_id="b1",
        utterance_id=UtteranceId("mic", "a1", 1),
        purpose=Purpose.EARLY,
        start_position=0,
        end_position=16_000,
        text=text,
        decode_s=0.1,
        avg_logprob=avg_logprob,
    )


def length_after(text: str, avg_logprob: float = -0.2, pauses_ms: tuple[int, ...] = ()) -> int:
    endpointer = Endpointer(ADAPTIVE)
    for pause_ms in pauses_ms:
        endpointer.on_speech_resumed(pause_ms * 16)
    endpointer.on_hypothesis(heard(text, avg_logprob))
    return endpointer.length


@pytest.mark.parametrize("text", ["Turn it on.", "Really?", "Stop!", 'He said "no."', "いいえ。"])
def test_after_a_finished_sentence_the_end_comes_sooner(text):
    assert length_after(text) == SHORTEST


@pytest.mark.parametrize("text", ["I want to.", "one, two,", "bread and", "the", "well...", "wait -", "Um."])
def test_in_the_middle_of_one_it_comes_later(text):
    assert length_after(text) == LONGEST


@pytest.mark.parametrize("text", ["turn it on", "", "7", "sand"])
def test_else_it_is_as_ever(text):
    assert length_after(text) == USUAL


def test_an_unsure_engine_makes_nothing_shorter():
    assert length_after("Turn it on.", avg_logprob=-0.9) == USUAL


def test_a_speaker_who_pauses_long_is_waited_for_longer():
    assert length_after("Yes.", pauses_ms=(150, 200, 200)) == SHORTEST
    assert length_after("Yes.", pauses_ms=(150, 200, 320)) == int(1.3 * 320 * 16)
    assert length_after("Yes.", pauses_ms=(500, 500, 500)) == USUAL, "but not for longer than any other"
    assert length_after("Yes.", pauses_ms=(320, *[150] * PAUSES)) == SHORTEST, "that was long ago"
    assert length_after("Yes.", pauses_ms=(1200, 150)) == SHORTEST, "and that was the end of something"


def test_it_adapts_only_if_it_may():
    endpointer = Endpointer(VadSettings())
    for text in SAID.values():
        endpointer.on_hypothesis(heard(text))
        assert endpointer.length == USUAL


def segment(probabilities: list[float], said: list[str]) -> list[tuple[int, int, str]]:
    """Spans and reasons; in each pause, as soon as it is known, the next of `said` is heard."""
    segmenter, ends, known, texts = Segmenter(ADAPTIVE), [], None, iter(said)
    first_seq = 0
    for seq, probability in enumerate(probabilities):
        for event in segmenter.on_frame(ScoredFrame(seq, seq * FRAME_SAMPLES, probability)):
            if isinstance(event, UtteranceStarted):
                first_seq = event.first_seq
            if isinstance(event, UtteranceEnded):
                assert known in (None, (first_seq, event.last_seq)), "the cut is what it was said to be"
                ends.append((seq, event.last_seq, event.reason))
        if (pause := segmenter.pause) and pause != known:
            segmenter.endpointer.on_hypothesis(heard(next(texts, "")))
        known = segmenter.pause
    return ends


@pytest.mark.parametrize(("said", "length"), [("done", SHORTEST), ("more", LONGEST), ("open", USUAL)])
def test_what_was_said_moves_the_end_and_not_the_cut(said, length):
    [(ended_seq, last_seq, reason)] = segment([QUIET] * 20 + [SPEECH] * 30 + [QUIET] * 40, [SAID[said]])
    assert ended_seq == 49 + -(-length // FRAME_SAMPLES)
    assert (last_seq, reason) == (49 + ADAPTIVE.speech_pad_ms // 32, CutReason.SILENCE)


def test_a_text_counts_for_its_own_pause_alone():
    pause = [QUIET] * 9
    [(ended_seq, _, _)] = segment(
        [SPEECH] * 30 + pause + [SPEECH] * 20 + [QUIET] * 40, ["Turn it on.", "and off again"]
    )
    assert ended_seq == 58 + -(-USUAL // FRAME_SAMPLES)


def test_who_was_cut_off_is_not_cut_off_so_soon_again():
    sentence = [SPEECH] * 30 + [QUIET] * 13  # after each a pause of 416 ms, in which the text looks finished
    ends = segment([QUIET] * 20 + sentence * 4 + [QUIET] * 40, ["Turn it on."] * 5)
    assert len(ends) == 2, "the first one and, of all that followed, the last"


runs = st.lists(st.tuples(st.sampled_from([0.0, 0.4, 0.6, 0.95]), st.integers(1, 40)), min_size=1, max_size=20).map(
    lambda pairs: [probability for probability, count in pairs for _ in range(count)]
)


@given(runs, st.lists(st.sampled_from([*SAID.values(), ""]), max_size=20))
def test_whatever_is_heard_no_frame_is_in_two_cuts_and_no_end_is_too_soon(probabilities, said):
    ends = segment(probabilities, said)
    assert [last for _, last, _ in ends] == sorted({last for _, last, _ in ends})
    for ended_seq, _, reason in ends:
        silent = probabilities[ended_seq - SHORTEST // FRAME_SAMPLES + 1 : ended_seq + 1]
        assert reason != CutReason.SILENCE or max(silent) < replace(ADAPTIVE).threshold
