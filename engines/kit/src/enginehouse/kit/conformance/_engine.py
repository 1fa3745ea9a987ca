"""The engine under test: its address, and its process where the suite starts it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2

from enginehouse.kit.child_process import ChildProcess, start_child
from enginehouse.kit.config import ConfigError
from enginehouse.kit.conformance._calls import CHANNEL_OPTIONS, call

HEALTH = "/grpc.health.v1.Health/Check"
ENVIRONMENT_PREFIX = "ENGINEHOUSE_CONFORMANCE_"


class StartError(Exception):
    """The engine does not start or cannot be reached; the text says why."""


class EngineUnderTest:
    """One engine.

    Args:
        target: where it serves, `host:port`.
        command: starts it; None where it runs already.
        values: what the placeholders `{name}` of the command stand for; the process also has them in its environment.
        log: where the process's output goes.
        start_s: how long it may take to start.
    """

    def __init__(
        self, *, target: str, command: str | None, values: Mapping[str, str], log: Path, start_s: float
    ) -> None:
        self.target = target
        self._command = None if command is None else [fill(word, values) for word in shlex.split(command)]
        self._environment = {f"{ENVIRONMENT_PREFIX}{name.upper()}": value for name, value in values.items()}
        self._log = log
        self._start_s = start_s
        self._process: ChildProcess | None = None
        self._channel: grpc.aio.Channel | None = None
        self._groups: list[int] = []
        self.told_to_end = False
        """True if the process was sent a signal since it was started."""

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel to the engine; a new one after each start."""
        assert self._channel is not None
        return self._channel

    @property
    def started_here(self) -> bool:
        """True if the suite starts it."""
        return self._command is not None

    @property
    def exit_status(self) -> int | None:
        """The exit status of the process; None while it runs, or where it is not the suite's."""
        return None if self._process is None else self._process.returncode

    async def start(self) -> None:
        """Start the engine, where that is the suite's, and wait until it answers.

        Raises:
            StartError: it ends or does not answer in time.
        """
        if self._channel is not None:
            await self._channel.close()
        self.told_to_end = False
        if self._command is not None:
            with self._log.open("ab") as log:
                try:
                    self._process = await start_child(
                        self._command,
                        stdout=log,
                        stderr=log,
                        env={**os.environ, **self._environment},
                        start_new_session=True,
                    )
                except OSError as error:
                    raise StartError(f"the command {self._command[0]!r} cannot be run: {error.strerror}") from None
            self._groups.append(self._process.pid)
        self._channel = grpc.aio.insecure_channel(self.target, options=CHANNEL_OPTIONS)
        await self._wait_until_ready()

    async def _wait_until_ready(self) -> None:
        last = "no answer"
        until = time.monotonic() + self._start_s
        while time.monotonic() < until:
            if self.exit_status is not None:
                raise StartError(f"the engine ended with status {self.exit_status} as it started{self._said()}")
            ended = await call(self.channel, HEALTH, [b""], timeout_s=1.0)
            if ended.ok and ended.messages:
                status = health_pb2.HealthCheckResponse.FromString(ended.messages[0]).status
                if status == health_pb2.HealthCheckResponse.SERVING:
                    return
                last = f"its health is {health_pb2.HealthCheckResponse.ServingStatus.Name(status)}"
            elif ended.code not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                # It serves; the rules on health say what is wrong.
                return
            else:
                last = str(ended)
            await asyncio.sleep(0.05)
        raise StartError(f"the engine at {self.target} is not ready after {self._start_s:g} s: {last}{self._said()}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        assert self._process is not None
        self.told_to_end = True
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def wait(self, *, timeout_s: float) -> int | None:
        """Wait for the end of the process and return its exit status; None if it still runs after `timeout_s`."""
        assert self._process is not None
        try:
            async with asyncio.timeout(timeout_s):
                return await self._process.wait()
        except TimeoutError:
            return None

    async def close(self) -> None:
        """End the process, with whatever it started, and the channel."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None
        if self._process is not None and self._process.returncode is None:
            self.signal(signal.SIGTERM)
            if await self.wait(timeout_s=5.0) is None:
                self.signal(signal.SIGKILL)
                await self._process.wait()
        for group in self._groups:
            # Children that a killed engine left behind.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)

    def check_runs(self) -> None:
        """Check that the process still runs: another server may have answered at its address.

        Raises:
            StartError: it ended by itself.
        """
        if self.exit_status is not None and not self.told_to_end:
            raise StartError(
                f"the engine ended by itself with status {self.exit_status} before the first rule{self._said()}"
            )

    def _said(self) -> str:
        """The last lines of the process's output, for an error."""
        if self._command is None or not self._log.exists():
            return ""
        lines = self._log.read_text(errors="replace").splitlines()[-5:]
        return "; its last words: " + " | ".join(line[:300] for line in lines) if lines else "; it printed nothing"


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace each placeholder `{name}` that is known; other braces stay."""
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return text


def write_config(template: Path, values: Mapping[str, str], *, directory: Path) -> Path:
    """Write the configuration file with its placeholders replaced, and return its path.

    Raises:
        ConfigError: the template cannot be read.
    """
    try:
        text = template.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{template}: the configuration cannot be read: {error}") from None
    path = directory / f"config{template.suffix}"
    path.write_text(fill(text, values), encoding="utf-8")
    return path
