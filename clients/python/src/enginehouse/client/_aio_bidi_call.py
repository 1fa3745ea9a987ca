"""Calls in which both sides stream, with asyncio."""

from __future__ import annotations

from asyncio import InvalidStateError
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import grpc

Value = TypeVar("Value")

_NOT_SENT = "Internal error from Core"


class BidiCall:
    """A call whose end is the one that the other side gave.

    grpc.aio puts INTERNAL over the status that came where a message could not be sent any more, so that who writes to a
    call that was just refused would never learn why. Here the status is noted when it comes.

    Args:
        call: of a method in which both sides stream, without messages yet.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._error: grpc.aio.AioRpcError | None = None
        self._over = False
        call.add_done_callback(self._note)

    @property
    def error(self) -> grpc.aio.AioRpcError | None:
        """How it has ended; None where it has not, or as it should."""
        return self._error

    async def write(self, message: Any) -> bool:
        """Sends a message; False where the call is over, or `done_writing` was called."""
        try:
            await self._call.write(message)
        except (InvalidStateError, grpc.RpcError):
            return False
        return True

    async def done_writing(self) -> None:
        """Says that no more messages come."""
        await self._call.done_writing()

    def cancel(self) -> None:
        """Ends it on this side."""
        self._call.cancel()

    async def __aiter__(self) -> AsyncIterator[Any]:
        """The other side's messages. Raises grpc.RpcError, and CancelledError after `cancel`."""
        try:
            async for message in self._call:
                yield message
        except grpc.RpcError:
            if self._error is not None:
                raise self._error from None

    def _note(self, _: Any) -> None:
        if self._over and (self._error is None or self._error.details() != _NOT_SENT):
            return
        self._over = True
        code = _now(self._call.code())
        self._error = None
        if code is not grpc.StatusCode.OK:
            initial, trailing = _now(self._call.initial_metadata()), _now(self._call.trailing_metadata())
            self._error = grpc.aio.AioRpcError(code, initial, trailing, details=_now(self._call.details()))


def _now(coroutine: Coroutine[Any, Any, Value]) -> Value:
    """What a coroutine gives that has nothing to wait for, as those of a call that is done."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        value: Value = done.value
        return value
    coroutine.close()
    raise RuntimeError(f"{coroutine!r} waits, though its call is done")
