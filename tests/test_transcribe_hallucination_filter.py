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
        (0.4, -1.1, 5.0, "no_speech"),
        (0.25, -1.3, 5.0, ""),  # in loud noise
        (0.5, -0.77, 0.7, ""),  # a real "two" of 0.2 s
        (0.7, -0.8, 1.0, "no_speech"),
        (0.7, -0.6, 1.0, ""),  # the words are certain
    ],
)
def test_no_speech_requires_both_signs(no_speech_prob, avg_logprob, audio_s, reason):
    filtered = filter_result(Result(text="left", no_speech_prob=no_speech_prob, avg_logprob=avg_logprob), audio_s)
    assert filtered == FilteredResult("" if reason else "left", (), reason)


@pytest.mark.parametrize("text", ["", " \n", ".", " ... ♪"])
def test_no_words_are_no_speech(text):
    assert filter_result(Result(text=text), 1.0) == FilteredResult("", (), "no_speech")


@pytest.mark.parametrize("text", ["Thank you.", "Bye.", "So.", "you"])
def test_a_phantom_phrase_is_dropped_with_one_more_sign_of_missing_speech(text):
    result = Result(text=text, avg_logprob=-0.9, no_speech_prob=0.1)
    assert filter_result(result, 5.0).text == text, "said unclearly"
    assert filter_result(replace(result, no_speech_prob=0.45), 5.0) == FilteredResult("", (), "no_speech")


@pytest.mark.parametrize(
    ("text", "is_phantom"),
    [
        ("Thank you so much for watching", True),
        ("Thank you so much for watching, and thank you. See you next time. Bye bye.", True),
        ("Thank you, Anna.", False),
        ("So you bought it?", False),
        ("See you at nine.", False),
    ],
)
def test_phantom_phrases_follow_one_another(text, is_phantom):
    kept = filter_result(Result(text=text, avg_logprob=-0.6, no_speech_prob=0.45), 9.0).text
    assert kept == ("" if is_phantom else text)


def test_a_loop_is_cut_at_its_first_repeat():
    text = "so " + "thank you. " * 5
    filtered = filter_result(Result(text=text, words=words(*text.split())), 1.0)
    assert (filtered.text, filtered.reason) == ("so thank you.", "repetition")
    assert [word.word for word in filtered.words] == ["so", "thank", "you."]


def test_a_repetition_at_the_rate_of_speech_was_spoken():
    text = "No, " * 12
    assert filter_result(Result(text=text, words=words(*text.split())), 3.3) == FilteredResult(
        text.strip(), words(*text.split()), ""
    )
    song = "we will, we will rock you, " * 4
    assert filter_result(Result(text=song), 9.0).reason == ""
    assert filter_result(Result(text=song, no_speech_prob=0.5), 9.0) == FilteredResult("", (), "no_speech")


def test_an_endless_text_is_refused():
    text = "".join(chr(0x4E00 + at * 7919 % 20_000) for at in range(3000))
    assert filter_result(Result(text=text, words=words(*text)), 9.0) == FilteredResult("", (), "too_many_words")
    assert filter_result(Result(text=text[:500], words=words(*text[:500])), 9.0).words


def test_words_are_cut_by_letters_where_an_engine_splits_them_otherwise():
    filtered = filter_result(Result(text="to day " * 4, words=words("to d", "ay", " to", " day")), 0.5)
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
