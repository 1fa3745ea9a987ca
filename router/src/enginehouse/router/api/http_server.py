"""The HTTP/1.1 server that Envoy asks: uvicorn, inside our loop and without its signal handling."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

from enginehouse.kit.addresses import Address, parse_listen
from enginehouse.kit.config import ConfigError
from enginehouse.kit.tasks import BackgroundTask


class _Quiet(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are handled once, for the whole process."""
        yield


class CheckServer:
    """Serves one ASGI application.

    Args:
        app: the application.
        listen: `host:port`; port 0 takes a free one.
    """

    def __init__(self, *, app: Any, listen: str) -> None:
        self._listen = parse_listen(listen)
        self._server = _Quiet(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                date_header=False,
                # Envoy is the only client, and who its own client is stands in a header that we read ourselves.
                proxy_headers=False,
                # Envoy keeps its connections; one that we close under its feet is a failed check.
                timeout_keep_alive=3600,
                timeout_graceful_shutdown=2,
                backlog=4096,
            )
        )
        self._task: BackgroundTask | None = None

    async def start(self) -> Address:
        """Listen, and return the address with the port taken. Raises ConfigError if it can't be listened on."""
        family = socket.AF_INET6 if ":" in self._listen.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._listen.host, self._listen.port))
        except OSError as error:
            listener.close()
            raise ConfigError(
                f"http_listen {self._listen} cannot be listened on: {error.strerror}; stop what uses it or configure "
                "another"
            ) from error
        port = listener.getsockname()[1]
        self._task = task = BackgroundTask(lambda: self._server.serve(sockets=[listener]), name="check-server")
        task.start()
        while not self._server.started:
            if not task.running:
                raise ConfigError(f"http_listen {self._listen} cannot be served") from task.failure
            await asyncio.sleep(0.005)
        return Address(self._listen.host, port)

    async def close(self) -> None:
        """Answer what has arrived and stop."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task.wait()
