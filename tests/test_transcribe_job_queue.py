"""transcribe's job queue: what is decoded next, and what is kept until it is committed."""

import pytest

from rig.jobs import final, job, speculative
from voicetap.codec import UtteranceId
from voicetap.messages import Committed, Final, Job, JournalHead
from voicetap_transcribe.engines.base import Result
from voicetap_transcribe.job_queue import RESEND_S, JobQueue


def done(queue: JobQueue, entry: Final, now_s: float) -> None:
    """The decode in progress ends with this entry."""
    queue.finish()
    queue.add_result(entry, now_s)


def test_a_final_decode_counts_until_its_utterance_is_committed():
    queue = JobQueue()
    assert not queue.is_final_decoding
    queue.on_job(job())
    queue.start()
    assert queue.is_final_decoding and queue.uncommitted == ()
    queue.on_committed(Committed(utterance_id=job().utterance_id, journal_seq=1))  # vad has failed it
    assert queue.decoding and not queue.is_final_decoding


def test_one_job_at_a_time_and_all_are_held():
    queue = JobQueue()
    queue.on_job(job(1))
    queue.on_job(job(2))
    assert queue.start() == job(1) and queue.start() is None
    assert queue.received == 2 and set(queue.holding) == {job(1).utterance_id, job(2).utterance_id}
    done(queue, final(1), 0.0)
    assert queue.start() == job(2)
    assert set(queue.holding) == {job(1).utterance_id, job(2).utterance_id}


def test_a_result_is_sent_again_until_it_is_committed():
    queue = JobQueue()
    queue.on_job(job())
    queue.start()
    done(queue, final(), 10.0)
    assert queue.due_results(10.0) == [final()]
    assert queue.due_results(10.0 + RESEND_S / 2) == []
    assert queue.due_results(10.0 + RESEND_S) == [final()]
    queue.on_committed(Committed(utterance_id=job().utterance_id, journal_seq=1))
    assert queue.due_results(20.0) == [] and queue.holding == ()


@pytest.mark.parametrize("stage", ["waiting", "decoding", "decoded"])
def test_the_same_job_again_is_only_counted(stage):
    queue = JobQueue()
    queue.on_job(job())
    if stage != "waiting":
        queue.start()
    if stage == "decoded":
        done(queue, final(), 0.0)
    queue.on_job(job(attempt=2))
    assert queue.received == 2 and queue.holding == (job().utterance_id,)


def test_a_committed_utterance_is_not_decoded_again():
    queue = JobQueue()
    queue.on_head(JournalHead(journal_id="j", first_seq=1, next_seq=6, committed=(UtteranceId("mic", "ab", 5),)))
    queue.on_committed(Committed(utterance_id=UtteranceId("mic", "ab", 7), journal_seq=6))
    for number in (5, 6, 7):
        queue.on_job(job(number))
    assert queue.received == 3 and queue.holding == (UtteranceId("mic", "ab", 6),)


def test_a_lost_committed_message_is_replaced_by_the_head():
    queue = JobQueue()
    queue.on_job(job())
    queue.start()
    done(queue, final(), 0.0)
    queue.on_head(JournalHead(journal_id="j", first_seq=1, next_seq=2, committed=(UtteranceId("mic", "other", 9),)))
    assert queue.holding
    queue.on_head(JournalHead(journal_id="j", first_seq=1, next_seq=2, committed=(job().utterance_id,)))
    assert queue.holding == ()


def test_committed_while_it_waits_or_is_decoded():
    queue = JobQueue()
    queue.on_job(job(1))
    queue.on_job(job(2))
    queue.start()
    for number in (1, 2):
        queue.on_committed(Committed(utterance_id=job(number).utterance_id, journal_seq=number))
    assert queue.holding == (job(1).utterance_id,)
    done(queue, final(1), 0.0)
    assert queue.due_results(9.0) == [] and queue.start() is None


def test_another_journal_has_committed_nothing():
    queue = JobQueue()
    queue.on_head(JournalHead(journal_id="a", first_seq=1, next_seq=1))
    queue.on_committed(Committed(utterance_id=job().utterance_id, journal_seq=1))
    queue.on_head(JournalHead(journal_id="b", first_seq=1, next_seq=1))
    queue.on_job(job())
    assert queue.start() == job()


