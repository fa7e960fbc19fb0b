"""The measurements of bench/budgets.py, on a real bundle or model."""

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import known

from rig import processes
from voicetap import links
from voicetap.bus import Bus
from voicetap.messages import FRAME_BYTES, Final, SpeechStopped
from voicetap.vocabulary import Reason
from voicetap_bundle import Bundle
from voicetap_vad import silero


@dataclass(frozen=True)
class Engine:
    """The engine and model of all measurements."""

    engine: str
    model: str


def silero_cost_us(frames: int = 2000) -> list[float]:
    """Microseconds per frame, including context and state."""
    detector = silero.Silero(silero.load(silero.model_path()))
    sound = os.urandom(FRAME_BYTES)
    return [elapsed * 1e6 for elapsed in _times(lambda: detector.probabilities(sound), frames)]


def _times(work, count: int) -> Iterator[float]:
    for _ in range(count):
        start_s = time.perf_counter()
        work()
        yield time.perf_counter() - start_s


def start_and_stop(engine: Engine) -> tuple[float, float]:
    """Seconds from launch until every service is ready, and from SIGTERM until no process is left."""
    start_s = time.monotonic()
    box = Bundle("mic", engine=engine.engine, model=engine.model).start()
    ready_s = time.monotonic() - start_s
    start_s = time.monotonic()
    box.stop()
    return ready_s, time.monotonic() - start_s


@dataclass(frozen=True)
class Idle:
    """`cpu` in cores; memory is PSS; both also by program."""

    cpu: float
    cpu_of: dict[str, float]
    pss_bytes: int
    pss_of: dict[str, int]


def idle(engine: Engine, seconds: float) -> Idle:
    """Measures a bundle with a silent microphone."""
    with Bundle("mic", engine=engine.engine, model=engine.model) as box:
        time.sleep(5)  # first heartbeats, first second of silence
        before_s, start_s = _cpu_s(box), time.monotonic()
        time.sleep(seconds)
        after_s, elapsed_s = _cpu_s(box), time.monotonic() - start_s
        cpu_of = {name: (after_s[name] - before_s.get(name, 0)) / elapsed_s for name in after_s}
        pss_of = {_name(p): p.memory_full_info().pss for p in processes.processes_of(Path(box.settings.runtime_dir))}
    return Idle(sum(cpu_of.values()), cpu_of, sum(pss_of.values()), pss_of)


def _cpu_s(box: Bundle) -> dict[str, float]:
    running = processes.processes_of(Path(box.settings.runtime_dir))
    return {_name(process): sum(process.cpu_times()[:2]) for process in running}


def _name(process) -> str:
    words = [word for word in process.cmdline() if word.startswith(("voicetap_", "supervisor."))]
    return words[-1].removeprefix("voicetap_") if words else process.name()


@dataclass(frozen=True)
class Speaking:
    """Seconds, per frame or per utterance."""

    frame_to_reader_s: list[float]
    end_to_final_s: list[float]
    endpoint_to_final_s: list[float]
    cpu_per_audio_s: float


def speaking(engine: Engine, directory: Path, utterances: int) -> Speaking:
    """Reads frames and transcripts of a file with known ends of speech, played in real time."""
    file = known.build(directory, utterances)
    with Bundle(f"file:{file.path}", engine=engine.engine, model=engine.model, pace="realtime") as box:
        return _measure(box, [spoken.end_s for spoken in file.spoken])


def _measure(box: Bundle, ends_s: list[float]) -> Speaking:
    """Reads frames and transcripts on a thread each, which sleeps until something is received, as an app would."""
    ages_s, stopped_s, finals = [], {}, []
    done = threading.Event()
    frame_reader = threading.Thread(target=_read_frames, args=(box, ages_s, done))
    frame_reader.start()
    start_s, before_s = time.monotonic(), sum(_cpu_s(box).values())
    with box.tap(interims=True, events=True) as tap:
        while len(finals) < len(ends_s) and time.monotonic() - start_s < 5 * len(ends_s) + 20:
            message = tap.next(timeout_s=0.5)
            if isinstance(message, SpeechStopped):
                stopped_s[message.utterance_id] = time.monotonic()
            elif isinstance(message, Final) and message.reason != Reason.TOO_SHORT:
                finals.append((message, time.monotonic()))
    cpu_s, audio_s = sum(_cpu_s(box).values()) - before_s, time.monotonic() - start_s
    done.set()
    frame_reader.join()
    live = [(final, received_s) for final, received_s in finals if final.utterance_id in stopped_s]
    return Speaking(
        frame_to_reader_s=ages_s,
        end_to_final_s=[received_s - _end_s(final, ends_s) for final, received_s in live],
        endpoint_to_final_s=[received_s - stopped_s[final.utterance_id] for final, received_s in live],
        cpu_per_audio_s=cpu_s / audio_s,
    )


def _read_frames(box: Bundle, ages_s: list[float], done: threading.Event) -> None:
    source = box.settings.sources[0].partition("=")[0]
    with Bus("app", box.settings) as bus:
        frames = bus.receiver(links.AUDIO.of(source), (f"audio/{source}",))
        while not done.is_set():
            bus.wait(0.1)
            ages_s += [(time.monotonic_ns() - frame.captured_ns) / 1e9 for frame in frames]


def _end_s(final: Final, ends_s: list[float]) -> float:
    """The time at which the last speech in it was captured."""
    return final.ended_ns / 1e9 - (final.end_s - max(end_s for end_s in ends_s if end_s <= final.end_s))
