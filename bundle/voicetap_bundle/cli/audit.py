"""`voicetap audit`: checks that all captured sound is accounted for, while the bundle runs."""

import json
import sys

import click

from voicetap import config

from ..audit import audit


@click.command("audit")
@click.option("--json", "as_json", is_flag=True, help='Print {"violations": [...], "streams": [...]}.')
def command(as_json: bool) -> None:
    """Check that nothing was lost or doubled. Exit code 1 names what was.

    Every frame that was captured lies in exactly one utterance, silence or gap, and each of those has one entry.
    """
    result = audit(config.load())
    if as_json:
        click.echo(json.dumps(result, indent=2))
    else:
        _print(result)
    sys.exit(bool(result["violations"]))


def _print(result: dict[str, list]) -> None:
    for stream in result["streams"]:
        click.echo(
            "{source} ({stream}): {heard_s:.1f} s captured: {utterance_s:.1f} s in {utterances} utterances, "
            "{gap_s:.1f} s in {gaps} gaps, {silence_s:.1f} s silence, {undecided_s:.1f} s not decided yet; "
            "{waiting} waiting for their text".format(**stream)
        )
    for text in result["violations"]:
        click.echo(f"✗ {text}")
    if not result["violations"]:
        click.echo("✓ every frame is in one utterance, silence or gap, and each of those has its one entry")
