"""JSON over HTTP on a Unix socket, for a server in the same process: a tenth of a general client's cost a call."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from pathlib import Path
from typing import Any

import orjson

# The server closes a connection that idled for five seconds; ours give up before that, so none is used as it closes.
_KEEP_IDLE_S = 2.0
_TIMEOUT_S = 30.0


class UnixHttpClient:
    """Keeps connections open between calls.

    Args:
        socket: the server's address.
        key: the bearer token that it asks for.
    """

    def __init__(self, *, socket: Path, key: str) -> None:
        self._socket = str(socket)
        self._headers = f"Host: localhost\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter, float]] = deque()

    async def get(self, path: str) -> Any:
        """The JSON at a path, whatever its status; raises OSError, EOFError, TimeoutError or ValueError."""
        return await self._call(f"GET {path} HTTP/1.1\r\n{self._headers}\r\n".encode())

    async def post(self, path: str, body: Any) -> Any:
        """The JSON answer to a JSON body, whatever its status; raises as `get`."""
        data = orjson.dumps(body)
        head = f"POST {path} HTTP/1.1\r\n{self._headers}Content-Length: {len(data)}\r\n\r\n"
        return await self._call(head.encode() + data)

    async def close(self) -> None:
        """Close the connections that are not in use."""
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
                    # It closed as we wrote. What is asked here changes nothing, so it may be asked again.
                    break
            reader, writer = await asyncio.open_unix_connection(self._socket)
            return await self._exchange(reader, writer, request)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> Any:
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            _, found, rest = head.partition(b"\r\ncontent-length:")
            if not found:
                raise ValueError("the answer has no length")
            answer = await reader.readexactly(int(rest.partition(b"\r\n")[0]))
        except BaseException:
            writer.close()
            raise
        if b"\r\nconnection: close" in head:
            writer.close()
        else:
            self._idle.append((reader, writer, time.monotonic()))
        return orjson.loads(answer)
