"""Word error rate of the bundle, beside that of its engine on perfectly cut sentences: `bench/accuracy.py --model DIR`.

Sentences by flite, clean, with noise, with reverberation and with short pauses; each condition is a source, and all are
read faster than real time. "One-shot" decodes every sentence by itself, cut at its known ends. A cut-off is an
utterance that ends within a sentence. Ten minutes without speech must give no text. Writes
bench/results/accuracy-ENGINE.json, and exits 1 when a budget is missed.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # for rig

import conditions
from conditions import RATE_HZ, Sentence, Track
from rich.console import Console
from rich.table import Table

from rig import speech
from voicetap.messages import Final
from voicetap.settings import Settings, TranscribeSettings
from voicetap_bundle import Bundle
from voicetap_transcribe.engines import base as engines
from voicetap_transcribe.hallucination_filter import filter_result

RESULTS = Path(__file__).parent / "results"
MARGIN_S = 0.3  # around a sentence that is decoded by itself, as pre-roll and speech padding
INSIDE_S = 0.25  # a cut closer than this to the end of a sentence is no cut-off
MAX_EXCESS = 0.003  # DESIGN: 0.3 points more than one-shot


@dataclass(frozen=True)
class Outcome:
    """The result of one condition; rates are errors per spoken word."""

    condition: str
    words: int
    one_shot: float
    pipeline: float
    utterances: int
    cut_offs: int
    dropped: dict[str, int]  # utterances without text, by reason


def main() -> None:
    options = parse_arguments()
    texts = options.sentences.read_text().split("\n") if options.sentences else list(speech.SENTENCES)
    texts = [texts[number % len(texts)] for number in range(options.number)]
    with tempfile.TemporaryDirectory(prefix="vt-") as directory:
        tracks = list(conditions.all_tracks(texts, Path(directory), options.seed, options.non_speech_s))
        start_s = time.monotonic()
        finals, model = transcribed_by_bundle(tracks, Path(directory), options)
        elapsed_s = time.monotonic() - start_s
        alone = transcribed_alone(tracks, options)
    outcomes = [outcome_of(track, finals[track.name], alone[track.name]) for track in tracks if track.sentences]
    false_texts = [final.text for final in finals["non-speech"] if final.text]
    report = {
        "model": model,
        "outcomes": [asdict(outcome) for outcome in outcomes],
        "non_speech": {"seconds": options.non_speech_s, "utterances": len(finals["non-speech"]), "texts": false_texts},
        "speed": sum(track.seconds for track in tracks) / elapsed_s,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"accuracy-{options.engine}.json").write_text(json.dumps(report, indent=1))
    show(outcomes, report)
    sys.exit(bool(false_texts) or any(each.pipeline > each.one_shot + MAX_EXCESS for each in outcomes))


def transcribed_by_bundle(
    tracks: list[Track], directory: Path, options: argparse.Namespace
) -> tuple[dict[str, list[Final]], str]:
    """The Finals of each track, in order, and the name of the model."""
    sources = [f"{track.name}=file:{track.write(directory)}" for track in tracks]
    finals = defaultdict(list)
    with Bundle(sources, engine=options.engine, model=options.model, pace="max", settings=settings(options)) as box:
        for entry in box.messages(once=True):
            if isinstance(entry, Final):
                finals[entry.source].append(entry)
    (model,) = {f"{final.engine} {final.model}" for of_track in finals.values() for final in of_track if final.engine}
    return finals, model


def settings(options: argparse.Namespace) -> dict[str, str]:
    """The settings given, and no interims, which do not change finals."""
    return {"vad.interims": "false"} | dict(each.split("=", 1) for each in options.set)


def transcribed_alone(tracks: list[Track], options: argparse.Namespace) -> dict[str, list[str]]:
    """Each sentence decoded by itself, in this process."""
    chosen = replace(TranscribeSettings(), engine=options.engine, model=options.model)
    engine, _ = engines.load(Settings(transcribe=chosen), lambda detail: None)
    try:
        return {track.name: [alone(engine, track, sentence) for sentence in track.sentences] for track in tracks}
    finally:
        engine.close()


def alone(engine: engines.Engine, track: Track, sentence: Sentence) -> str:
    margin = int(min(MARGIN_S, track.pause_s / 2) * RATE_HZ)
    samples = track.samples[sentence.start - margin : sentence.end + margin]
    return filter_result(engine.transcribe(conditions.pcm(samples), engines.Options()), len(samples) / RATE_HZ).text


def outcome_of(track: Track, finals: list[Final], alone: list[str]) -> Outcome:
    spoken = " ".join(sentence.text for sentence in track.sentences)
    reasons = [final.reason for final in finals if not final.text]
    return Outcome(
        condition=track.name,
        words=len(spoken.split()),
        one_shot=speech.word_error_rate([spoken], [" ".join(alone)]),
        pipeline=speech.word_error_rate([spoken], [" ".join(final.text for final in finals)]),
        utterances=len(finals),
        cut_offs=sum(is_inside(final.end_s, track) for final in finals),
        dropped={reason: reasons.count(reason) for reason in sorted(set(reasons))},
    )


def is_inside(end_s: float, track: Track) -> bool:
    spans_s = ((each.start / RATE_HZ + INSIDE_S, each.end / RATE_HZ - INSIDE_S) for each in track.sentences)
    return any(start_s < end_s < stop_s for start_s, stop_s in spans_s)


def show(outcomes: list[Outcome], report: dict) -> None:
    console = Console()
    columns = ("condition", "words", "one-shot", "pipeline", "more", "utterances", "cut-offs", "without text")
    table = Table(*columns, title=f"Word error rate, {report['model']}", box=None)
    for each in outcomes:
        excess = each.pipeline - each.one_shot
        table.add_row(
            each.condition,
            str(each.words),
            f"{each.one_shot:.1%}",
            f"{each.pipeline:.1%}",
            f"{'[red]' if excess > MAX_EXCESS else ''}{100 * excess:+.1f}",
            str(each.utterances),
            str(each.cut_offs),
            ", ".join(f"{number} {reason}" for reason, number in each.dropped.items()),
        )
    console.print(table)
    non_speech = report["non_speech"]
    console.print(
        f"{non_speech['seconds']:g} s without speech: {non_speech['utterances']} utterances, "
        f"{len(non_speech['texts'])} with text {non_speech['texts'][:5] or ''}; {report['speed']:.0f} times real time"
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default="auto", help="as in `voicetap up` (default: %(default)s)")
    parser.add_argument("--model", default="tiny.en", help="as in `voicetap up` (default: %(default)s)")
    parser.add_argument("--sentences", type=Path, help="a file with one on each line (default: ten plain ones)")
    parser.add_argument("--number", type=int, default=30, help="of sentences (default: %(default)s)")
    parser.add_argument("--non-speech-s", type=float, default=600, help="seconds without speech (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of voicetap.toml")
    return parser.parse_args()


if __name__ == "__main__":
    main()
