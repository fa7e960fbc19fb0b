"""Where utterances begin and end, for any sequence of probabilities."""

from dataclasses import replace

from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from voicetap.messages import FRAME_SAMPLES, SAMPLE_RATE_HZ
from voicetap.settings import VadSettings
from voicetap_vad.segmenter import ScoredFrame, Segmenter, SegmentEvent, UtteranceEnded, UtteranceStarted

SETTINGS = VadSettings()
SMALL = VadSettings(max_utterance_soft_s=1.5, max_utterance_s=3.0)
LIVELY = replace(SMALL, endpoint_ms=160, min_speech_ms=0, speech_pad_ms=64, pre_roll_ms=96)
SPEECH, QUIET = 0.9, 0.05
EFFORT = effort(max_examples=40)

runs = st.lists(
    st.tuples(st.sampled_from([0.0, 0.2, 0.4, 0.45, 0.6, 0.95]), st.integers(1, 60)), min_size=1, max_size=30
).map(lambda pairs: [probability for probability, count in pairs for _ in range(count)])
NO_MARGINS = replace(SMALL, pre_roll_ms=0, onset_lookback_ms=0, speech_pad_ms=2000)
settings_of = st.sampled_from([SMALL, LIVELY, NO_MARGINS, replace(SMALL, max_utterance_s=2.0, onset_lookback_ms=3000)])


def scored(probabilities: list[float], first_seq: int = 0) -> list[ScoredFrame]:
    return [ScoredFrame(seq, seq * FRAME_SAMPLES, p) for seq, p in enumerate(probabilities, first_seq)]


def segment(frames: list[ScoredFrame], settings: VadSettings = SETTINGS) -> list[SegmentEvent]:
    segmenter = Segmenter(settings)
    return [event for frame in frames for event in segmenter.on_frame(frame)] + segmenter.close("source_ended")


def ended(events: list[SegmentEvent]) -> list[UtteranceEnded]:
    return [event for event in events if isinstance(event, UtteranceEnded)]


def frames_of(ms: float) -> int:
    return int(ms / 32)


@EFFORT
@given(runs, settings_of)
def test_every_start_has_exactly_one_end(probabilities, settings):
    events = segment(scored(probabilities), settings)
    assert [type(event) for event in events] == [UtteranceStarted, UtteranceEnded] * (len(events) // 2)
    assert all(a.first_seq == b.first_seq for a, b in zip(events[::2], events[1::2], strict=True))
    assert all(start.first_seq <= start.onset_seq for start in events[::2])


@EFFORT
@given(runs, settings_of)
def test_no_frame_is_in_two_segments(probabilities, settings):
    spans = [(end.first_seq, end.last_seq) for end in ended(segment(scored(probabilities), settings))]
    edges = [edge for first, last in spans for edge in (first, last + 1)]
    assert edges == sorted(edges)
    assert all(first <= last for first, last in spans)


@EFFORT
@given(runs, settings_of)
def test_all_speech_is_in_a_segment(probabilities, settings):
    events = ended(segment(scored(probabilities), settings))
    covered = {seq for end in events for seq in range(end.first_seq, end.last_seq + 1)}
    onset = round(settings.onset_ms * 16 / FRAME_SAMPLES)
    loud = [p >= settings.threshold for p in probabilities]
    spoken = {seq + i for seq in range(len(loud) - onset + 1) if all(loud[seq : seq + onset]) for i in range(onset)}
    assert spoken <= covered


@EFFORT
@given(runs, settings_of)
def test_no_utterance_is_longer_than_the_hard_limit(probabilities, settings):
    limit = settings.max_utterance_s * SAMPLE_RATE_HZ
    assert all(
        (end.last_seq + 1 - end.first_seq) * FRAME_SAMPLES <= limit
        for end in ended(segment(scored(probabilities), settings))
    )


@EFFORT
@given(runs, settings_of, st.integers(0, 5000), st.integers(0, 500))
def test_a_short_gap_breaks_nothing(probabilities, settings, missing, at_seq):
    missing = min(missing, settings.endpoint_ms * 16)
    frames = [f._replace(position=f.position + missing * (f.seq >= at_seq)) for f in scored(probabilities)]
    events = segment(frames, settings)
    limit = settings.max_utterance_s * SAMPLE_RATE_HZ
    assert [type(event) for event in events] == [UtteranceStarted, UtteranceEnded] * (len(events) // 2)
    assert all(frames[end.last_seq].end - frames[end.first_seq].position <= limit for end in ended(events))


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 5000), settings_of)
def test_a_pause_that_reaches_the_hard_limit_in_a_gap_does_not_exceed_it(before_limit, quiet, missing, settings):
    """The gap completes the silence and passes the limit in the same frame: the padding must not follow it there."""
    limit = int(settings.max_utterance_s * SAMPLE_RATE_HZ)
    speech = limit // FRAME_SAMPLES - before_limit
    missing = min(missing, settings.endpoint_ms * 16)
    frames = scored([QUIET] * 20 + [SPEECH] * speech + [QUIET] * (quiet + 60))
    frames = [f._replace(position=f.position + missing * (f.seq >= 20 + speech + quiet)) for f in frames]
    ends = ended(segment(frames, settings))
    assert all(frames[end.last_seq].end - frames[end.first_seq].position <= limit for end in ends)
    assert ends and ends[-1].last_seq >= 20 + speech - 1, "no speech is lost for it"


