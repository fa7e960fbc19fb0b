"""AsyncTap on a real journal: each entry once and in order, also when a read is cancelled."""

import asyncio
import select
from collections.abc import Iterator

import pytest

from rig.sample_messages import final
from voicetap import Tap, links
from voicetap.async_tap import AsyncTap
from voicetap.bus import Bus, Sender
from voicetap.settings import Settings

JOURNAL = "voicetap_journal"


@pytest.fixture
def results(settings: Settings, spawn) -> Iterator[Sender]:
    spawn(JOURNAL)
    with Bus("vad", settings) as bus:
        yield bus.sender(links.RESULTS)


def numbers_of(entries: list) -> list[int]:
    return [entry.utterance_id.number for entry in entries]


def test_entries_are_iterated_in_order(settings, results):
    for number in (2, 1, 3):
        results.send(final(number))

    async def read() -> list:
        async with asyncio.timeout(10), AsyncTap(since=1, settings=settings) as tap:
            return [await anext(tap) for _ in range(3)]

    assert numbers_of(asyncio.run(read())) == [1, 2, 3]


def test_a_cancelled_read_loses_nothing(settings, results):
    async def read() -> list:
        entries = []
        async with asyncio.timeout(20), AsyncTap(since=1, settings=settings) as tap:
            for number in range(1, 6):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(tap), 0.01)
                results.send(final(number))
                entries.append(await anext(tap))
        return entries

    assert numbers_of(asyncio.run(read())) == [1, 2, 3, 4, 5]


def test_a_closed_tap_ends_the_iteration_and_may_be_closed_again(settings):
    async def read() -> list:
        async with asyncio.timeout(10), AsyncTap(settings=settings) as tap:
            await tap.aclose()
            await tap.aclose()
            return [entry async for entry in tap]

    assert asyncio.run(read()) == []


def test_a_tap_has_a_descriptor_for_an_event_loop(settings, results):
    with Tap(since=1, settings=settings) as tap:
        results.send(final(1))
        poller, entries = select.poll(), []
        poller.register(tap.fileno(), select.POLLIN)
        while not entries:
            while (entry := tap.next(timeout_s=0)) is not None:
                entries.append(entry)
            poller.poll(500)
        assert numbers_of(entries) == [1]
