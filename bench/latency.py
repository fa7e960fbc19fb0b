"""Latency from speech to text, and its cost, for 1, 2, 4, 8 microphones: `.venv/bin/python bench/latency.py`.

Each microphone is a virtual one, read with PyAudio, into which utterances of five seconds with pauses of 2.5 are
played. Latencies count from the earliest possible recording of a sample (see playing.py). All measurements go to
bench/results/latency.json. `--plot` draws them into bench/plots/ (matplotlib: requirements-bench.lock); `--draw` draws
the last results without measuring. `--model` takes a CTranslate2 directory; a stand-in model has the cost of the real
one, but no meaningful text. Run it on an idle machine.
"""

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # for rig

import known
import playing
from cost import MIB, Meter
from rich.console import Console
from rich.table import Table
from subjects import Voicetap
from timing import Timing, known_values, percentile, timings

from rig.microphone import VirtualMicrophone

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "bench/results/latency.json"
PLOTS = ROOT / "bench/plots"
STAGGER_S = 0.9  # between the starts of two files, so that utterances do not begin together


@dataclass(frozen=True)
class Speculation:
    """Decodes before the end of an utterance."""

    early_jobs: int
    early_used: int  # the others were wasted
    interims: dict[str, float]  # share of the time at each level of degradation


@dataclass(frozen=True)
class Row:
    """All sources together; seconds, each pair p50 and p95."""

    sources: int
    spoken: int  # utterances
    answered: int  # of these, with a final with text
    first_interim_s: tuple[float, float] | None
    committed_s: tuple[float, float] | None
    endpoint_to_final_s: tuple[float, float] | None
    final_s: tuple[float, float] | None
    revised_share: float  # words published and later changed, per word of the finals
    speculation: Speculation
    cores: float
    pss_mib: float
    load: float  # of the machine, before the measurement


def main() -> None:
    options = parse_arguments()
    if not options.draw:
        measure_all(options)
    rows = [
        Row(**row | {"speculation": Speculation(**row["speculation"])})
        for row in json.loads(RESULT.read_text())["rows"]
    ]
    Console(width=110).print(table(rows))
    if options.plot or options.draw:
        plot(rows)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default="faster-whisper", help="as in `voicetap up` (default: %(default)s)")
    parser.add_argument("--model", default="tiny.en", help="as in `voicetap up` (default: %(default)s)")
    parser.add_argument("--sources", type=int, nargs="+", default=[1, 2, 4, 8], help="how many (default: %(default)s)")
    parser.add_argument("--utterances", type=int, default=10, help="of each source (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of voicetap.toml")
    parser.add_argument("--plot", action="store_true", help="draw bench/plots/latency.png and .svg")
    parser.add_argument("--draw", action="store_true", help="draw the last results, measure nothing")
    return parser.parse_args()


def measure_all(options: argparse.Namespace) -> None:
    RESULT.parent.mkdir(exist_ok=True)
    measured = []
    for sources in options.sources:
        with tempfile.TemporaryDirectory(prefix="vt-") as directory:
            measured.append(measure(sources, Path(directory), options))
        rows, raw = zip(*measured, strict=True)  # written after each, so that an interrupted run has results
        found = {"command": sys.argv[1:], "rows": [asdict(row) for row in rows], "utterances": raw}
        RESULT.write_text(json.dumps(found, indent=1))


def measure(sources: int, directory: Path, options: argparse.Namespace) -> tuple[Row, list[dict]]:
    """The row, and the timings it summarises."""
    files = [
        known.build(directory, options.utterances, name=f"s{n}", lead_s=known.PAUSE_S + n * STAGGER_S, first=n)
        for n in range(sources)
    ]
    load = os.getloadavg()[0]
    with VirtualMicrophone(sources) as microphone:
        os.environ |= microphone.environment
        specs = [f"s{n}=mic:{device}" for n, device in enumerate(microphone.devices)]
        settings = dict(each.split("=", 1) for each in options.set)
        with Voicetap(specs, options.engine, options.model, settings) as voicetap:
            spoken, levels, meter = play_and_meter(voicetap, microphone, files)
            status = voicetap.box.status()["sources"]
    found = []
    for n, times in enumerate(spoken):
        found += timings([event for event in voicetap.events if event.source == f"s{n}"], times)
    speculation = Speculation(
        early_jobs=sum(source["early_jobs"] for source in status),
        early_used=sum(source["early_used"] for source in status),
        interims={level: count / levels.total() for level, count in levels.most_common()},
    )
    return row(sources, found, speculation, meter, load), [asdict(timing) for timing in found]