@EFFORT
@given(runs, st.data())
def test_a_successor_that_resumes_an_utterance_ends_it_at_the_same_frame(probabilities, data):
    frames = scored(probabilities)
    events = segment(frames, SMALL)
    if not events:
        return
    index = data.draw(st.integers(0, len(events) // 2 - 1)) * 2
    started, ended = events[index : index + 2]
    successor = Segmenter(SMALL)
    successor.restore(started)
    again = [event for frame in frames[started.first_seq :] for event in successor.on_frame(frame)]
    first = (again + successor.close("source_ended"))[0]
    assert (first.first_seq, first.last_seq, first.reason) == (ended.first_seq, ended.last_seq, ended.reason)
    assert first.too_short == ended.too_short


@EFFORT
@given(runs, settings_of)
def test_the_segment_of_a_pause_is_the_final_one_if_the_pause_is_the_endpoint(probabilities, settings):
    segmenter = Segmenter(settings)
    before = None
    for frame in scored(probabilities):
        ends = ended(segmenter.on_frame(frame))
        if ends and before and ends[0].reason != "hard_limit":
            assert (ends[0].first_seq, ends[0].last_seq, ends[0].too_short) == (*before, False)
        pause = segmenter.pause
        if pause and before and not ends:
            assert pause == before, "it does not change"
        assert not pause or segmenter.is_open
        before = pause


def test_a_pause_lasts_from_the_last_frame_of_its_segment_until_speech_resumes():
    segmenter = Segmenter(SETTINGS)
    padding = frames_of(SETTINGS.speech_pad_ms)
    pauses = []
    for frame in scored([QUIET] * 20 + [SPEECH] * 20 + [QUIET] * (padding + 2) + [SPEECH] * 5):
        segmenter.on_frame(frame)
        pauses.append(segmenter.pause)
    span = (20 - round(SETTINGS.pre_roll_ms / 32), 39 + padding)
    assert pauses == [None] * (39 + padding) + [span] * 3 + [None] * 5


def test_silence_ends_an_utterance_with_pre_roll_before_and_padding_after():
    start, end = segment(scored([QUIET] * 50 + [SPEECH] * 30 + [QUIET] * 50))
    assert (start.first_seq, start.onset_seq) == (50 - round(SETTINGS.pre_roll_ms / 32), 50)
    assert (end.last_seq, end.reason, end.too_short) == (79 + frames_of(SETTINGS.speech_pad_ms), "silence", False)


def test_pre_roll_never_reaches_into_the_previous_segment():
    pause = [QUIET] * (frames_of(SETTINGS.endpoint_ms) + 2)
    events = segment(scored([SPEECH] * 30 + pause + [SPEECH] * 30), replace(SETTINGS, pre_roll_ms=2000))
    assert events[2].first_seq == events[1].last_seq + 1


def test_a_pause_shorter_than_the_endpoint_ends_nothing():
    probabilities = [SPEECH] * 20 + [QUIET] * (frames_of(SETTINGS.endpoint_ms) - 1) + [SPEECH] * 20
    assert len(ended(segment(scored(probabilities)))) == 1


def test_between_the_thresholds_speech_continues_but_does_not_start():
    middle = [(SETTINGS.threshold + SETTINGS.release_threshold) / 2] * 100
    assert segment(scored(middle)) == []
    (end,) = ended(segment(scored([SPEECH] * 10 + middle)))
    assert end.last_seq == 109


def test_a_click_is_no_speech_and_a_grunt_is_too_short():
    assert segment(scored([QUIET] * 20 + [SPEECH] * 2 + [QUIET] * 40)) == []
    (end,) = ended(segment(scored([QUIET] * 20 + [SPEECH] * 4 + [QUIET] * 40), replace(SETTINGS, min_speech_ms=200)))
    assert end.too_short
    (end,) = ended(segment(scored([QUIET] * 20 + [SPEECH] * 3 + [QUIET] * 40)))
    assert not end.too_short, "a word may be this short"


def started_at(probabilities: list[float], settings: VadSettings = SETTINGS) -> tuple[int, int]:
    """First frame and onset of the first utterance."""
    start = segment(scored(probabilities), settings)[0]
    return start.first_seq, start.onset_seq


def test_an_utterance_begins_where_frames_leaned_towards_speech():
    """Measured on "turn off lights in the office": speech begins with the first; Silero is sure 17 frames later."""
    percents = (56, 20, 35, 35, 28, 36, 57, 38, 19, 26, 29, 30, 66, 32, 37, 40, 49, 85, 81, 93)
    probabilities = [QUIET] * 50 + [percent / 100 for percent in percents] + [SPEECH] * 20
    pre_roll = round(SETTINGS.pre_roll_ms / 32)
    assert started_at(probabilities) == (50 - pre_roll, 67)
    assert started_at(probabilities, replace(SETTINGS, onset_lookback_ms=0)) == (67 - pre_roll, 67)
    assert started_at(probabilities, replace(SETTINGS, onset_lookback_ms=320)) == (57 - pre_roll, 67)


def test_looking_back_ends_at_a_pause():
    pre_roll = round(SETTINGS.pre_roll_ms / 32)
    short, long = [QUIET] * 3, [QUIET] * 4
    assert started_at([QUIET] * 50 + [0.2] * 5 + short + [SPEECH] * 20) == (50 - pre_roll, 58)
    assert started_at([QUIET] * 50 + [0.2] * 5 + long + [SPEECH] * 20) == (59 - pre_roll, 59)
    assert started_at([0.2] * 80 + [SPEECH] * 20) == (80 - 31 - pre_roll, 80), "a second at most"


def test_beyond_the_soft_limit_a_breath_is_enough():
    long = [SPEECH] * (frames_of(SETTINGS.max_utterance_soft_s * 1000) + frames_of(2500))
    end = ended(segment(scored(long + [QUIET] * 4 + [SPEECH] * 20)))[0]
    assert (end.reason, end.last_seq) == ("soft_limit", len(long) + 2)


def test_at_the_hard_limit_it_cuts_at_the_least_speech_like_point_and_the_rest_is_the_next_utterance():
    probabilities = [SPEECH] * 900
    probabilities[700:705] = [0.6] * 5
    events = segment(scored(probabilities))
    assert (events[1].reason, events[1].last_seq) == ("hard_limit", 702)
    assert (events[2].first_seq, events[2].onset_seq) == (703, 703)
    assert events[3].last_seq == 899


def test_the_little_that_is_left_after_the_hard_limit_is_not_dropped():
    limit = frames_of(SETTINGS.max_utterance_s * 1000)
    events = ended(segment(scored([SPEECH] * (limit + 1) + [QUIET] * 40)))
    assert [end.too_short for end in events] == [False, False]
