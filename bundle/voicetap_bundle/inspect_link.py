"""`voicetap tap`: print, count or record what goes over any PUB/SUB link; a tool for debugging."""

import base64
import json
import time
from collections import Counter
from typing import BinaryIO

import click

from voicetap import links
from voicetap.bus import Bus, Receiver
from voicetap.codec import as_wire, encode, type_name
from voicetap.config import load, nearest
from voicetap.errors import SettingsError
from voicetap.links import Link, Pattern

TURN_S = 1.0


@click.command("tap")
@click.argument("name", metavar="LINK")
@click.option("--rate", is_flag=True, help="Once a second, how many messages of each type came.")
@click.option("--record", type=click.File("wb"), metavar="FILE", help="Append the messages to a file, as msgpack.")
@click.option("--topic", default="", help="Only topics that begin with this.")
def tap_command(name: str, rate: bool, record: BinaryIO | None, topic: str) -> None:
    """Watch a link, for debugging.

    LINK is transcript, commits, audio-SOURCE or heartbeat-PROGRAM, such as audio-mic or heartbeat-vad.
    """
    link = _link(name)
    with Bus("app", load()) as bus:
        receiver = bus.receiver(link, (topic,))
        while True:
            bus.wait(TURN_S)
            if rate:
                _print_rate(bus, receiver)
            elif record:
                record.writelines(encode(message) for message in receiver)
                record.flush()
            else:
                for message in receiver:
                    _print(message)


def _link(name: str) -> Link:
    kind, _, key = name.partition("-")
    if kind not in links.LINKS:
        raise SettingsError(f"there is no link {name}{nearest(name, links.LINKS)}")
    link = links.LINKS[kind]
    if link.pattern is not Pattern.PUB_SUB:
        raise click.UsageError(f"{kind} is PUSH/PULL: to read a message there is to take it from its receiver")
    if bool(link.per) != bool(key):
        raise click.UsageError(f"{kind} exists once per {link.per}: {kind}-NAME" if link.per else f"it is just {kind}")
    return link.of(key)


def _print_rate(bus: Bus, receiver: Receiver) -> None:
    counts: Counter[str] = Counter()
    until_s = time.monotonic() + TURN_S
    while (left_s := until_s - time.monotonic()) > 0:
        bus.wait(left_s)
        counts.update(type_name(type(message)) for message in receiver)
    click.echo("  ".join(f"{kind} {count}/s" for kind, count in sorted(counts.items())) or "nothing")


def _print(message: object) -> None:
    click.echo(json.dumps(as_wire(message), ensure_ascii=False, default=lambda pcm: base64.b64encode(pcm).decode()))