def play_and_meter(
    voicetap: Voicetap, microphone: VirtualMicrophone, files: list[known.Known]
) -> tuple[list, Counter, Meter]:
    """The utterances of each source, a count of the interim levels seen meanwhile, and the cost."""
    levels = Counter()
    wanted = sum(len(file.spoken) for file in files)
    with Meter(voicetap.find()) as meter:
        spoken = playing.play(
            microphone,
            files,
            is_complete=lambda: voicetap.finals() >= wanted,
            poll=lambda: levels.update([voicetap.box.status()["sources"][0]["interims"]]),
        )
    return spoken, levels, meter


def row(sources: int, found: list[Timing], speculation: Speculation, meter: Meter, load: float) -> Row:
    answered = [timing for timing in found if timing.final_s is not None]
    return Row(
        sources=sources,
        spoken=len(found),
        answered=len(answered),
        first_interim_s=both(timing.first_interim_s for timing in answered),
        committed_s=both(late_s for timing in answered for late_s in timing.committed_s),
        endpoint_to_final_s=both(timing.endpoint_to_final_s for timing in answered),
        final_s=both(timing.final_s for timing in answered),
        revised_share=sum(timing.revised for timing in found) / max(1, sum(timing.words for timing in found)),
        speculation=speculation,
        cores=meter.cpu_s / meter.seconds,
        pss_mib=meter.peak_pss_bytes / MIB,
        load=load,
    )


def both(values) -> tuple[float, float] | None:
    values = known_values(values)
    return (percentile(values, 0.5), percentile(values, 0.95)) if values else None


def table(rows: list[Row]) -> Table:
    shown = Table(title="seconds: p50 / p95")
    shown.add_column("sources")
    for each in rows:
        shown.add_column(str(each.sources), justify="right")
    lines = {
        "utterances answered": lambda of: f"{of.answered} of {of.spoken}",
        "onset → first interim": lambda of: pair(of.first_interim_s),
        "word spoken → committed": lambda of: pair(of.committed_s),
        "endpoint → final": lambda of: pair(of.endpoint_to_final_s),
        "end of speech → final": lambda of: pair(of.final_s),
        "words shown and revised (UPWR)": lambda of: f"{of.revised_share:.2f}",
        "early decodes wasted": lambda of: (
            f"{of.speculation.early_jobs - of.speculation.early_used} of {of.speculation.early_jobs}"
        ),
        "interims: level, share of the time": lambda of: shares(of.speculation.interims),
        "CPU seconds per second of audio": lambda of: f"{of.cores / of.sources:.2f}",
        "cores in use": lambda of: f"{of.cores:.2f}",
        "memory of everything (PSS), MiB": lambda of: f"{of.pss_mib:.0f}",
        "load of the machine before": lambda of: f"{of.load:.1f}",
    }
    for title, text in lines.items():
        shown.add_row(title, *map(text, rows))
    return shown


def pair(values: tuple[float, float] | None) -> str:
    return f"{values[0]:.2f} / {values[1]:.2f}" if values else "-"


def shares(of: dict[str, float]) -> str:
    return "\n".join(f"{level or 'none'} {share:.0%}" for level, share in of.items())


def plot(rows: list[Row]) -> None:
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams |= {"svg.hashsalt": "voicetap", "svg.fonttype": "none", "font.size": 10}
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    latency, cost = figure.subplots(1, 2)
    curves = {"end of speech → final": "final_s", "endpoint → final": "endpoint_to_final_s"}
    curves |= {"onset → first interim": "first_interim_s", "word → committed": "committed_s"}
    for label, name in curves.items():
        draw(latency, label, [(each.sources, getattr(each, name)) for each in rows if getattr(each, name)])
    cost.plot([each.sources for each in rows], [each.cores for each in rows], "o-", color="black")
    latency.set(ylabel="seconds: p50, and up to p95", xlabel="microphones, all in use", ylim=(0, None))
    cost.set(ylabel="cores in use", xlabel="microphones, all in use", ylim=(0, None))
    for axes in (latency, cost):
        axes.set_xticks([each.sources for each in rows])
        axes.grid(alpha=0.3)
    latency.legend(fontsize="small")
    PLOTS.mkdir(exist_ok=True)
    figure.savefig(PLOTS / "latency.png", dpi=110)
    figure.savefig(PLOTS / "latency.svg", metadata={"Date": None})


def draw(axes, label: str, points: list[tuple[int, tuple[float, float]]]) -> None:
    if points:
        sources, values = zip(*points, strict=True)
        p50_s, p95_s = zip(*values, strict=True)
        (line,) = axes.plot(sources, p50_s, "o-", label=label)
        axes.fill_between(sources, p50_s, p95_s, alpha=0.15, color=line.get_color(), linewidth=0)


if __name__ == "__main__":
    main()
