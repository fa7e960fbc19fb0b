"""transcribe's filter of what engines invent in silence, noise and loops."""

from dataclasses import replace

import pytest

from rig.jobs import words
from voicetap_transcribe.engines.base import Result
from voicetap_transcribe.hallucination_filter import FilteredResult, filter_result


def test_plain_speech_passes():
    filtered = filter_result(Result(text=" turn on the light", words=words(" turn", " on", " the", " light")), 2.0)
    assert (filtered.text, filtered.reason) == ("turn on the light", "")
    assert [word.word for word in filtered.words] == ["turn", "on", "the", "light"]


@pytest.mark.parametrize(
    ("no_speech_prob", "avg_logprob", "audio_s", "reason"),
    [
        (0.7, -1.1, 5.0, "no_speech"),
        (0.7, -0.9, 5.0, ""),  # the words are certain
        (0.95, -0.6, 5.0, "no_speech"),
        (0.95, -0.4, 5.0, ""),
        (0.5, -1.1, 5.0, ""),
        (0.5, -0.8, 1.0, "no_speech"),  # stricter for short audio
        (0.5, -0.6, 1.0, ""),
    ],
)
def test_no_speech_requires_both_signs(no_speech_prob, avg_logprob, audio_s, reason):
    filtered = filter_result(Result(text="left", no_speech_prob=no_speech_prob, avg_logprob=avg_logprob), audio_s)
    assert filtered == FilteredResult("" if reason else "left", (), reason)


@pytest.mark.parametrize("text", ["", " \n", ".", " ... ♪"])
def test_no_words_are_no_speech(text):
    assert filter_result(Result(text=text), 1.0) == FilteredResult("", (), "no_speech")


def test_a_phantom_phrase_is_dropped_with_one_more_sign_of_missing_speech():
    result = Result(text="Thank you.", avg_logprob=-0.2, no_speech_prob=0.1)
    assert filter_result(result, 5.0).text == "Thank you."
    for doubtful in ({"avg_logprob": -0.6}, {"no_speech_prob": 0.4}):
        assert filter_result(replace(result, **doubtful), 5.0) == FilteredResult("", (), "no_speech")
        assert filter_result(replace(result, text="Thank you, Anna.", **doubtful), 5.0).text


def test_a_loop_is_cut_at_its_first_repeat():
    text = "so " + "thank you. " * 5
    filtered = filter_result(Result(text=text, words=words(*text.split())), 9.0)
    assert (filtered.text, filtered.reason) == ("so thank you.", "repetition")
    assert [word.word for word in filtered.words] == ["so", "thank", "you."]


def test_an_endless_text_is_refused():
    text = "".join(chr(0x4E00 + at * 7919 % 20_000) for at in range(3000))
    assert filter_result(Result(text=text, words=words(*text)), 9.0) == FilteredResult("", (), "too_many_words")
    assert filter_result(Result(text=text[:500], words=words(*text[:500])), 9.0).words


def test_words_are_cut_by_letters_where_an_engine_splits_them_otherwise():
    filtered = filter_result(Result(text="to day " * 4, words=words("to d", "ay", " to", " day")), 9.0)
    assert [word.word for word in filtered.words] == ["to d", "ay"]


def test_natural_repetitions_are_kept():
    for text in ("no no no no", "0 0 0 0 0", "bye bye, bye bye, bye", "very very very very good"):
        assert filter_result(Result(text=text), 5.0).reason == ""


def test_a_loop_of_letters_is_refused():
    assert filter_result(Result(text="ha" * 100), 9.0) == FilteredResult("", (), "compression_ratio")


def test_more_words_than_a_speaker_can_say_are_refused():
    text = " ".join(f"word{number}" for number in range(13))
    assert filter_result(Result(text=text), 1.0).reason == "too_many_words"
    assert filter_result(Result(text=text), 2.0).reason == ""
