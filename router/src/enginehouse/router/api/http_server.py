"""The HTTP/1.1 server that Envoy asks: no framework, since a request does little else than be read and answered."""

from __future__ import annotations

import asyncio
import socket

from enginehouse.kit.addresses import Address, parse_listen
from enginehouse.kit.config import ConfigError
from enginehouse.router.api.http_connection import HttpConnection, HttpHandler

_BACKLOG = 4096
# How long answers that wait for something may take once the server closes, in seconds.
_CLOSE_S = 2.0


class CheckServer:
    """Serves one handler.

    Args:
        handler: answers the requests.
        listen: `host:port`; port 0 takes a free one.
        max_body_bytes: a request with a larger body is refused without being read to its end.
    """

    def __init__(self, *, handler: HttpHandler, listen: str, max_body_bytes: int) -> None:
        self._handler = handler
        self._listen = parse_listen(listen)
        self._max_body_bytes = max_body_bytes
        self._connections: set[HttpConnection] = set()
        self._none = asyncio.Event()
        self._none.set()
        self._closing = False
        self._server: asyncio.Server | None = None

    async def start(self) -> Address:
        """Listen, and return the address with the port taken. Raises ConfigError if it can't be listened on."""
        family = socket.AF_INET6 if ":" in self._listen.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Its connections inherit it. Envoy keeps them, and one that we close for being idle is a failed check; but one
        # whose peer is gone without a word must end.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        try:
            listener.bind((self._listen.host, self._listen.port))
        except OSError as error:
            listener.close()
            raise ConfigError(
                f"http_listen {self._listen} cannot be listened on: {error.strerror}; stop what uses it or configure "
                "another"
            ) from error
        port = listener.getsockname()[1]
        self._server = await asyncio.get_running_loop().create_server(self._connection, sock=listener, backlog=_BACKLOG)
        return Address(self._listen.host, port)

    async def close(self) -> None:
        """Answer what has arrived and stop."""
        if self._server is None:
            return
        self._server.close()
        # What lies in the sockets' buffers is read in the loop's next round.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self._closing = True
        for connection in list(self._connections):
            connection.stop()
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._none.wait()
        except TimeoutError:
            for connection in list(self._connections):
                connection.abort()
            await self._none.wait()
        await self._server.wait_closed()

    def _connection(self) -> HttpConnection:
        return HttpConnection(
            handler=self._handler,
            max_body_bytes=self._max_body_bytes,
            opened=self._opened,
            closed=self._closed,
        )

    def _opened(self, connection: HttpConnection) -> None:
        self._connections.add(connection)
        self._none.clear()
        if self._closing:
            connection.stop()

    def _closed(self, connection: HttpConnection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._none.set()
