"""AsyncTap: a Tap for asyncio programs: `async for entry in tap`.

The Tap runs in one thread of its own. ZeroMQ's asyncio integration was not taken: a Tap also acts on timers (it
requests missing entries), and one thread with a blocking poll is the code that the Tap's own tests cover.
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .tap import Tap, TapMessage

POLL_S = 0.25  # the longest time that `aclose` waits for the thread


class AsyncTap:
    """As `Tap`, with the same arguments. Use it in `async with`, and iterate it.

    A cancelled read loses nothing: the message is returned by the next one. Belongs to one event loop.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        self._arguments = (args, kwargs)
        self._thread = ThreadPoolExecutor(1, "tap")
        self._tap: Tap | None = None
        self._pending: asyncio.Future[TapMessage | None] | None = None

    async def __aenter__(self) -> "AsyncTap":
        args, kwargs = self._arguments
        self._tap = await asyncio.get_running_loop().run_in_executor(self._thread, lambda: Tap(*args, **kwargs))
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the sockets and ends the thread. May be called again."""
        tap, self._tap = self._tap, None
        if tap:
            await asyncio.get_running_loop().run_in_executor(self._thread, tap.close)
        self._thread.shutdown(wait=False)

    def __aiter__(self) -> AsyncIterator[TapMessage]:
        return self

    async def __anext__(self) -> TapMessage:
        while self._tap:
            if self._pending is None:
                loop = asyncio.get_running_loop()
                self._pending = loop.run_in_executor(self._thread, self._tap.next, POLL_S)
            message = await asyncio.shield(self._pending)
            self._pending = None
            if message is not None:
                return message
        raise StopAsyncIteration
