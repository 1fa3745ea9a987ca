"""The messages that a synchronous caller streams to a server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from enginehouse.client.errors import EnginehouseError

Item = TypeVar("Item")
Message = TypeVar("Message")


class RequestStream(Generic[Message]):
    """A first message, and the rest once the server has answered to it.

    So a call that no server took can be sent again, and nothing is lost. gRPC takes the messages in a thread of its
    own.

    Args:
        first: the first message.
        rest: the messages after it.
        cancel: a function that cancels the call; called if the rest raises an exception.
    """

    def __init__(self, first: Message, rest: Iterator[Message], *, cancel: Callable[[], None]) -> None:
        self._first = first
        self._rest = rest
        self._cancel = cancel
        self._attempt = _Attempt()
        self._error: BaseException | None = None

    def next_attempt(self) -> Iterator[Message]:
        """Return the messages of the next attempt. Those of earlier attempts end."""
        self._stop()
        self._attempt = _Attempt()
        return self._run(self._attempt)

    def release(self) -> None:
        """Let the rest be sent, after the server has answered."""
        self._attempt.settled.set()

    def raising_errors(self, items: Iterator[Item]) -> Iterator[Item]:
        """Yield the items of the call. At their end, end the messages and raise the error of the rest, if any."""
        try:
            yield from items
        except EnginehouseError:
            if self._error is None:
                raise
        finally:
            self._stop()
        if self._error is not None:
            raise self._error

    def _stop(self) -> None:
        self._attempt.stopped = True
        self._attempt.settled.set()

    def _run(self, attempt: _Attempt) -> Iterator[Message]:
        yield self._first
        attempt.settled.wait()
        while not attempt.stopped:
            try:
                message = next(self._rest, None)
            except BaseException as error:
                # gRPC would log it and report that the iterator failed; the caller gets the error itself.
                self._error = error
                self._cancel()
                return
            if message is None:
                return
            yield message


class _Attempt:
    """The state of one attempt: `settled` once the server has answered or the attempt has ended."""

    def __init__(self) -> None:
        self.settled = threading.Event()
        self.stopped = False
