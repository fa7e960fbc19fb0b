"""Which worker gets which job, when it loses it, and what ends it: no sockets, no clock."""

import pytest

from voicetap.codec import UtteranceId
from voicetap.messages import Committed, Failed, Gap, Job, JournalHead, WorkerReport
from voicetap_vad.dispatcher import (
    JOURNAL_TIMEOUT_S,
    MAX_UNCOMMITTED,
    RESEND_S,
    Connect,
    Effect,
    Outbox,
    SaveAttempt,
    SendEntry,
    SendJob,
)

LEASE_S = 1.0
HEAD = JournalHead(journal_id="j", first_seq=1, next_seq=1)


@pytest.fixture
def outbox() -> Outbox:
    outbox = Outbox(lease_s=LEASE_S, max_attempts=2, max_held_s=10.0, started_s=0.0)
    outbox.step(HEAD, 0.0)
    return outbox


def id_of(number: int, source: str = "mic", stream: str = "a1") -> UtteranceId:
    return UtteranceId(source, stream, number)


def job(number: int, source: str = "mic", seconds: float = 1.0) -> Job:
    return Job(
        utterance_id=id_of(number, source),
        attempt=0,
        start_position=0,
        end_position=16_000,
        ended_ns=0,
        wall_ns=0,
        cut_reason="silence",
        pcm=bytes(int(seconds * 32_000)),
    )


def gap(number: int) -> Gap:
    return Gap(utterance_id=id_of(number), source="mic", start_s=0, end_s=1, wall_ns=0, reason="device_lost")


def report(worker: str = "w1", received: int = 0, holding: tuple = (), boot: str = "b1", decoding: tuple = ()):
    return WorkerReport(
        worker=worker, boot_id=boot, state="ready", received=received, decoding=decoding, holding=holding
    )


def sent(effects: list[Effect]) -> list[tuple[str, UtteranceId]]:
    return [(effect.worker, effect.job.utterance_id) for effect in effects if isinstance(effect, SendJob)]


def entries(effects: list[Effect]) -> list[object]:
    return [effect.entry for effect in effects if isinstance(effect, SendEntry)]


def test_a_job_goes_to_an_idle_worker_and_the_next_when_it_is_idle_again(outbox):
    assert sent(outbox.step(job(1), 0.0) + outbox.step(job(2), 0.0)) == []
    assert outbox.step(report(), 0.1)[0] == Connect("w1")
    assert outbox.step(report(), 0.1) == []  # sent, not received yet
    assert outbox.step(report(received=1, decoding=(id_of(1),), holding=(id_of(1),)), 0.2) == []
    assert sent(outbox.step(report(received=1, holding=(id_of(1),)), 0.3)) == [("w1", id_of(2))]


def test_the_first_report_gets_the_oldest_job_and_no_second(outbox):
    outbox.step(job(1), 0.0)
    outbox.step(job(2), 0.0)
    assert sent(outbox.step(report(), 0.1)) == [("w1", id_of(1))]


def test_sources_take_turns(outbox):
    for number in (1, 2, 3):
        outbox.step(job(number), 0.0)
    outbox.step(job(1, "hall"), 0.0)
    order = [sent(outbox.step(report(received=received), 0.1))[0][1] for received in range(4)]
    assert order == [id_of(1), id_of(1, "hall"), id_of(2), id_of(3)]


def test_a_silent_worker_loses_its_job_to_another(outbox):
    outbox.step(job(1), 0.0)
    outbox.step(report(), 0.0)
    effects = outbox.step(report("w2"), LEASE_S + 0.1)
    assert SaveAttempt(id_of(1), 1) in effects
    assert sent(effects) == [("w2", id_of(1))]


def test_a_worker_that_was_only_slow_keeps_its_job_and_no_attempt_is_counted(outbox):
    outbox.step(job(1), 0.0)
    outbox.step(report(), 0.0)
    for now_s in (2.0, 4.0, 6.0):
        outbox.step(None, now_s)
        effects = outbox.step(report(received=1, decoding=(id_of(1),), holding=(id_of(1),)), now_s + 0.1)
        assert effects == [SaveAttempt(id_of(1), 0)]


def test_a_worker_that_reports_keeps_its_job_as_long_as_it_takes(outbox):
    outbox.step(job(1), 0.0)
    outbox.step(report(), 0.0)
    for tenth in range(1, 100):
        assert outbox.step(report(received=1, decoding=(id_of(1),), holding=(id_of(1),)), tenth / 10) == []


def test_a_worker_that_no_longer_holds_a_job_has_lost_it(outbox):
    outbox.step(job(1), 0.0)
    outbox.step(report(), 0.0)
    assert outbox.step(report(received=1), 0.5) == []  # perhaps it is committed, and the message is on its way
    effects = outbox.step(report(received=1), LEASE_S + 0.1)
    assert SaveAttempt(id_of(1), 1) in effects and sent(effects) == [("w1", id_of(1))]


def test_a_job_that_never_arrived_does_not_block_its_worker(outbox):
    outbox.step(job(1), 0.0)
    outbox.step(report(), 0.0)
    assert sent(outbox.step(report(received=0), LEASE_S + 0.1)) == [("w1", id_of(1))]


def test_a_new_process_gets_a_new_socket_and_the_job_again(outbox):
    outbox.step(job(1), 0.0)
    outbox.step(report(), 0.0)
    effects = outbox.step(report(boot="b2"), 0.1)
    assert effects[:2] == [Connect("w1"), SaveAttempt(id_of(1), 1)]
    assert sent(effects) == [("w1", id_of(1))]


