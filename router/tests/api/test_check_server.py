"""The server of checks, through real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Mapping

import pytest

from enginehouse.kit.config import ConfigError
from enginehouse.kit.tasks import in_task
from enginehouse.router.api.http_connection import MAX_HEAD_BYTES, HttpAnswer
from enginehouse.router.api.http_server import CheckServer

MAX_BODY = 100_000


@dataclasses.dataclass
class Echo:
    """Answers with the target and the body. `/wait` waits for `gate`, `/long` is a megabyte, `/timed` has a timeout."""

    gate: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    waiting: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    headers: Mapping[bytes, bytes] = dataclasses.field(default_factory=dict)
    answered: int = 0
    tasks: list[bool] = dataclasses.field(default_factory=list)

    async def answer(self, target: bytes, headers: Mapping[bytes, bytes], body: bytes) -> HttpAnswer:
        """Answer."""
        self.headers = headers
        self.tasks.append(asyncio.current_task() is not None)
        if target == b"/wait":
            self.waiting.set()
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if target == b"/timed":
            await in_task()
            async with asyncio.timeout(10):
                await asyncio.sleep(0.001)
        self.answered += 1
        return _answer(target + b" " + body + (b"x" * 1_000_000 if target == b"/long" else b""))

    def too_large(self, target: bytes, headers: Mapping[bytes, bytes]) -> HttpAnswer:
        """Refuse."""
        return HttpAnswer(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 9\r\n", b"too large")


def _answer(body: bytes) -> HttpAnswer:
    return HttpAnswer(f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n".encode(), body)


class Peer:
    """A connection, as a client has it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)

    def post(self, target: str, body: bytes = b"", *, extra: str = "") -> None:
        """Send a request."""
        self.send(
            f"POST {target} HTTP/1.1\r\nHost: router\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body
        )

    async def head(self) -> tuple[int, dict[str, str]]:
        """Read the status and the headers of an answer."""
        text = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)).decode()
        first, *lines = text.rstrip().split("\r\n")
        return int(first.split(" ")[1]), dict(line.split(": ", 1) for line in lines)

    async def read(self) -> tuple[int, bytes, dict[str, str]]:
        """Read an answer."""
        status, headers = await self.head()
        return status, await self.reader.readexactly(int(headers["content-length"])), headers

    async def ended(self) -> bool:
        """Wait for the end of what the server sends; return whether nothing else came before it."""
        return await asyncio.wait_for(self.reader.read(), 20) == b""


