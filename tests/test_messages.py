"""Every message that can travel: there and back, and nothing else gets in."""

import dataclasses
import types
from typing import get_args, get_origin, get_type_hints

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.sample_messages import final, id_of
from voicetap import codec, links, messages
from voicetap.codec import MAX_ITEMS, MAX_MESSAGE_BYTES, ProtocolError, UtteranceId, decode, encode, message_types
from voicetap.messages import AudioFrame, Final, Job, JournalHead, WorkerReport

FINITE = st.floats(allow_nan=False, allow_infinity=False)
INTEGERS = st.integers(-(2**63), 2**64 - 1)
NAMES = st.from_regex(r"[a-z0-9_-]{1,32}", fullmatch=True)
UTTERANCES = st.builds(UtteranceId, NAMES, st.from_regex(r"[a-z0-9]{1,32}", fullmatch=True), st.integers(1, 10**15 - 1))
PLAIN = {int: INTEGERS, float: FINITE, str: st.text(), bytes: st.binary(), bool: st.booleans(), UtteranceId: UTTERANCES}


def values(hint: object) -> st.SearchStrategy:
    if isinstance(hint, types.GenericAlias) and get_origin(hint) is tuple:
        return st.lists(values(get_args(hint)[0]), max_size=3).map(tuple)
    return PLAIN[hint] if hint in PLAIN else instances(hint)


def instances(cls: type) -> st.SearchStrategy:
    return st.builds(cls, **{name: values(hint) for name, hint in get_type_hints(cls).items()})


ANY_MESSAGE = st.one_of(*(instances(cls) for cls in message_types().values()))


def test_every_dataclass_of_the_contract_is_a_message_or_part_of_one():
    declared = {cls for cls in vars(messages).values() if isinstance(cls, type) and dataclasses.is_dataclass(cls)}
    parts = {messages.Word, messages.SourceState}
    assert declared == set(message_types().values()) | parts
    assert message_types()["speech_started"] is messages.SpeechStarted


@pytest.mark.parametrize("name", message_types())
@given(data=st.data())
def test_every_message_arrives_as_it_was_sent(name, data):
    sent = data.draw(instances(message_types()[name]))
    assert decode(encode(sent)) == sent
    assert msgpack.unpackb(encode(sent))["type"] == name, "a plain map for every other language"


@given(st.binary(max_size=300))
def test_bytes_of_chance_are_refused_and_nothing_worse(data):
    with pytest.raises(ProtocolError):
        decode(data)


@given(ANY_MESSAGE, st.data())
def test_a_message_with_flipped_bytes_is_refused_or_a_message(message, data):
    packed = bytearray(encode(message))
    for place in data.draw(st.lists(st.integers(0, len(packed) - 1), max_size=4)):
        packed[place] = data.draw(st.integers(0, 255))
    packed = packed[: data.draw(st.integers(0, len(packed)))]
    try:
        assert type(decode(bytes(packed))) in message_types().values()
    except ProtocolError:
        return


ANY_WIRE = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(ANY_MESSAGE, st.data())
def test_a_field_of_another_type_is_refused(message, data):
    raw = codec.as_wire(message)
    raw[data.draw(st.sampled_from(list(raw)))] = data.draw(ANY_WIRE)
    try:
        decoded = decode(msgpack.packb(raw))
    except ProtocolError:
        return
    for spec in dataclasses.fields(decoded):
        if spec.type in (int, float, str, bytes, bool):
            assert type(getattr(decoded, spec.name)) is spec.type


def wire(**changes: object) -> bytes:
    raw = codec.as_wire(final(1)) | changes
    return msgpack.packb({name: value for name, value in raw.items() if value is not None})


