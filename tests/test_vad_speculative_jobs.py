"""Early and interim jobs in the outbox: their workers, their use for finals, and that no final waits for one."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicetap.codec import UtteranceId
from voicetap.messages import Committed, Job, JournalHead, WorkerReport
from voicetap.vocabulary import Purpose
from voicetap_vad.dispatcher import Effect, Outbox, OutboxEvent, SaveAttempt, SendJob

LEASE_S = 1.0
EARLY, INTERIM, FINAL = Purpose.EARLY, Purpose.INTERIM, Purpose.FINAL


@pytest.fixture
def outbox() -> Outbox:
    outbox = Outbox(lease_s=LEASE_S, max_attempts=2, max_held_s=10.0, started_s=0.0)
    outbox.step(JournalHead(journal_id="j", first_seq=1, next_seq=1), 0.0)
    return outbox


def job(number: int, purpose: str = FINAL, source: str = "mic", end: int = 16_000) -> Job:
    times = {"start_position": 0, "end_position": end, "ended_ns": 0, "wall_ns": 0}
    id_ = UtteranceId(source, "a1", number)
    return Job(utterance_id=id_, attempt=0, cut_reason="silence", pcm=bytes(64), purpose=purpose, **times)


def report(worker: str, received: int = 0, decoding: Job | None = None, boot_id: str = "b1") -> WorkerReport:
    return WorkerReport(
        worker=worker,
        boot_id=boot_id,
        state="busy" if decoding else "ready",
        received=received,
        decoding=(decoding.utterance_id,) if decoding else (),
        holding=(decoding.utterance_id,) if decoding and decoding.purpose == FINAL else (),
    )


def sent(effects: list[Effect]) -> list[tuple[str, int, str]]:
    return [
        (each.worker, each.job.utterance_id.number, each.job.purpose) for each in effects if isinstance(each, SendJob)
    ]


def test_a_final_goes_to_the_worker_that_decodes_its_early_job_although_another_is_idle(outbox):
    outbox.step(report("w1"), 0.0)
    outbox.step(report("w2"), 0.0)
    assert sent(outbox.step(job(1, EARLY), 0.1)) == [("w1", 1, EARLY)]
    outbox.step(report("w1", 1, job(1, EARLY)), 0.1)
    assert sent(outbox.step(job(1), 0.2)) == [("w1", 1, FINAL)]
    assert outbox.counts("mic") == {"failed": 0, "early_jobs": 1, "early_used": 1}


def test_a_final_goes_to_the_worker_that_has_decoded_its_early_job_even_if_it_is_busy(outbox):
    outbox.step(report("w1"), 0.0)
    outbox.step(job(1, EARLY), 0.1)
    outbox.step(report("w1", 1), 0.2)
    assert sent(outbox.step(job(7, source="hall"), 0.3)) == [("w1", 7, FINAL)]
    assert sent(outbox.step(job(8, source="hall"), 0.3)) == []
    assert sent(outbox.step(job(1), 0.4)) == [("w1", 1, FINAL)]


def test_such_a_final_overtakes_older_ones_of_its_source(outbox):
    outbox.step(report("w1"), 0.0)
    outbox.step(job(3, EARLY), 0.1)
    for number in (1, 2):
        assert sent(outbox.step(job(number), 0.2)) == []
    assert sent(outbox.step(job(3), 0.2)) == [("w1", 3, FINAL)]


def test_a_final_of_another_span_is_dispatched_as_any_other(outbox):
    outbox.step(report("w1"), 0.0)
    outbox.step(report("w2"), 0.0)
    outbox.step(job(1, EARLY), 0.1)
    assert sent(outbox.step(job(1, end=20_000), 0.2)) == [("w2", 1, FINAL)]
    assert outbox.counts("mic")["early_used"] == 0


@pytest.mark.parametrize("ending", ["silent", "new"])
def test_when_that_worker_is_lost_another_gets_the_final(outbox, ending):
    outbox.step(report("w1"), 0.0)
    outbox.step(job(1, EARLY), 0.1)
    later_s = LEASE_S + 0.5
    outbox.step(report("w2"), later_s)
    if ending == "new":
        outbox.step(report("w1", boot_id="b2", decoding=job(9)), later_s)
    effects = outbox.step(job(1), later_s)
    assert sent(effects) == [("w2", 1, FINAL)]
    assert not [each for each in effects if isinstance(each, SaveAttempt)], "it was not owed"


def test_a_lost_speculative_job_is_no_attempt_but_its_utterance_gets_no_other(outbox):
    """Its sound may be what killed the worker, and would kill the next one."""
    outbox.step(report("w1"), 0.0)
    outbox.step(job(1, EARLY), 0.1)
    effects = outbox.step(report("w1", boot_id="b2"), 0.2)
    assert not [each for each in effects if isinstance(each, SaveAttempt)]
    for purpose in (EARLY, INTERIM):
        assert sent(outbox.step(job(1, purpose, end=30_000), 0.3)) == []
    assert sent(outbox.step(job(2, EARLY), 0.4)) == [("w1", 2, EARLY)]


def test_there_is_room_for_a_speculative_job_when_no_final_waits(outbox):
    assert not outbox.has_room(EARLY, 0.0)
    outbox.step(report("w1"), 0.0)
    assert outbox.has_room(EARLY, 0.0) and outbox.has_room(INTERIM, 0.0)
    outbox.step(job(1), 0.1)
    outbox.step(job(2), 0.1)
    assert not outbox.has_room(EARLY, 0.1)
    outbox.step(report("w1", 1), 0.2)
    assert not outbox.has_room(INTERIM, 0.2), "the second final was sent at once"


def test_an_interim_job_is_preempted(outbox):
    """The worker abandons it, so that an urgent job does not have to wait."""
    outbox.step(report("w1"), 0.0)
    outbox.step(job(1, INTERIM), 0.1)
    outbox.step(report("w1", 1, job(1, INTERIM)), 0.1)
    assert not outbox.has_room(INTERIM, 0.2) and outbox.has_room(EARLY, 0.2)
    assert sent(outbox.step(job(1, EARLY), 0.2)) == [("w1", 1, EARLY)]
    assert not outbox.has_room(EARLY, 0.2)
    assert sent(outbox.step(job(2, source="hall"), 0.2)) == []


def test_an_idle_worker_is_preferred_to_one_that_is_preempted(outbox):
    outbox.step(report("w1"), 0.0)
    outbox.step(report("w2"), 0.0)
    outbox.step(job(1, INTERIM), 0.1)
    assert sent(outbox.step(job(2, source="hall"), 0.2)) == [("w2", 2, FINAL)]


def test_a_source_has_one_interim_job_at_a_time(outbox):
    outbox.step(report("w1"), 0.0)
    outbox.step(report("w2"), 0.0)
    assert sent(outbox.step(job(1, INTERIM), 0.1)) == [("w1", 1, INTERIM)]
    assert sent(outbox.step(job(1, INTERIM, end=20_000), 0.2)) == []
    assert sent(outbox.step(job(1, INTERIM, source="hall"), 0.2)) == [("w2", 1, INTERIM)]
    outbox.step(report("w1", 1), 0.3)
    assert sent(outbox.step(job(1, INTERIM, end=30_000), 0.3)) == [("w1", 1, INTERIM)]


def test_the_oldest_goes_first_whatever_its_source(outbox):
    for number, source in enumerate(("mic", "hall", "mic", "attic"), 1):
        outbox.step(job(number, source=source), number / 10)
    order = [sent(outbox.step(report("w1", received), 0.5 + received / 10))[0][1] for received in range(4)]
    assert order == [1, 2, 4, 3], "but the age of a source counts from its last job"


def test_a_long_backlog_blocks_no_other_source(outbox):
    for number in range(1, 6):
        outbox.step(job(number, source="file"), 0.0)
    outbox.step(report("w1"), 0.1)
    outbox.step(job(9), 0.2)
    order = [sent(outbox.step(report("w1", received), 0.2 + received / 10))[0][1] for received in (1, 2, 3)]
    assert order == [2, 9, 3]


def test_a_worker_with_an_interim_job_of_an_earlier_vad_is_busy(outbox):
    outbox.step(report("w1", 5, job(1, INTERIM)), 0.0)
    assert not outbox.has_room(EARLY, 0.0)
    assert sent(outbox.step(job(2), 0.1)) == []


class FakeWorkers:
    """Three workers for three sources. All jobs of an utterance have one span, so a final may use its early job."""

    def __init__(self) -> None:
        self.outbox = Outbox(lease_s=LEASE_S, max_attempts=2, max_held_s=10.0, started_s=0.0)
        self.outbox.step(JournalHead(journal_id="j", first_seq=1, next_seq=1), 0.0)
        self.jobs: dict[str, list[Job]] = {f"w{number}": [] for number in range(3)}
        self.finals, self.sent = 0, []
        self._received = dict.fromkeys(self.jobs, 0)
        self._early_worker: dict[UtteranceId, str] = {}
        self._numbers = [1, 1, 1]
        for name in self.jobs:
            self.report(name)

    def submit(self, purpose: str, which: int) -> None:
        """A job of source `which`. A final ends its utterance."""
        if purpose == FINAL or self.outbox.has_room(purpose, 0.0):
            self.step(job(self._numbers[which], purpose, f"s{which}"))
        self.finals += purpose == FINAL
        self._numbers[which] += purpose == FINAL

    def finish(self, name: str) -> None:
        for done in self.jobs[name][:1]:
            self.jobs[name].remove(done)
            if done.purpose == FINAL:
                self.step(Committed(utterance_id=done.utterance_id, journal_seq=1))
        self.report(name)

    def report(self, name: str) -> None:
        jobs = self.jobs[name]
        owed = tuple(job.utterance_id for job in jobs if job.purpose == FINAL)
        self.step(replace(report(name, self._received[name], jobs[0] if jobs else None), holding=owed))

    def step(self, event: OutboxEvent) -> None:
        for effect in self.outbox.step(event, 0.0):
            if isinstance(effect, SendJob):
                self.check(effect.worker, effect.job)
                self.jobs[effect.worker].append(effect.job)
                self._received[effect.worker] += 1

    def check(self, name: str, job: Job) -> None:
        has_early = job.purpose == FINAL and self._early_worker.get(job.utterance_id) == name
        is_any_idle = not all(self.jobs.values())
        is_preempting = job.purpose != INTERIM and [held.purpose for held in self.jobs[name]] == [INTERIM]
        assert not self.jobs[name] or has_early or (is_preempting and not is_any_idle)
        if job.purpose == FINAL:
            self.sent.append(job.utterance_id)
        elif job.purpose == EARLY:
            self._early_worker[job.utterance_id] = name


@given(st.lists(st.tuples(st.sampled_from([EARLY, INTERIM, FINAL, "done", "done"]), st.integers(0, 2)), max_size=80))
def test_no_worker_gets_a_second_job_while_another_is_idle_and_every_final_is_sent_once(steps):
    workers = FakeWorkers()
    for what, which in steps:
        if what == "done":
            workers.finish(f"w{which}")
        else:
            workers.submit(what, which)
    while busy := [name for name, jobs in workers.jobs.items() if jobs]:
        workers.finish(busy[0])
    assert len(workers.sent) == len(set(workers.sent)) == workers.finals
