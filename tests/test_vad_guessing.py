"""Of several sources: whose pause is decoded first, and whose words while they are spoken."""

from dataclasses import dataclass, field

import pytest

from rig.sample_messages import id_of
from voicetap.codec import UtteranceId
from voicetap.messages import Job, JournalHead, WorkerReport
from voicetap_vad.guessing import Guessing
from voicetap_vad.outbox import Outbox, Send
from voicetap_vad.pace import FULL, NEWEST, UNTAPPED, Pace

EARLY, INTERIM = "early", "interim"


@dataclass
class Draft:
    utterance_id: UtteranceId
    onset_ns: int


@dataclass
class Stream:
    """A listener with its open stream: in a pause that ends so soon, or so overdue. `asked`: for what it was."""

    source: str
    onset_ns: int = 0
    ends_in: float | None = None
    late: float = float("-inf")
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.draft = Draft(id_of(1, self.source), self.onset_ns)
        self.open_stream = self

    def ends_in_s(self) -> float | None:
        return self.ends_in

    def overdue(self, period_s: float) -> float:
        return self.late - period_s

    def early(self) -> Job:
        self.ends_in = None
        return self._job(EARLY)

    def interim(self) -> Job:
        self.late = float("-inf")
        return self._job(INTERIM)

    def _job(self, purpose: str) -> Job:
        self.asked.append(purpose)
        span = {"start_position": 0, "end_position": 1, "ended_ns": 0, "wall_ns": 0}
        return Job(utterance_id=self.draft.utterance_id, attempt=0, cut_reason="", pcm=b"", purpose=purpose, **span)


class Delivery:
    """In place of the one with sockets."""

    def __init__(self, workers: int):
        self.outbox = Outbox(lease_s=1.0, max_attempts=3, max_held_s=10.0, started_s=0.0)
        self.sent: list[tuple[str, str]] = []
        self.step(JournalHead(journal_id="j", first_seq=1, next_seq=1), 0.0)
        for number in range(workers):
            report = {"state": "ready", "received": 0, "decoding": (), "holding": ()}
            self.step(WorkerReport(worker=f"w{number}", boot_id="b1", **report), 0.0)

    def step(self, event: object, now_s: float) -> None:
        sent = [effect.job for effect in self.outbox.step(event, now_s) if isinstance(effect, Send)]
        self.sent += [(job.utterance_id.source, job.purpose) for job in sent]


def handed_out(streams: list[Stream], workers: int, pace: Pace) -> list[tuple[str, str]]:
    delivery = Delivery(workers)
    Guessing(streams, delivery, pace).turn(0.0)
    return delivery.sent


def costly(cost_s: float) -> Pace:
    pace = Pace(share=0.5)
    pace.hear(cost_s)
    return pace


def test_pauses_come_first_the_one_that_may_be_over_first_before_the_others():
    streams = [Stream("a", late=9), Stream("b", ends_in=0.2), Stream("c", ends_in=0.1)]
    assert handed_out(streams, 1, Pace(0.5)) == [("c", EARLY)]
    assert handed_out([Stream("a", late=9), Stream("b", ends_in=0.2), Stream("c", ends_in=0.1)], 3, Pace(0.5)) == [
        ("c", EARLY),
        ("b", EARLY),
        ("a", INTERIM),
    ]


def test_a_pause_waits_until_its_decoding_has_to_begin():
    pace = costly(0.05)
    assert handed_out([Stream("a", ends_in=0.5)], 1, pace) == []
    assert handed_out([Stream("a", ends_in=0.2)], 1, pace) == [("a", EARLY)]


def test_interims_are_made_for_those_who_read_them_alone():
    delivery, stream = Delivery(1), Stream("a", late=9)
    guessing = Guessing([stream], delivery, Pace(0.5))
    guessing.is_tapped = False
    guessing.turn(0.0)
    assert (delivery.sent, guessing.level(0.0)) == ([], UNTAPPED)
    guessing.is_tapped = True
    guessing.turn(0.0)
    assert (delivery.sent, guessing.level(0.0)) == ([("a", INTERIM)], FULL)


def test_the_most_overdue_interim_is_made_first_and_none_too_soon():
    streams = [Stream("a", late=1), Stream("b", late=3), Stream("c", late=0.1)]
    assert handed_out(streams, 3, Pace(0.5)) == [("b", INTERIM), ("a", INTERIM)]
    assert streams[2].asked == []


def test_no_interims_where_there_are_to_be_none():
    assert handed_out([Stream("a", late=9), Stream("b", ends_in=0.1)], 2, Pace(0.0)) == [("b", EARLY)]


@pytest.mark.parametrize("cost_s", [1.1, 2.9])
def test_under_load_only_who_began_last_has_any(cost_s):
    streams = [Stream("a", onset_ns=1, late=99), Stream("b", onset_ns=3, late=9), Stream("c", onset_ns=2, late=99)]
    pace = costly(cost_s)
    assert pace.plan(3, 1, is_late=False).level == NEWEST
    assert handed_out(streams, 1, pace) == [("b", INTERIM)]


def test_under_more_load_nobody_has():
    assert handed_out([Stream("a", late=99)], 1, costly(19.0)) == []


def test_one_that_is_already_heard_waits():
    stream = Stream("a", late=9)
    delivery = Delivery(2)
    guessing = Guessing([stream], delivery, Pace(0.5))
    guessing.turn(0.0)
    stream.late = 9
    guessing.turn(0.0)
    assert delivery.sent == [("a", INTERIM)]
