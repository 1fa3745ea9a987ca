"""JSON over HTTP on a Unix socket, for a server in the same process.

Written by hand: a call costs a tenth of one by a general client, and each request tokenizes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from pathlib import Path
from typing import Any

import orjson

# The server closes a connection after five idle seconds; ours are closed before, so none is used while it closes.
_KEEP_IDLE_S = 2.0
_TIMEOUT_S = 30.0


class UnixHttpClient:
    """A client that keeps connections open between calls.

    Args:
        socket: the server's address.
        key: the bearer token.
    """

    def __init__(self, *, socket: Path, key: str) -> None:
        self._socket = str(socket)
        self._headers = f"Host: localhost\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter, float]] = deque()

    async def get(self, path: str) -> Any:
        """Return the JSON at a path, whatever the status; raise OSError, EOFError, TimeoutError or ValueError."""
        return await self._call(f"GET {path} HTTP/1.1\r\n{self._headers}\r\n".encode())

    async def post(self, path: str, body: Any) -> Any:
        """Return the JSON answer to a JSON body, whatever the status; raise as `get` does."""
        data = orjson.dumps(body)
        head = f"POST {path} HTTP/1.1\r\n{self._headers}Content-Length: {len(data)}\r\n\r\n"
        return await self._call(head.encode() + data)

    async def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop()[1].close()

    async def _call(self, request: bytes) -> Any:
        async with asyncio.timeout(_TIMEOUT_S):
            while self._idle:
                reader, writer, since = self._idle.pop()
                if time.monotonic() - since > _KEEP_IDLE_S:
                    writer.close()
                    continue
                try:
                    return await self._exchange(reader, writer, request)
                except (OSError, EOFError):
                    # The server closed it while we wrote. Calls here change nothing, so they can be repeated.
                    break
            reader, writer = await asyncio.open_unix_connection(self._socket)
            return await self._exchange(reader, writer, request)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> Any:
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            _, found, rest = head.partition(b"\r\ncontent-length:")
            if not found:
                raise ValueError("invalid answer: no length")
            answer = await reader.readexactly(int(rest.partition(b"\r\n")[0]))
        except BaseException:
            writer.close()
            raise
        if b"\r\nconnection: close" in head:
            writer.close()
        else:
            self._idle.append((reader, writer, time.monotonic()))
        return orjson.loads(answer)