def test_after_max_attempts_it_is_failed_and_resent_until_committed(outbox):
    outbox.step(job(1), 0.0)
    outbox.step(report(), 0.0)
    outbox.step(report(boot="b2"), 0.1)
    effects = outbox.step(report(boot="b3"), 0.2)
    (failed,) = entries(effects)
    assert (type(failed), failed.reason, failed.attempt) == (Failed, "worker_lost", 2)
    assert sent(effects) == [] and entries(outbox.step(None, 0.3)) == []
    assert entries(outbox.step(None, 0.3 + RESEND_S)) == [failed]
    outbox.step(Committed(utterance_id=id_of(1), journal_seq=1), 1.0)
    assert outbox.step(None, 9.0) == []


def test_what_a_worker_held_before_vad_restarted_is_not_sent_to_another():
    outbox = Outbox(lease_s=LEASE_S, max_attempts=2, max_held_s=10.0, started_s=0.0)
    outbox.step(job(1), 0.0)
    assert outbox.step(report(received=7, holding=(id_of(1),), decoding=(id_of(1),)), 0.1) == [Connect("w1")]
    assert sent(outbox.step(report("w2"), 0.2)) == []
    assert sent(outbox.step(HEAD, 0.3)) == []


def test_after_a_start_jobs_wait_for_journal_up_to_a_limit():
    outbox = Outbox(lease_s=LEASE_S, max_attempts=2, max_held_s=10.0, started_s=0.0)
    outbox.step(job(1), 0.0)
    outbox.step(job(2), 0.0)
    assert sent(outbox.step(report(), 0.1)) == []
    head = JournalHead(journal_id="j", first_seq=1, next_seq=2, committed=(id_of(1),))
    assert sent(outbox.step(head, 0.2)) == [("w1", id_of(2))]
    waiting = Outbox(lease_s=LEASE_S, max_attempts=2, max_held_s=10.0, started_s=0.0)
    waiting.step(job(1), 0.0)
    waiting.step(report(), 0.9)
    assert sent(waiting.step(None, JOURNAL_TIMEOUT_S)) == [("w1", id_of(1))]


def test_the_watermark_of_another_stream_drops_nothing(outbox):
    outbox.step(job(1), 0.0)
    other = (id_of(9, stream="b2"), id_of(9, "hall"))
    outbox.step(JournalHead(journal_id="j", first_seq=1, next_seq=1, committed=other), 0.0)
    assert sent(outbox.step(report(), 0.1)) == [("w1", id_of(1))]


def test_many_gaps_do_not_flood_journal(outbox):
    for number in range(1, 2 * MAX_UNCOMMITTED):
        outbox.step(gap(number), 0.0)
    assert len(entries(outbox.step(None, RESEND_S))) == MAX_UNCOMMITTED


def test_the_oldest_job_is_failed_when_more_sound_waits_than_the_ring_holds(outbox):
    for number in range(1, 5):
        outbox.step(job(number, seconds=3.0), 0.0)
    (failed,) = entries(outbox.step(None, RESEND_S))
    assert (failed.utterance_id, failed.reason) == (id_of(1), "overrun")
    assert sent(outbox.step(report(), 0.6)) == [("w1", id_of(2))]


def test_what_failed_is_counted_once(outbox):
    for number in range(1, 13):
        outbox.step(job(number), 0.0)
    for now_s in (1.0, 2.0, 3.0):
        outbox.step(None, now_s)
    assert outbox.failed == {"mic": 2}


def test_a_draining_or_loading_worker_gets_nothing(outbox):
    outbox.step(job(1), 0.0)
    for state in ("starting", "draining"):
        busy = WorkerReport(worker="w1", boot_id="b1", state=state, received=0, decoding=(), holding=())
        assert sent(outbox.step(busy, 0.1)) == []


def test_a_failed_entry_is_sent_even_if_a_worker_has_the_job(outbox):
    outbox.step(job(1), 0.0)
    outbox.step(job(2), 0.0)
    assert sent(outbox.step(report(), 0.1)) == [("w1", id_of(1))]
    failed = [
        Failed(utterance_id=id_of(n), source="mic", start_s=0, end_s=1, wall_ns=0, reason="stopped") for n in (1, 2)
    ]
    assert [entries(outbox.step(failed, 0.2)) for failed in failed] == [[failed[0]], [failed[1]]]
    assert sent(outbox.step(report(received=1, holding=(id_of(1),)), 0.3)) == []
    outbox.step(Committed(utterance_id=id_of(1), journal_seq=1), 0.4)
    assert entries(outbox.step(None, 0.3 + RESEND_S)) == [failed[1]]


def test_what_a_lost_store_does_not_contain_is_failed_unless_a_worker_has_it(outbox):
    outbox.step(report(received=1, holding=(id_of(1),), decoding=(id_of(1),)), 0.0)
    for number in (1, 2):
        lost = Failed(utterance_id=id_of(number), source="mic", start_s=0, end_s=0, wall_ns=0, reason="cuts_lost")
        assert entries(outbox.step(lost, 0.0)) == []
    outbox.step(report(received=1, holding=(id_of(1),), decoding=(id_of(1),)), 0.2)
    assert [entry.utterance_id for entry in entries(outbox.step(None, RESEND_S))] == [id_of(2)]
    outbox.step(Committed(utterance_id=id_of(2), journal_seq=2), 0.9)
    assert entries(outbox.step(None, 1.1)) == [], "its worker has reported it"
    assert [entry.utterance_id for entry in entries(outbox.step(None, 1.3))] == [id_of(1)], "until the lease expires"
    assert outbox.counts("mic")["failed"] == 2
