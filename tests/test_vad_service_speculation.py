"""Early jobs and partials of a real vad process with peers run by the test, and in a whole bundle."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import coded, speech, world
from rig.collector import TapCollector
from rig.vad import VadPeers, silent, spoken
from voicetap.messages import FRAME_BYTES, SAMPLE_RATE_HZ, Final, Interim, SpeechStopped
from voicetap.settings import Settings
from voicetap_bundle import Bundle

DECODE_S = 0.25
SENTENCES = 1
ENDPOINT_S = 0.8  # enough time to decode on a busy machine


@pytest.fixture
def peers(settings: Settings) -> Iterator[VadPeers]:
    with VadPeers(settings) as peers:
        yield peers


def test_pauses_are_decoded_early_and_the_final_has_the_same_sound_as_the_last(peers, spawn):
    spawn("voicetap_vad", vad_endpoint_ms=1000, vad_interims="false")
    peers.play(silent(20) + spoken()[: 40 * FRAME_BYTES] + silent(20))
    peers.run_until(lambda: len(peers.speculative_jobs) == 1, "the pause")
    peers.play(spoken()[40 * FRAME_BYTES :] + silent(20))
    peers.run_until(lambda: has_processed_all(peers), "most of a second pause")
    assert len(peers.speculative_jobs) == 1, "the second can wait: the workers are fast"
    pause_until_decoded(peers, 2)
    assert not peers.final_jobs
    peers.play(silent(40))
    peers.run_until(lambda: peers.entries, "the final")
    first, second = peers.speculative_jobs
    [final] = peers.final_jobs
    assert {job.purpose for job in peers.speculative_jobs} == {"early"}
    assert (second.utterance_id, second.start_position, second.end_position, second.pcm) == (
        final.utterance_id,
        final.start_position,
        final.end_position,
        final.pcm,
    )
    assert first.end_position < second.end_position
    peers.run_until(lambda: counts(peers) == (2, 1), "the heartbeat counts them")
    assert not partials(peers)


def pause_until_decoded(peers: VadPeers, jobs: int) -> None:
    """Plays silence, frame by frame, until so many speculative jobs were decoded."""
    while len(peers.speculative_jobs) < jobs:
        assert not peers.final_jobs, "the pause was the end, and was not decoded before"
        peers.play(silent(1))
        peers.run_until(lambda: has_processed_all(peers), "a frame of silence")


def has_processed_all(peers: VadPeers) -> bool:
    return peers.heartbeat.sources[0].position_s * SAMPLE_RATE_HZ == peers.next_position


def counts(peers: VadPeers) -> tuple[int, int]:
    [state] = peers.heartbeat.sources
    return state.early_jobs, state.early_used


def test_a_vad_that_catches_up_decodes_nothing_early(peers, spawn):
    """The frames after the pause have arrived already."""
    peers.play((silent(20) + spoken()) * 3 + silent(40))
    peers.state = "ended"
    spawn("voicetap_vad")
    peers.run_until(peers.drained, "drained")
    assert len(peers.entries) == 3
    assert not peers.speculative_jobs


def test_partials_are_published_while_the_utterance_is_open(peers, spawn):
    """Each covers all the sound so far, and only one per utterance is decoded at a time."""
    worker = peers.workers["w1"]
    spawn("voicetap_vad", vad_endpoint_ms=1000)
    peers.play(silent(20) + spoken()[: 28 * FRAME_BYTES])
    peers.run_until(lambda: worker.speculative_jobs, "enough speech for a partial")
    peers.play(spoken()[28 * FRAME_BYTES : 46 * FRAME_BYTES])
    peers.run_until(lambda: len(worker.speculative_jobs) == 2 and len(partials(peers)) == 2, "a second one")
    peers.play(spoken()[46 * FRAME_BYTES :] + silent(15))
    pause_until_decoded(peers, 3)
    peers.run_until(lambda: len(partials(peers)) == 3, "the end")
    assert [job.purpose for job in worker.speculative_jobs] == ["interim", "interim", "early"]
    assert len({job.start_position for job in worker.speculative_jobs}) == 1
    ends = [job.end_position for job in worker.speculative_jobs]
    assert [round(interim.end_s * 16_000) for interim in partials(peers)] == ends == sorted(ends)
    assert {interim.utterance_id for interim in partials(peers)} == set(peers.started)
    peers.run_until(lambda: peers.heartbeat.sources[0].interims == "full", "the heartbeat reports the level")


def test_the_endpoint_is_sooner_after_a_finished_sentence(peers, spawn):
    """Because of the early text: without it the endpoint takes three seconds of silence."""
    peers.workers["w1"].text = "Is this the end? It is."
    spawn("voicetap_vad", vad_adaptive_endpoint="true", vad_endpoint_ms=3000)
    peers.play(silent(20) + spoken() + silent(20))
    peers.run_until(lambda: [job for job in peers.speculative_jobs if job.purpose == "early"], "the pause")
    end_position = peers.speculative_jobs[-1].end_position
    peers.run_until(lambda: partials(peers) and partials(peers)[-1].end_s * 16_000 == end_position, "vad has its text")
    peers.play(silent(10))
    peers.run_until(lambda: peers.entries, "the end")
    assert [job.end_position for job in peers.final_jobs] == [end_position]


def partials(peers: VadPeers) -> list[Interim]:
    return [event for event in peers.events if isinstance(event, Interim)]


@pytest.mark.skipif(not speech.have_flite(), reason="flite is not installed (apt install flite)")
def test_a_tap_gets_partials_while_words_are_spoken_and_then_the_final(tmp_path: Path, monkeypatch):
    """The final comes sooner after the end than decoding takes, because the early job has its text."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # for the worker: there the coded engine is
    played = world.build(tmp_path, SENTENCES)
    patient = {"vad.endpoint_ms": int(ENDPOINT_S * 1000)}
    with Bundle(f"file:{played.path}", engine="rig.coded:CodedEngine", model=str(DECODE_S), settings=patient) as box:
        with box.tap(events=True, interims=True) as tap:
            collector = TapCollector(tap)
            collector.until(lambda: len(collector.of(Final)) == SENTENCES, "all finals", within_s=40)
    finals = {final.utterance_id: final for final in collector.of(Final)}
    assert {interim.utterance_id for interim in collector.of(Interim)} == set(finals)
    assert min(delays_s(collector)) < DECODE_S / 2
    for id_, final in finals.items():
        of_utterance = [interim for interim in collector.of(Interim) if interim.utterance_id == id_]
        assert collector.messages.index(of_utterance[-1]) < collector.messages.index(final)
        assert [interim.revision for interim in of_utterance] == sorted({interim.revision for interim in of_utterance})
        first, last = coded.parse(final.text)[0]
        for interim in of_utterance:
            [(interim_first, interim_last)] = coded.parse(interim.text)
            assert interim_first == first and interim_last <= last


def delays_s(collector: TapCollector) -> list[float]:
    """From the end of each utterance to its final."""
    received = list(zip(collector.messages, collector.received_s, strict=True))
    ended_s = {message.utterance_id: at_s for message, at_s in received if isinstance(message, SpeechStopped)}
    return [at_s - ended_s[message.utterance_id] for message, at_s in received if isinstance(message, Final)]
