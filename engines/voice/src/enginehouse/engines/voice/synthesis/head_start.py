"""A speech's head start: what is made before any of it is sent, so that a short file can begin with its length."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from enginehouse.engines.voice.synthesis.session import SynthesisOutput

HEAD_START_S = 0.2
"""The time that a speech has to be whole, from its first audio, in seconds."""
_MAX_BYTES = 2 * 2**20


class HeadStart:
    """The outputs of a speech, of which the first may be held until it is whole. Use it in an `async with` block,
    inside the one that closes the outputs.

    Args:
        outputs: the outputs as they are made.
        pause: returns after so many seconds.
    """

    def __init__(
        self, outputs: AsyncGenerator[SynthesisOutput, None], *, pause: Callable[[float], Awaitable[object]]
    ) -> None:
        self._outputs = outputs
        self._pause = pause
        self._held: deque[SynthesisOutput] = deque()
        # The output that is being made. It is never cancelled for being late: the speech would end with it.
        self._next: asyncio.Task[SynthesisOutput | None] | None = None
        self._over: asyncio.Future[Any] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        running = [task for task in (self._next, self._over) if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def is_whole(self) -> bool:
        """Hold what is made until it is all there, and return True; False once the time is over, or it is much.

        Raises what the outputs raise.
        """
        size = 0
        while size <= _MAX_BYTES:
            if self._next is None:
                self._next = asyncio.create_task(anext(self._outputs, None), name="voice-head-start")
            await asyncio.wait(
                [self._next] if self._over is None else [self._next, self._over], return_when=asyncio.FIRST_COMPLETED
            )
            if not self._next.done():
                return False
            output, self._next = self._next.result(), None
            if output is None:
                return True
            self._held.append(output)
            size += len(output.audio)
            if size and self._over is None:
                self._over = asyncio.ensure_future(self._pause(HEAD_START_S))
        return False

    async def outputs(self) -> AsyncGenerator[SynthesisOutput, None]:
        """Yield the outputs: those that were held, then the others as they are made."""
        while self._held:
            yield self._held.popleft()
        if self._next is not None:
            output = await self._next
            self._next = None
            if output is None:
                return
            yield output
        async for output in self._outputs:
            yield output
