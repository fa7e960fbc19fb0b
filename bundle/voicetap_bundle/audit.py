"""`voicetap audit`: shows that all that was heard is accounted for, on a bundle that goes on running undisturbed."""

import json
import os
import subprocess
import sys

import click

from voicetap import Tap, config
from voicetap.settings import Settings

from .accounts import Books, Claim, Run, claim_of, sequence_violations, summary, violations
from .box import BundleError

PATIENCE_S = 20.0
EXIT_NOTHING_RUNS = 3

Committed = tuple[int, tuple[str, str], Claim]  # journal_seq, (source, stream), and what it says


@click.command("audit")
@click.option("--json", "as_json", is_flag=True, help='Print {"violations": [...], "streams": [...]}.')
def audit_command(as_json: bool) -> None:
    """Check that nothing was lost or doubled. Exit code 1 names what was.

    Every frame that was captured lies in exactly one utterance, silence or gap, and each of those has one entry.
    """
    found = audit(config.load())
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        _print(found)
    sys.exit(bool(found["violations"]))


def audit(settings: Settings) -> dict[str, list]:
    """`{"violations": [...], "streams": [...]}` of what runs there. Raises BundleError when it cannot be asked."""
    surveys = _ask("voicetap_capture", "--frames", settings)
    lists = _ask("voicetap_vad", "--segments", settings)
    entries = _entries(settings)  # last: what vad has forgotten, journal has
    streams = _books(surveys, lists, entries)
    wrong = [text for books in streams for text in violations(books)]
    in_sequence = sequence_violations(seq for seq, _, _ in entries)
    return {"violations": in_sequence + wrong, "streams": [summary(books) for books in streams]}


def _ask(module: str, question: str, settings: Settings) -> list | dict:
    """Asks the one service that knows the file."""
    asked = subprocess.run(
        [sys.executable, "-P", "-m", module, question],
        env=os.environ | config.as_environment(settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        stdin=subprocess.DEVNULL,
    )
    if asked.returncode:
        raise BundleError(f"{module} {question}: {asked.stderr.strip().rpartition(chr(10))[2]}", 1)
    return json.loads(asked.stdout)


def _entries(settings: Settings) -> list[Committed]:
    try:
        with Tap(since=1, settings=settings) as tap:
            return [(entry.journal_seq, entry.utterance_id[:2], claim_of(entry)) for entry in tap.history()]
    except TimeoutError:
        text = f"nothing runs in {settings.runtime_dir}: journal does not answer"
        raise BundleError(text, EXIT_NOTHING_RUNS) from None


def _books(surveys: list[dict], lists: dict[str, dict], entries: list[Committed]) -> list[Books]:
    rings = {(survey["source"], survey["stream"]): survey for survey in surveys}
    marks = {(source, mark["stream"]): mark for source, found in lists.items() for mark in found["checkpoints"]}
    cuts = [((source, cut["stream"]), _claim(cut)) for source, found in lists.items() for cut in found["segments"]]
    return [
        Books(
            *key,
            **_ring(rings.get(key)),
            **_mark(marks.get(key)),
            cuts=[claim for of, claim in cuts if of == key],
            entries=[claim for _, of, claim in entries if of == key],
            is_retired=bool(entries) and entries[0][0] > 1,
        )
        for key in sorted({*rings, *marks, *(of for _, of, _ in entries)})
    ]


def _ring(survey: dict | None) -> dict[str, object]:
    return {"runs": [Run(*run) for run in survey["runs"]], "damaged": survey["damaged"]} if survey else {}


def _mark(mark: dict | None) -> dict[str, int]:
    if not mark:
        return {}
    return {"decided_seq": mark["seq"], "decided_to": mark["position"], "last_number": mark["last_number"]}


def _claim(cut: dict) -> Claim:
    return Claim(cut["number"], cut["kind"], cut["start_position"], cut["end_position"])


def _print(found: dict[str, list]) -> None:
    for stream in found["streams"]:
        click.echo(
            "{source} ({stream}): {heard_s:.1f} s heard: {utterance_s:.1f} s in {utterances} utterances, "
            "{gap_s:.1f} s in {gaps} gaps, {silence_s:.1f} s silence, {undecided_s:.1f} s not decided yet; "
            "{waiting} waiting for their text".format(**stream)
        )
    for text in found["violations"]:
        click.echo(f"✗ {text}")
    if not found["violations"]:
        click.echo("✓ every frame is in one utterance, silence or gap, and each of those has its one entry")