@pytest.mark.parametrize(
    "packed, complaint",
    [
        (b"", "msgpack"),
        (b"\xc1", "msgpack"),
        (wire() + b"\0", "msgpack"),
        (wire()[:-1], "msgpack"),
        (b"\x91" * 100_000 + b"\xc0", "msgpack"),
        (b"\xdd\xff\xff\xff\xff", "msgpack"),
        (msgpack.packb([1, 2]), "not a map"),
        (msgpack.packb({"a": 1}), "not a map with a type"),
        (msgpack.packb({1: 1}), "msgpack"),
        (wire(type=["final"]), "not a map with a type"),
        (wire(type="dance"), "unknown type 'dance'"),
        (wire(text=None), "text"),
        (wire(text=b"bytes"), "text is bytes, not str"),
        (wire(text=None, source=None), "2 required"),
        (wire(journal_seq=True), "journal_seq is bool, not int"),
        (wire(journal_seq=1.0), "journal_seq is float, not int"),
        (wire(start_s="1"), "start_s"),
        (wire(start_s=float("nan")), "start_s is nan"),
        (wire(start_s=float("inf")), "start_s is inf"),
        (wire(is_final=1), "is_final is int, not bool"),
        (wire(words={}), "words is dict, not list"),
        (wire(words=[1]), "words is int, not dict"),
        (wire(words=[{"word": "a"}]), "word: .*start_s"),
        (wire(words=[0] * (MAX_ITEMS + 1)), "msgpack"),
        (wire(**{f"field{number}": 1 for number in range(70)}), "msgpack"),
        (wire(utterance_id="mic/ab"), "not an utterance_id"),
        (wire(utterance_id="mic/ab/1/2"), "not an utterance_id"),
        (wire(utterance_id="Mic/ab/1"), "not an utterance_id"),
        (wire(utterance_id="mic/ab/1\n"), "not an utterance_id"),
        (wire(utterance_id="mic/ab/١"), "not an utterance_id"),
        (wire(utterance_id=f"mic/ab/{10**15}"), "not an utterance_id"),
        (wire(text="x" * MAX_MESSAGE_BYTES), "at most"),
    ],
)
def test_what_is_wrong_is_named(packed, complaint):
    with pytest.raises(ProtocolError, match=complaint):
        decode(packed)


def test_fields_of_a_newer_sender_are_skipped_and_those_of_an_older_one_filled_in():
    assert decode(wire(mood="cheerful", text="hi", words=[{**WORD, "pitch_hz": 3}])) == final(
        1, "hi", words=(messages.Word(**WORD),)
    )
    optional = {spec.name: None for spec in dataclasses.fields(Final) if spec.default is not dataclasses.MISSING}
    assert decode(wire(**optional)) == final(1)


WORD = {"word": "hi", "start_s": 0.0, "end_s": 1.0, "probability": 0.5}


def test_a_whole_number_is_a_number():
    assert decode(wire(start_s=3)).start_s == 3.0


def test_a_link_may_take_less():
    with pytest.raises(ProtocolError, match="at most 100 are allowed"):
        decode(encode(final(1, "x" * 100)), max_bytes=100)


def test_an_utterance_id_is_readable():
    assert str(id_of(7)) == "mic/ab12/7" and UtteranceId.parse("mic/ab12/7") == id_of(7)


def test_the_largest_messages_fit_their_links():
    utterances = tuple(UtteranceId("s" * 32, "f" * 32, 10**15 - 1 - number) for number in range(64))
    frame = AudioFrame(
        source="s" * 32, stream="f" * 32, seq=2**63, position=2**63, captured_ns=2**63, wall_ns=2**63,
        pcm=bytes(messages.FRAME_BYTES), gap_reason="device_lost",
    )  # fmt: skip
    job = Job(
        utterance_id=utterances[0], attempt=1, start_position=0, end_position=0, ended_ns=0, wall_ns=0,
        cut_reason="hard_limit", pcm=bytes(70 * messages.SAMPLE_RATE_HZ * messages.SAMPLE_BYTES),
    )  # fmt: skip
    report = WorkerReport(worker="w", boot_id="b", state="busy", received=1, decoding=(), holding=utterances)
    head = JournalHead(journal_id="j", first_seq=1, next_seq=1, committed=utterances, highest=utterances)
    for message, link in ((frame, links.AUDIO), (job, links.JOBS), (report, links.WORKERS), (head, links.COMMITS)):
        assert decode(encode(message), link.max_bytes) == message


def test_every_entry_has_a_text_to_print_which_is_not_on_the_wire_where_it_is_empty():
    here = {"utterance_id": id_of(1), "source": "mic", "start_s": 0.0, "end_s": 1.0, "wall_ns": 1, "reason": "overrun"}
    for entry in (messages.Gap(**here), messages.Failed(**here)):
        assert entry.text == "" and "text" not in codec.as_wire(entry)