@dataclasses.dataclass
class Served:
    """A server, its handler and its address."""

    server: CheckServer
    echo: Echo
    port: int
    peers: list[Peer] = dataclasses.field(default_factory=list)

    async def connect(self) -> Peer:
        """Connect to it."""
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self.port))
        self.peers.append(peer)
        return peer


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A server on a free port, closed at the end."""
    echo = Echo()
    server = CheckServer(handler=echo, listen="127.0.0.1:0", max_body_bytes=MAX_BODY)
    address = await server.start()
    made = Served(server, echo, address.port)
    yield made
    for peer in made.peers:
        peer.writer.close()
        with contextlib.suppress(OSError):
            await peer.writer.wait_closed()
    await server.close()


async def test_requests_on_one_connection_without_a_task(served: Served) -> None:
    peer = await served.connect()
    for number in range(3):
        peer.post(f"/{number}", b"body", extra="X-Given: Value\r\n")
        status, body, headers = await peer.read()
        assert (status, body, "connection" in headers) == (200, f"/{number} body".encode(), False)
    assert served.echo.headers[b"x-given"] == b"Value"
    assert served.echo.tasks == [False] * 3


async def test_answers_in_the_order_of_requests_though_the_first_waits(served: Served) -> None:
    peer = await served.connect()
    peer.post("/wait")
    peer.post("/second", b"two")
    peer.post("/third")
    await served.echo.waiting.wait()
    served.echo.gate.set()
    assert [(await peer.read())[1] for _ in range(3)] == [b"/wait ", b"/second two", b"/third "]


async def test_a_request_that_arrives_in_pieces(served: Served) -> None:
    peer = await served.connect()
    request = b"POST /pieces HTTP/1.1\r\nHost: r\r\nX-A: b\r\nContent-Length: 6\r\n\r\nabcdef"
    for place in range(len(request)):
        peer.send(request[place : place + 1])
        await peer.writer.drain()
        await asyncio.sleep(0)
    assert (await peer.read())[1] == b"/pieces abcdef"
    assert served.echo.headers == {b"host": b"r", b"x-a": b"b", b"content-length": b"6"}


async def test_a_chunked_body_whose_trailers_are_no_headers(served: Served) -> None:
    peer = await served.connect()
    peer.send(b"POST /chunked HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n")
    peer.send(b"3\r\nabc\r\n2\r\nde\r\n0\r\nAuthorization: Bearer stolen\r\n\r\n")
    assert (await peer.read())[1] == b"/chunked abcde"
    assert b"authorization" not in served.echo.headers
    peer.post("/next")
    assert (await peer.read())[1] == b"/next "


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_refused_after_what_came_before(served: Served, chunked: bool) -> None:
    peer = await served.connect()
    peer.post("/before")
    if chunked:
        peer.send(b"POST /large HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(MAX_BODY // 10_000 + 1):
            peer.send(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
    else:
        peer.send(f"POST /large HTTP/1.1\r\nContent-Length: {MAX_BODY + 1}\r\n\r\n".encode())
        # More than the socket's buffers hold arrives after the refusal, and must not take it away.
        peer.send(b"x" * (MAX_BODY + 1))
    peer.post("/after")
    assert (await peer.read())[1] == b"/before "
    status, body, headers = await peer.read()
    assert (status, body, headers["connection"]) == (413, b"too large", "close")
    assert await peer.ended()
    assert served.echo.answered == 1


async def test_a_body_at_the_limit_is_taken(served: Served) -> None:
    peer = await served.connect()
    peer.post("/full", b"x" * MAX_BODY)
    assert (await peer.read())[1] == b"/full " + b"x" * MAX_BODY


async def test_whoever_asks_whether_to_go_on_is_told(served: Served) -> None:
    peer = await served.connect()
    peer.send(b"POST /asked HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert await peer.head() == (100, {})
    peer.send(b"abc")
    assert (await peer.read())[1] == b"/asked abc"
    # Not before the answer to the request before it; nor where the body would be refused.
    peer.post("/wait")
    peer.send(b"POST /asked HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    await served.echo.waiting.wait()
    served.echo.gate.set()
    assert (await peer.read())[1] == b"/wait "
    assert await peer.head() == (100, {})
    peer.send(b"abc")
    assert (await peer.read())[1] == b"/asked abc"
    peer.send(f"POST /asked HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: {MAX_BODY + 1}\r\n\r\n".encode())
    assert (await peer.read())[0] == 413


async def test_an_answer_is_cancelled_when_its_peer_leaves(served: Served) -> None:
    peer = await served.connect()
    peer.post("/wait")
    peer.post("/after")
    await served.echo.waiting.wait()
    peer.writer.close()
    await asyncio.wait_for(served.echo.cancelled.wait(), 20)
    assert served.echo.answered == 0


async def test_closing_answers_what_has_arrived(served: Served) -> None:
    idle, asking = await served.connect(), await served.connect()
    asking.post("/wait")
    asking.post("/second")
    await served.echo.waiting.wait()
    # It is in the socket's buffer when the server begins to close, and was not read yet.
    idle.post("/last")
    await idle.writer.drain()
    closing = asyncio.create_task(served.server.close())
    assert (await idle.read())[1] == b"/last "
    assert await idle.ended()
    served.echo.gate.set()
    assert [(await asking.read())[1] for _ in range(2)] == [b"/wait ", b"/second "]
    assert await asking.ended()
    await closing
    with pytest.raises(ConnectionRefusedError):
        await served.connect()


async def test_closing_waits_for_no_answer_for_ever(served: Served) -> None:
    peer = await served.connect()
    peer.post("/wait")
    await served.echo.waiting.wait()
    await served.server.close()
    assert served.echo.cancelled.is_set()
    with contextlib.suppress(ConnectionResetError):
        assert await peer.ended()


@pytest.mark.parametrize(
    "malformed",
    [
        b"NONSENSE\r\n\r\n",
        b"POST /x HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /x HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /x HTTP/1.1\r\nBad Name: v\r\n\r\n",
        b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_malformed_requests_are_refused_after_what_came_before(served: Served, malformed: bytes) -> None:
    peer = await served.connect()
    peer.post("/before")
    peer.send(malformed)
    assert (await peer.read())[1] == b"/before "
    status, _, headers = await peer.read()
    assert (status, headers["connection"]) == (400, "close")
    assert await peer.ended()
    assert served.echo.answered == 1


@pytest.mark.parametrize("complete", [False, True])
async def test_a_head_over_the_limit_is_refused(served: Served, complete: bool) -> None:
    peer = await served.connect()
    peer.send(b"POST /x HTTP/1.1\r\nX-Long: " + b"y" * (MAX_HEAD_BYTES + 1) + (b"\r\n\r\n" if complete else b""))
    status, _, headers = await peer.read()
    assert (status, headers["connection"]) == (431, "close")
    assert await peer.ended()


async def test_endless_trailers_are_refused(served: Served) -> None:
    peer = await served.connect()
    peer.send(b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n")
    for number in range(200):
        peer.send(f"X-{number}: ".encode() + b"y" * 4096 + b"\r\n")
    assert (await peer.read())[0] == 431
    assert served.echo.answered == 0


async def test_a_peer_that_does_not_read_is_answered_no_more(served: Served) -> None:
    peer = await served.connect()
    for _ in range(200):
        peer.post("/long")
    seen = -1
    while seen != served.echo.answered:
        seen = served.echo.answered
        await asyncio.sleep(0.2)
    assert 0 < seen < 200
    for _ in range(200):
        assert len((await peer.read())[1]) > 1_000_000


@pytest.mark.parametrize("request_line", ["POST /bye HTTP/1.0\r\n", "POST /bye HTTP/1.1\r\nConnection: close\r\n"])
async def test_a_connection_ends_where_its_peer_says_so(served: Served, request_line: str) -> None:
    peer = await served.connect()
    peer.send(f"{request_line}\r\n".encode())
    peer.post("/ignored")
    status, body, headers = await peer.read()
    assert (status, body, headers["connection"]) == (200, b"/bye ", "close")
    assert await peer.ended()


async def test_a_head_is_asked_for_alone(served: Served) -> None:
    peer = await served.connect()
    peer.send(b"HEAD /only HTTP/1.1\r\n\r\n")
    assert await peer.head() == (200, {"content-length": "6"})
    peer.post("/next")
    assert (await peer.read())[1] == b"/next "


async def test_an_answer_may_move_into_a_task_before_it_waits(served: Served) -> None:
    peer = await served.connect()
    peer.post("/timed")
    peer.post("/next")
    assert [(await peer.read())[1] for _ in range(2)] == [b"/timed ", b"/next "]


async def test_a_port_that_is_taken_is_named(served: Served) -> None:
    other = CheckServer(handler=served.echo, listen=f"127.0.0.1:{served.port}", max_body_bytes=1)
    with pytest.raises(ConfigError, match=f"127.0.0.1:{served.port} cannot be listened on"):
        await other.start()
