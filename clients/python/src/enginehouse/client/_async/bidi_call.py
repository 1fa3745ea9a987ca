"""Bidirectional streaming calls with asyncio."""

from __future__ import annotations

from asyncio import InvalidStateError
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import grpc

Value = TypeVar("Value")

_NOT_SENT = "Internal error from Core"


class BidiCall:
    """A bidirectional call that reports the status that the server sent.

    grpc.aio overwrites the server's status with INTERNAL when a message can no longer be sent. A writer to a call that
    was just refused would then never learn the reason. This class notes the status when it arrives.

    Args:
        call: a call of a method that streams in both directions, without messages yet.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._error: grpc.aio.AioRpcError | None = None
        self._done = False
        call.add_done_callback(self._note_status)

    @property
    def error(self) -> grpc.aio.AioRpcError | None:
        """The error that ended the call; None while it runs, or if it ended without one."""
        return self._error

    async def write(self, message: Any) -> bool:
        """Send a message. Return False if the call has ended or `done_writing` was called."""
        try:
            await self._call.write(message)
        except (InvalidStateError, grpc.RpcError):
            return False
        return True

    async def done_writing(self) -> None:
        """Tell the server that no more messages come."""
        await self._call.done_writing()

    def cancel(self) -> None:
        """Cancel the call."""
        self._call.cancel()

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Yield the server's messages. Raise grpc.RpcError if the call fails, and CancelledError after `cancel`."""
        try:
            async for message in self._call:
                yield message
        except grpc.RpcError:
            if self._error is not None:
                raise self._error from None

    def _note_status(self, _: Any) -> None:
        if self._done and (self._error is None or self._error.details() != _NOT_SENT):
            return
        self._done = True
        code = _result(self._call.code())
        self._error = None
        if code is not grpc.StatusCode.OK:
            initial, trailing = _result(self._call.initial_metadata()), _result(self._call.trailing_metadata())
            self._error = grpc.aio.AioRpcError(code, initial, trailing, details=_result(self._call.details()))


def _result(coroutine: Coroutine[Any, Any, Value]) -> Value:
    """Return the result of a coroutine that does not wait, such as those of a call that is done."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        value: Value = done.value
        return value
    coroutine.close()
    raise RuntimeError(f"{coroutine!r} waits, although its call is done")
