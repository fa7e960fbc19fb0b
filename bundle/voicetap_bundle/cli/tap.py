"""`voicetap tap`: prints, counts or records the messages of any PUB/SUB link, for debugging."""

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

INTERVAL_S = 1.0


@click.command("tap")
@click.argument("name", metavar="LINK")
@click.option(
    "--rate", is_flag=True, help="Once a second, how many messages of each type came, and how many are expected."
)
@click.option("--record", type=click.File("wb"), metavar="FILE", help="Append the messages to a file, as msgpack.")
@click.option("--topic", default="", help="Only topics that begin with this.")
def command(name: str, rate: bool, record: BinaryIO | None, topic: str) -> None:
    """Watch a link, for debugging.

    LINK is transcript, commits, audio-SOURCE or heartbeat-PROGRAM, such as audio-mic or heartbeat-vad.
    """
    link = _link(name)
    with Bus("app", load()) as bus:
        receiver = bus.receiver(link, (topic,))
        while True:
            bus.wait(INTERVAL_S)
            if rate:
                click.echo(rate_line(_count(bus, receiver), link.rate_hz))
            elif record:
                record.writelines(encode(message) for message in receiver)
                record.flush()
            else:
                for message in receiver:
                    _print(message)


def rate_line(counts: Counter[str], expected_hz: float) -> str:
    """The number of messages of each type in one second, then their sum beside the link's expected rate."""
    measured = "".join(f"{kind} {count}/s  " for kind, count in sorted(counts.items())) or "nothing  "
    expected = f"{expected_hz:g}/s expected" if expected_hz else "on demand"
    return f"{measured}({counts.total()}/s, {expected})"


def _link(name: str) -> Link:
    kind, _, key = name.partition("-")
    if kind not in links.LINKS:
        raise SettingsError(f"there is no link {name}{nearest(name, links.LINKS)}")
    link = links.LINKS[kind]
    if link.pattern is not Pattern.PUB_SUB:
        raise click.UsageError(f"{kind} is PUSH/PULL: reading a message would take it from its receiver")
    if bool(link.per) != bool(key):
        raise click.UsageError(f"{kind} exists once per {link.per}: {kind}-NAME" if link.per else f"it is just {kind}")
    return link.of(key)


def _count(bus: Bus, receiver: Receiver) -> Counter[str]:
    """The messages of each type within INTERVAL_S."""
    counts: Counter[str] = Counter()
    until_s = time.monotonic() + INTERVAL_S
    while (left_s := until_s - time.monotonic()) > 0:
        bus.wait(left_s)
        counts.update(type_name(type(message)) for message in receiver)
    return counts


def _print(message: object) -> None:
    click.echo(json.dumps(as_wire(message), ensure_ascii=False, default=lambda pcm: base64.b64encode(pcm).decode()))
