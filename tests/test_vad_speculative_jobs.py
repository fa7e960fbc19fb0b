"""Early and interim jobs: who gets them, what becomes of them, and that no final waits for one."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicetap.codec import UtteranceId
from voicetap.messages import Committed, Job, JournalHead, Purpose, WorkerReport
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


def test_a_final_goes_to_the_worker_that_is_decoding_its_very_sound_although_another_is_idle(outbox):
    outbox.step(report("w1"), 0.0)
    outbox.step(report("w2"), 0.0)
    assert sent(outbox.step(job(1, EARLY), 0.1)) == [("w1", 1, EARLY)]
    outbox.step(report("w1", 1, job(1, EARLY)), 0.1)
    assert sent(outbox.step(job(1), 0.2)) == [("w1", 1, FINAL)]
    assert outbox.counts("mic") == {"failed": 0, "early_jobs": 1, "early_used": 1}


def test_and_to_the_one_that_has_decoded_it_whatever_it_does_now(outbox):
    outbox.step(report("w1"), 0.0)
    outbox.step(job(1, EARLY), 0.1)
    outbox.step(report("w1", 1), 0.2)
    assert sent(outbox.step(job(7, source="hall"), 0.3)) == [("w1", 7, FINAL)]
    assert sent(outbox.step(job(8, source="hall"), 0.3)) == []
    assert sent(outbox.step(job(1), 0.4)) == [("w1", 1, FINAL)]


def test_also_when_older_ones_of_its_source_wait(outbox):
    outbox.step(report("w1"), 0.0)
    outbox.step(job(3, EARLY), 0.1)
    for number in (1, 2):
        assert sent(outbox.step(job(number), 0.2)) == []
    assert sent(outbox.step(job(3), 0.2)) == [("w1", 3, FINAL)]


def test_a_final_of_another_span_is_as_any_other(outbox):
    outbox.step(report("w1"), 0.0)
    outbox.step(report("w2"), 0.0)
    outbox.step(job(1, EARLY), 0.1)
    assert sent(outbox.step(job(1, end=20_000), 0.2)) == [("w2", 1, FINAL)]
    assert outbox.counts("mic")["early_used"] == 0


@pytest.mark.parametrize("ending", ["silent", "new"])
def test_when_that_worker_is_gone_another_gets_the_final(outbox, ending):
    outbox.step(report("w1"), 0.0)
    outbox.step(job(1, EARLY), 0.1)
    later_s = LEASE_S + 0.5
    outbox.step(report("w2"), later_s)
    if ending == "new":
        outbox.step(report("w1", boot_id="b2", decoding=job(9)), later_s)
    effects = outbox.step(job(1), later_s)
    assert sent(effects) == [("w2", 1, FINAL)]
    assert not [each for each in effects if isinstance(each, SaveAttempt)], "nobody owed it"


def test_a_lost_guess_is_no_lost_attempt_but_the_utterance_gets_no_other(outbox):
    """It may be what killed the worker: then the next one would die of it too."""
    outbox.step(report("w1"), 0.0)
    outbox.step(job(1, EARLY), 0.1)
    effects = outbox.step(report("w1", boot_id="b2"), 0.2)
    assert not [each for each in effects if isinstance(each, SaveAttempt)]
    for purpose in (EARLY, INTERIM):
        assert sent(outbox.step(job(1, purpose, end=30_000), 0.3)) == []
    assert sent(outbox.step(job(2, EARLY), 0.4)) == [("w1", 2, EARLY)]


def test_there_is_room_for_a_guess_when_nobody_waits(outbox):
    assert not outbox.has_room(EARLY, 0.0)
    outbox.step(report("w1"), 0.0)
    assert outbox.has_room(EARLY, 0.0) and outbox.has_room(INTERIM, 0.0)
    outbox.step(job(1), 0.1)
    outbox.step(job(2), 0.1)
    assert not outbox.has_room(EARLY, 0.1)
    outbox.step(report("w1", 1), 0.2)
    assert not outbox.has_room(INTERIM, 0.2), "the other one was sent at once"


def test_an_interim_gives_way(outbox):
    """The worker abandons it: so what is urgent need not wait for its end."""
    outbox.step(report("w1"), 0.0)
    outbox.step(job(1, INTERIM), 0.1)
    outbox.step(report("w1", 1, job(1, INTERIM)), 0.1)
    assert not outbox.has_room(INTERIM, 0.2) and outbox.has_room(EARLY, 0.2)
    assert sent(outbox.step(job(1, EARLY), 0.2)) == [("w1", 1, EARLY)]
    assert not outbox.has_room(EARLY, 0.2)
    assert sent(outbox.step(job(2, source="hall"), 0.2)) == []


def test_an_idle_worker_is_better_than_one_that_gives_way(outbox):
    outbox.step(report("w1"), 0.0)
    outbox.step(report("w2"), 0.0)
    outbox.step(job(1, INTERIM), 0.1)
    assert sent(outbox.step(job(2, source="hall"), 0.2)) == [("w2", 2, FINAL)]


def test_there_is_one_interim_at_a_time(outbox):
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
    assert order == [1, 2, 4, 3], "but a source that has just got something counts as young again"


def test_a_heap_of_old_ones_blocks_nobody(outbox):
    for number in range(1, 6):
        outbox.step(job(number, source="file"), 0.0)
    outbox.step(report("w1"), 0.1)
    outbox.step(job(9), 0.2)
    order = [sent(outbox.step(report("w1", received), 0.2 + received / 10))[0][1] for received in (1, 2, 3)]
    assert order == [2, 9, 3]


def test_a_worker_that_was_given_an_interim_by_a_vad_before_us_is_busy(outbox):
    outbox.step(report("w1", 5, job(1, INTERIM)), 0.0)
    assert not outbox.has_room(EARLY, 0.0)
    assert sent(outbox.step(job(2), 0.1)) == []


class Shop:
    """Three sources and three workers. A pause has the same span as an end, so each final was heard early or not."""

    def __init__(self) -> None:
        self.outbox = Outbox(lease_s=LEASE_S, max_attempts=2, max_held_s=10.0, started_s=0.0)
        self.outbox.step(JournalHead(journal_id="j", first_seq=1, next_seq=1), 0.0)
        self.hands: dict[str, list[Job]] = {f"w{number}": [] for number in range(3)}
        self.finals, self.sent = 0, []
        self._received = dict.fromkeys(self.hands, 0)
        self._heard: dict[UtteranceId, str] = {}
        self._numbers = [1, 1, 1]
        for name in self.hands:
            self.report(name)

    def say(self, purpose: str, which: int) -> None:
        """Something of a source. A final is its end."""
        if purpose == FINAL or self.outbox.has_room(purpose, 0.0):
            self.step(job(self._numbers[which], purpose, f"s{which}"))
        self.finals += purpose == FINAL
        self._numbers[which] += purpose == FINAL

    def finish(self, name: str) -> None:
        for done in self.hands[name][:1]:
            self.hands[name].remove(done)
            if done.purpose == FINAL:
                self.step(Committed(utterance_id=done.utterance_id, journal_seq=1))
        self.report(name)

    def report(self, name: str) -> None:
        jobs = self.hands[name]
        owed = tuple(job.utterance_id for job in jobs if job.purpose == FINAL)
        self.step(replace(report(name, self._received[name], jobs[0] if jobs else None), holding=owed))

    def step(self, event: OutboxEvent) -> None:
        for effect in self.outbox.step(event, 0.0):
            if isinstance(effect, SendJob):
                self.check(effect.worker, effect.job)
                self.hands[effect.worker].append(effect.job)
                self._received[effect.worker] += 1

    def check(self, name: str, given: Job) -> None:
        has_heard = given.purpose == FINAL and self._heard.get(given.utterance_id) == name
        is_anybody_idle = not all(self.hands.values())
        gives_way = given.purpose != INTERIM and [job.purpose for job in self.hands[name]] == [INTERIM]
        assert not self.hands[name] or has_heard or (gives_way and not is_anybody_idle)
        if given.purpose == FINAL:
            self.sent.append(given.utterance_id)
        elif given.purpose == EARLY:
            self._heard[given.utterance_id] = name


@given(st.lists(st.tuples(st.sampled_from([EARLY, INTERIM, FINAL, "done", "done"]), st.integers(0, 2)), max_size=80))
def test_nobody_has_a_second_job_while_another_is_idle_and_every_final_is_sent_once(steps):
    shop = Shop()
    for what, which in steps:
        if what == "done":
            shop.finish(f"w{which}")
        else:
            shop.say(what, which)
    while busy := [name for name, jobs in shop.hands.items() if jobs]:
        shop.finish(busy[0])
    assert len(shop.sent) == len(set(shop.sent)) == shop.finals
