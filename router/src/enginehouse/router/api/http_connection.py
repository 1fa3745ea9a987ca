"""One connection to the server of checks: HTTP/1.1 requests in, their answers out in the same order.

An answer is a coroutine. It runs within the connection's own callback up to its first wait, and becomes a task only
then: most never wait. What needs a current task before that, as `asyncio.timeout` does, awaits `in_task` first.
"""

from __future__ import annotations

import asyncio
import logging
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any, NamedTuple, Protocol

import httptools

_log = logging.getLogger(__name__)

MAX_HEAD_BYTES = 64 * 1024
"""The most bytes of a request's target and headers, and of a chunked body's trailers."""

# Envoy waits for an answer before it sends the next request; whoever does not is read no further than this.
_MAX_WAITING = 16
_MAX_WAITING_BYTES = 1 << 20
# How long a peer whose request was not read to its end may take to read the answer, in seconds.
_LINGER_S = 2.0

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class HttpAnswer(NamedTuple):
    """An answer: status line and headers, each with its line's end, without the empty line; and the body."""

    head: bytes
    body: bytes


class HttpHandler(Protocol):
    """Answers requests: their target, their headers by lower-case name, and their body."""

    def answer(self, target: bytes, headers: dict[bytes, bytes], body: bytes) -> Coroutine[Any, Any, HttpAnswer]:
        """Answer one. It is cancelled if the peer leaves."""

    def too_large(self, target: bytes, headers: dict[bytes, bytes]) -> HttpAnswer:
        """Answer one whose body is over the server's limit; it is not read to its end."""


class _Request(NamedTuple):
    target: bytes
    headers: dict[bytes, bytes]
    body: bytes
    keep_alive: bool
    bodiless_answer: bool
    too_large: bool


