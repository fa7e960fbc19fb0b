"""The rule for published text: nothing in it can control a terminal, and it is one line of bounded length."""

from hypothesis import example, given
from hypothesis import strategies as st

from rig.sample_messages import final
from voicetap.messages import Word
from voicetap.sanitize import MAX_LABEL, MAX_TEXT, sanitize, sanitize_message


def test_words_stay_and_what_controls_a_terminal_goes():
    assert sanitize("  naïve café — 東京\t👍 ") == "naïve café — 東京 👍"
    assert sanitize("\x1b]0;owned\x07\x1b[2J\r\nrm\u202e -rf\x9b31m\x00") == "]0;owned [2J rm -rf 31m"
    assert sanitize(" a\x1b[31mb\x00\u202ec\u2028d\ud800 ") == "a [31mb c d"


def test_marks_inside_words_do_not_split_them():
    assert sanitize("می\u200cخواهم") == "می\u200cخواهم"  # the non-joiner is spelling
    assert sanitize("a\u200eb\u200fc") == "abc"


@given(st.text(alphabet=st.characters()), st.integers(0, 5))
@example("\r\x1b\x85", 5)  # white space on both sides of a control
def test_sanitized_text_is_printable_and_stays_the_same(text, max_characters):
    for clean in (sanitize(text), sanitize(text, max_characters)):
        assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in clean)
        assert clean == clean.strip() == sanitize(clean)
        clean.encode()
    assert len(sanitize(text, max_characters)) <= max_characters


def test_every_text_of_a_message_is_sanitized_and_bounded():
    words = (Word(word="w\x1b" * 10_000, start_s=0, end_s=1, probability=1),)
    message = sanitize_message(final(1, "x" * 10**6, words=words, reason="r" * 10_000, language="e\nn"))
    assert (len(message.text), len(message.reason), len(message.words[0].word)) == (MAX_TEXT, MAX_LABEL, MAX_LABEL - 1)
    assert message.language == "e n" and message.utterance_id == final(1).utterance_id
