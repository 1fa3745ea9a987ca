"""A real redis-server for tests: on a Unix socket in a folder of its own, without persistence."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

_BINARY = Path(sys.prefix) / "bin" / "redis-server"
_START_S = 60


class RedisServer:
    """One server process, which a test may kill and start as often as it likes. Its data is gone each time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._socket = directory / "r.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._socket}"

    def start(self) -> None:
        """Start it and wait until it answers."""
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
        """Kill it at once (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._socket.unlink(missing_ok=True)

    def pause(self) -> None:
        """Let it hang: connections stay open, nothing is answered."""
        assert self._process is not None
        self._process.send_signal(19)

    def resume(self) -> None:
        """End the pause."""
        assert self._process is not None
        self._process.send_signal(18)