class HttpConnection(asyncio.Protocol):
    """One connection.

    Args:
        handler: answers.
        max_body_bytes: a larger body is refused, and the connection closed.
        opened: is called once there is a connection.
        closed: is called once there is none.
    """

    def __init__(
        self,
        *,
        handler: HttpHandler,
        max_body_bytes: int,
        opened: Callable[[HttpConnection], None],
        closed: Callable[[HttpConnection], None],
    ) -> None:
        self._handler = handler
        self._max_body_bytes = max_body_bytes
        self._opened = opened
        self._closed = closed
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        # The request that is being read.
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._body = b""
        self._parts: list[bytes] = []
        self._size = 0
        self._in_head = True
        self._keep_alive = True
        self._bodiless_answer = False
        self._expects_continue = False
        # Bytes that brought neither a head's end nor any of a body.
        self._unfruitful = 0
        # Those that were read and wait for their turn, and the one whose answer waits for something.
        self._waiting: deque[_Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._reading = True
        self._writable = True
        # Nothing more is read from it: the last answer, if one has to follow those to the requests before it.
        self._last: bytes | None = None
        self._stopping = False
        self._lingering: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        """Answer what has arrived, then close."""
        self._stopping = True
        if self._task is None and not self._waiting:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    # What the transport calls.

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        # uvloop's is no subclass of asyncio's.
        self._transport = transport
        self._opened(self)

    def data_received(self, data: bytes) -> None:
        """Read on, and answer what is complete."""
        if self._last is not None:
            return
        self._unfruitful += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # What follows a request that closes the connection is not read.
            if self._last is None:
                self._last = _BAD_REQUEST
        if self._unfruitful > MAX_HEAD_BYTES and self._last is None:
            self._last = _HEAD_TOO_LARGE
        self._advance()

    def pause_writing(self) -> None:
        """Answer no more until the peer has read."""
        self._writable = False

    def resume_writing(self) -> None:
        """Go on."""
        self._writable = True
        self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up what is not answered."""
        self._waiting.clear()
        if self._lingering is not None:
            self._lingering.cancel()
        if self._task is None:
            self._closed(self)
        else:
            self._task.add_done_callback(lambda _: self._closed(self))
            self._task.cancel()

    # What the parser calls.

    def on_url(self, part: bytes) -> None:
        """A part of the target."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which nothing here reads."""
        if self._in_head:
            self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """The body comes next, if there is one."""
        parser, headers = self._parser, self._headers
        self._in_head = False
        if self._unfruitful > MAX_HEAD_BYTES and _size(self._target, headers) > MAX_HEAD_BYTES:
            self._last = self._last or _HEAD_TOO_LARGE
            return
        self._unfruitful = 0
        self._keep_alive = parser.should_keep_alive()
        self._bodiless_answer = parser.get_method() == b"HEAD"
        length = headers.get(b"content-length")
        if length is not None and int(length) > self._max_body_bytes:
            self._refuse_body()
        elif b"expect" in headers:
            self._expects_continue = headers[b"expect"].lower() == b"100-continue"

    def on_body(self, part: bytes) -> None:
        """A part of the body."""
        self._unfruitful = 0
        if not self._size:
            self._body, self._size = part, len(part)
        else:
            if not self._parts:
                self._parts.append(self._body)
            self._parts.append(part)
            self._size += len(part)
        if self._size > self._max_body_bytes:
            self._refuse_body()

    def on_message_complete(self) -> None:
        """A request has arrived whole."""
        self._unfruitful = 0
        if self._last is None:
            if self._parts:
                self._body = b"".join(self._parts)
            self._take(too_large=False)
        self._target, self._headers, self._body, self._size = b"", {}, b"", 0
        self._parts.clear()
        self._in_head = True
        self._expects_continue = False

    def _refuse_body(self) -> None:
        if self._last is None:
            self._body, self._keep_alive = b"", False
            self._parts.clear()
            self._take(too_large=True)

    def _take(self, *, too_large: bool) -> None:
        self._waiting.append(
            _Request(self._target, self._headers, self._body, self._keep_alive, self._bodiless_answer, too_large)
        )
        if not self._keep_alive:
            self._last = b""

    # Answers, in the order of their requests.

    def _advance(self) -> None:
        """Answer what can be answered now."""
        waiting = self._waiting
        while waiting and self._task is None and self._writable:
            if self._transport.is_closing():
                # Nobody would learn what was decided.
                waiting.clear()
                return
            request = waiting.popleft()
            if request.too_large:
                self._write(request, self._handler.too_large(request.target, request.headers))
                continue
            answer = self._handler.answer(request.target, request.headers, request.body)
            try:
                waits_for = answer.send(None)
            except StopIteration as done:
                self._write(request, done.value)
            else:
                self._task = asyncio.get_running_loop().create_task(
                    self._finish(request, answer, waits_for), name="check"
                )
        if waiting or self._task is not None:
            if self._reading and (
                len(waiting) > _MAX_WAITING or sum([len(request.body) for request in waiting]) > _MAX_WAITING_BYTES
            ):
                self._reading = False
                self._transport.pause_reading()
            return
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()
        if self._last is not None:
            self._end(self._last)
        elif self._stopping:
            self._transport.close()
        elif self._expects_continue:
            self._expects_continue = False
            self._transport.write(_CONTINUE)

    async def _finish(self, request: _Request, answer: Coroutine[Any, Any, HttpAnswer], waits_for: Any) -> None:
        try:
            found = await _resumed(answer, waits_for)
        except Exception:
            _log.exception("an answer failed")
            self._transport.abort()
            return
        finally:
            self._task = None
        self._write(request, found)
        self._advance()

    def _write(self, request: _Request, answer: HttpAnswer) -> None:
        head, body = answer
        if not request.keep_alive or (self._stopping and not self._waiting):
            head += b"connection: close\r\n"
        self._transport.write(b"".join((head, b"\r\n", b"" if request.bodiless_answer else body)))

    def _end(self, last: bytes) -> None:
        """Write the last answer, and close once the peer has had time to read it.

        Closing while unread bytes of it arrive would reset the connection, and the answer would be lost.
        """
        if self._lingering is None and not self._transport.is_closing():
            self._transport.write(last)
            self._transport.write_eof()
            self._lingering = asyncio.get_running_loop().call_later(_LINGER_S, self._transport.close)


@types.coroutine
def _resumed(begun: Coroutine[Any, Any, HttpAnswer], waits_for: Any) -> Generator[Any, Any, HttpAnswer]:
    """Go on with a coroutine that was begun outside a task and waits for something."""
    try:
        while True:
            try:
                sent = yield waits_for
            except BaseException as error:
                waits_for = begun.throw(error)
            else:
                waits_for = begun.send(sent)
    except StopIteration as done:
        answer: HttpAnswer = done.value
        return answer


def _size(target: bytes, headers: dict[bytes, bytes]) -> int:
    return len(target) + sum([len(name) + len(value) for name, value in headers.items()])
