"""A real redis-server for tests: on a Unix socket in a folder of its own, without persistence."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_BINARY = Path(sys.prefix) / "bin" / "redis-server"
_START_S = 60


class RedisServer:
    """One server process; `kill` and `start` as often as a test likes. What it held is gone each time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._socket = directory / "r.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._socket}"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        assert self._process is None
        log = self._directory / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    _BINARY, "--port", "0", "--unixsocket", str(self._socket), "--save", "", "--appendonly", "no",
                    "--dir", str(self._directory), "--daemonize", "no",
                ],
                stdout=output,
                stderr=output,
            )  # fmt: skip
        import redis

        deadline = time.monotonic() + _START_S
        while True:
            with redis.Redis(unix_socket_path=str(self._socket)) as client:
                try:
                    client.ping()
                    return
                except redis.exceptions.RedisError:
                    pass
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"redis-server did not start: {log.read_text()}")
            time.sleep(0.01)

    def kill(self) -> None:
        """Kills it at once (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._socket.unlink(missing_ok=True)

    def pause(self) -> None:
        """Lets it hang: connections stay open, nothing is answered."""
        assert self._process is not None
        self._process.send_signal(19)

    def resume(self) -> None:
        """Ends the pause."""
        assert self._process is not None
        self._process.send_signal(18)


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A running server of the test's own."""
    # Not below pytest's own folder: a socket's path may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="eh-redis-") as directory:
        server = RedisServer(Path(directory))
        server.start()
        yield server
        server.kill()
