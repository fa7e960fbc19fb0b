"""Messages as JSON lines, with the fields of the wire."""

import json

import click

from voicetap.codec import as_wire


def json_line(message: object, **more: object) -> str:
    return json.dumps(as_wire(message) | more, ensure_ascii=False)


def print_json(message: object) -> None:
    """One message, one line, at once: a reader may be waiting for it."""
    click.echo(json_line(message))