# ---- speculative jobs: early and interim


def decode_early(queue: JobQueue, number: int = 1, seconds: float = 1.0, text: str = "yes") -> Job:
    """An early job is received and decoded."""
    early = speculative("early", number, seconds)
    queue.on_job(early)
    assert queue.start() == early
    queue.cache_early_result(queue.finish(), Result(text=text), 0.1)
    return early


def test_finals_go_first_then_early_ones_then_interims():
    queue = JobQueue()
    for each in (interim := speculative("interim", 2), early := speculative("early", 3), job(4)):
        queue.on_job(each)
    assert queue.received == 3
    started = []
    while next_ := queue.start():
        started.append(next_)
        queue.finish()
    assert started == [job(4), early, interim]


@pytest.mark.parametrize("purpose", ["early", "interim"])
def test_a_speculative_job_is_never_held(purpose):
    queue = JobQueue()
    queue.on_job(speculative(purpose))
    assert queue.holding == ()
    assert queue.start() == speculative(purpose) == queue.decoding
    assert queue.holding == () and not queue.is_final_decoding


def test_only_the_newest_speculative_job_of_an_utterance_waits():
    queue = JobQueue()
    for each in (speculative("interim"), speculative("early"), newest := speculative("interim", seconds=2.0)):
        queue.on_job(each)
    assert queue.start() == newest
    queue.finish()
    assert queue.start() is None


def test_a_final_with_an_early_result_needs_no_decode():
    queue = JobQueue()
    decode_early(queue)
    queue.on_job(speculative("interim", 5))
    queue.start()  # the final does not wait for it
    queue.on_job(job())
    ((popped, early),) = queue.pop_early_results()
    assert (popped, early.result.text, early.decode_s) == (job(), "yes", 0.1)
    assert queue.pop_early_results() == []
    queue.add_result(final(), 0.0)
    assert queue.due_results(0.0) == [final()]


@pytest.mark.parametrize(
    ("early_s", "meanwhile"),
    [
        (2.0, []),  # another span
        (1.0, [speculative("early", seconds=3.0)]),  # a newer early job
        (1.0, [Committed(utterance_id=UtteranceId("mic", "ab", 1), journal_seq=1)]),
    ],
)
def test_an_early_result_is_for_exactly_its_span(early_s, meanwhile):
    queue = JobQueue()
    decode_early(queue, seconds=early_s)
    for each in meanwhile:
        queue.on_job(each) if isinstance(each, Job) else queue.on_committed(each)
    queue.on_job(job())
    assert queue.pop_early_results() == []


def test_of_a_source_only_the_newest_early_result_is_kept():
    queue = JobQueue()
    for number in (1, 2):
        decode_early(queue, number)
    for number in (1, 2):
        queue.on_job(job(number))
    assert [popped for popped, _ in queue.pop_early_results()] == [job(2)]


def test_a_final_takes_over_the_early_decode_of_its_span():
    queue = JobQueue()
    queue.on_job(speculative("early"))
    queue.start()
    queue.on_job(job())
    assert queue.holding == (job().utterance_id,) and queue.is_final_decoding
    assert queue.finish() == job() and queue.start() is None


def test_a_final_drops_the_speculative_jobs_of_its_utterance():
    queue = JobQueue()
    queue.on_job(speculative("interim"))
    queue.on_job(job())
    queue.on_job(speculative("early"))  # from a vad that was late
    assert queue.start() == job()
    queue.finish()
    queue.add_result(final(), 0.0)
    assert queue.start() is None


@pytest.mark.parametrize(
    ("decoding", "waiting", "preempted"),
    [
        ("interim", "final", True),
        ("interim", "early", True),
        ("interim", "interim", False),
        ("early", "final", False),
        ("final", "final", False),
    ],
)
def test_an_interim_is_preempted_by_what_is_more_urgent(decoding, waiting, preempted):
    queue = JobQueue()
    queue.on_job(speculative(decoding, 1))
    queue.start()
    queue.on_job(speculative(waiting, 2))
    assert queue.should_preempt == preempted


def test_a_worker_that_stops_begins_no_speculative():
    queue = JobQueue()
    queue.on_job(speculative("early"))
    queue.drop_waiting()
    assert queue.start() is None
