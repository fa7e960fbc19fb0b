"""How long a pause must be to end an utterance, and that the segment itself does not depend on it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicetap.codec import UtteranceId
from voicetap.messages import FRAME_SAMPLES, Hypothesis
from voicetap.settings import VadSettings
from voicetap.vocabulary import CutReason, Purpose
from voicetap_vad.endpointing import PAUSES, Endpointer
from voicetap_vad.segmenter import ScoredFrame, Segmenter, UtteranceEnded, UtteranceStarted

ADAPTIVE = VadSettings(adaptive_endpoint=True)
SHORTEST, USUAL, LONGEST = 350 * 16, 544 * 16, 1000 * 16
SPEECH, QUIET = 0.9, 0.05
TEXTS = {"done": "Turn it on.", "more": "Turn it on and", "open": "turn it on"}


def hypothesis(text: str, avg_logprob: float = -0.2) -> Hypothesis:
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
    endpointer.on_hypothesis(hypothesis(text, avg_logprob))
    return endpointer.length


@pytest.mark.parametrize("text", ["Turn it on.", "Really?", "Stop!", 'He said "no."', "いいえ。"])
def test_after_a_finished_sentence_the_endpoint_is_sooner(text):
    assert length_after(text) == SHORTEST


@pytest.mark.parametrize("text", ["I want to.", "one, two,", "bread and", "the", "well...", "wait -", "Um."])
def test_in_the_middle_of_a_sentence_it_is_later(text):
    assert length_after(text) == LONGEST


@pytest.mark.parametrize("text", ["turn it on", "", "7", "sand"])
def test_otherwise_it_is_the_default(text):
    assert length_after(text) == USUAL


def test_an_unsure_hypothesis_shortens_nothing():
    assert length_after("Turn it on.", avg_logprob=-0.9) == USUAL


def test_long_pauses_of_the_speaker_lengthen_it():
    assert length_after("Yes.", pauses_ms=(150, 200, 200)) == SHORTEST
    assert length_after("Yes.", pauses_ms=(150, 200, 320)) == int(1.3 * 320 * 16)
    assert length_after("Yes.", pauses_ms=(500, 500, 500)) == USUAL, "never longer than the default"
    assert length_after("Yes.", pauses_ms=(320, *[150] * PAUSES)) == SHORTEST, "only the latest pauses count"
    assert length_after("Yes.", pauses_ms=(1200, 150)) == SHORTEST, "too long to be a pause"


def test_it_adapts_only_if_enabled():
    endpointer = Endpointer(VadSettings())
    for text in TEXTS.values():
        endpointer.on_hypothesis(hypothesis(text))
        assert endpointer.length == USUAL


def segment(probabilities: list[float], texts: list[str]) -> list[tuple[int, int, str]]:
    """The end and its segment: (seq, last_seq, reason). The next of `texts` is the hypothesis of each new pause."""
    segmenter, ends, announced, hypotheses = Segmenter(ADAPTIVE), [], None, iter(texts)
    first_seq = 0
    for seq, probability in enumerate(probabilities):
        for event in segmenter.on_frame(ScoredFrame(seq, seq * FRAME_SAMPLES, probability)):
            if isinstance(event, UtteranceStarted):
                first_seq = event.first_seq
            if isinstance(event, UtteranceEnded):
                assert announced in (None, (first_seq, event.last_seq)), "the segment is the one of its pause"
                ends.append((seq, event.last_seq, event.reason))
        if (pause := segmenter.pause) and pause != announced:
            segmenter.endpointer.on_hypothesis(hypothesis(next(hypotheses, "")))
        announced = segmenter.pause
    return ends


@pytest.mark.parametrize(("text", "length"), [("done", SHORTEST), ("more", LONGEST), ("open", USUAL)])
def test_the_text_moves_the_endpoint_and_not_the_segment(text, length):
    [(ended_seq, last_seq, reason)] = segment([QUIET] * 20 + [SPEECH] * 30 + [QUIET] * 40, [TEXTS[text]])
    assert ended_seq == 49 + -(-length // FRAME_SAMPLES)
    assert (last_seq, reason) == (49 + ADAPTIVE.speech_pad_ms // 32, CutReason.SILENCE)


def test_a_text_counts_only_for_its_own_pause():
    pause = [QUIET] * 9
    [(ended_seq, _, _)] = segment(
        [SPEECH] * 30 + pause + [SPEECH] * 20 + [QUIET] * 40, ["Turn it on.", "and off again"]
    )
    assert ended_seq == 58 + -(-USUAL // FRAME_SAMPLES)


def test_a_speaker_who_was_interrupted_gets_longer_pauses():
    sentence = [SPEECH] * 30 + [QUIET] * 13  # each ends with a pause of 416 ms, in which the text looks finished
    ends = segment([QUIET] * 20 + sentence * 4 + [QUIET] * 40, ["Turn it on."] * 5)
    assert len(ends) == 2, "after the first sentence and after the last"


runs = st.lists(st.tuples(st.sampled_from([0.0, 0.4, 0.6, 0.95]), st.integers(1, 40)), min_size=1, max_size=20).map(
    lambda pairs: [probability for probability, count in pairs for _ in range(count)]
)


@given(runs, st.lists(st.sampled_from([*TEXTS.values(), ""]), max_size=20))
def test_with_any_texts_no_frame_is_in_two_segments_and_no_endpoint_is_too_soon(probabilities, texts):
    ends = segment(probabilities, texts)
    assert [last for _, last, _ in ends] == sorted({last for _, last, _ in ends})
    for ended_seq, _, reason in ends:
        silent = probabilities[ended_seq - SHORTEST // FRAME_SAMPLES + 1 : ended_seq + 1]
        assert reason != CutReason.SILENCE or max(silent) < replace(ADAPTIVE).threshold
