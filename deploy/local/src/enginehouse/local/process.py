"""A supervised process: started, probed, restarted when it ends unexpectedly, and stopped in order."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from enginehouse.kit.child_process import ChildProcess, start_child
from enginehouse.local.errors import LocalError
from enginehouse.local.logfiles import last_lines, open_log
from enginehouse.local.pids import process_start_id
from enginehouse.local.probes import Probe
from enginehouse.local.state import Condition, ProcessState

_PROBE_STARTING_S = 0.05
_PROBE_READY_S = 5.0
INITIAL_BACKOFF_S = 0.1
MAX_BACKOFF_S = 15.0
# The backoff starts over for a process that has run this long.
_STABLE_S = 20.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """The specification of a process.

    Attributes:
        name: such as `router`.
        command: the program and its arguments.
        environment: the complete environment.
        log: the file for stdout and stderr.
        probe: returns whether it is ready.
        stop_signal: the signal that stops it in order.
        stop_timeout_s: the time that stopping may take before it is killed.
        os_user: the OS user to run as; None for the current user.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    probe: Probe
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 20.0
    os_user: str | None = None


class Process:
    """A program that is kept running from `start` to `stop`.

    Args:
        spec: the program.
        state: updated with everything that happens.
        changed: called after each change of the state.
    """

    def __init__(self, spec: ProcessSpec, *, state: ProcessState, changed: Callable[[], None]) -> None:
        self.spec = spec
        self.state = state
        self._changed = changed
        self._running: ChildProcess | None = None
        self._supervision: asyncio.Task[None] | None = None
        self._first_ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        state.log = str(spec.log)
        state.stop_signal = int(spec.stop_signal)

    async def start(self) -> None:
        """Start the program and wait until it is ready. One that a signal ends before that is started once more.

        Raises:
            LocalError: it ended before it was ready; the message has the last line of its log.
        """
        self._supervision = asyncio.create_task(self._run(), name=f"supervise {self.spec.name}")
        await asyncio.shield(self._first_ready)

    async def stop(self) -> None:
        """Stop the program; kill it if it does not stop in time."""
        if self._supervision is not None:
            self._supervision.cancel()
            await asyncio.gather(self._supervision, return_exceptions=True)
        running = self._running
        if running is not None and running.returncode is None:
            self._set_condition(Condition.STOPPING)
            _signal(running, self.spec.stop_signal)
            try:
                await asyncio.wait_for(running.wait(), self.spec.stop_timeout_s)
            except TimeoutError:
                self._set_condition(Condition.STOPPING, f"killed: not stopped after {self.spec.stop_timeout_s:g} s")
                _signal(running, signal.SIGKILL)
                await running.wait()
        self.state.pid = 0
        self._set_condition(Condition.STOPPED, self.state.note)

    async def _run(self) -> None:
        backoff = INITIAL_BACKOFF_S
        crashed = False
        while True:
            began = time.monotonic()
            self._running = None
            try:
                self._running = await self._spawn()
                note = await self._watch(self._running)
            except OSError as error:
                # The program is gone, or the system is out of processes.
                note = f"{self.spec.command[0]} cannot be run: {error.strerror}"
            if not self._first_ready.done():
                if crashed or not self._crashed:
                    self._fail(note)
                    return
                crashed = True
            if time.monotonic() - began > _STABLE_S:
                backoff = INITIAL_BACKOFF_S
            self._set_condition(Condition.BACKOFF, note)
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, MAX_BACKOFF_S)
            self.state.restarts += 1

    async def _watch(self, running: ChildProcess) -> str:
        """Watch one run of the program; return how it ended."""
        began = time.monotonic()
        self.state.pid = running.pid
        self.state.start_id = process_start_id(running.pid)
        self.state.started_at = time.time()
        self._set_condition(Condition.STARTING, self.state.note)
        watch = asyncio.create_task(self._watch_readiness())
        try:
            code = await running.wait()
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        self.state.pid = 0
        return f"{_ending(code)} after {time.monotonic() - began:.1f} s"

    @property
    def _crashed(self) -> bool:
        """True if a signal ended it, such as SIGSEGV."""
        return self._running is not None and (self._running.returncode or 0) < 0

    def kill(self) -> None:
        """Kill the program at once."""
        if self._running is not None:
            _signal(self._running, signal.SIGKILL)

    def _fail(self, note: str) -> None:
        self._set_condition(Condition.STOPPED, note)
        lines = [line for line in last_lines(self.spec.log, 20) if line.strip()]
        message = f": {_shortened(lines[-1])}" if lines else ""
        if not self._first_ready.done():
            self._first_ready.set_exception(
                LocalError(f"{self.spec.name} {note} before it was ready{message} (log: {self.spec.log})")
            )

    async def _spawn(self) -> ChildProcess:
        log = open_log(self.spec.log)
        try:
            # In a session of its own, so that Ctrl-C in a terminal reaches the supervisor only, which stops processes
            # in order. The system signals the process if the supervisor dies before it has done so.
            return await start_child(
                self.spec.command,
                stdout=log,
                stderr=log,
                env=self.spec.environment,
                start_new_session=True,
                parent_death_signal=self.spec.stop_signal,
                os_user=self.spec.os_user,
            )
        finally:
            os.close(log)

    async def _watch_readiness(self) -> None:
        while True:
            ready = await self.spec.probe(self.state.pid)
            if ready and self.state.condition is not Condition.READY:
                self._set_condition(Condition.READY, self.state.note)
                if not self._first_ready.done():
                    self._first_ready.set_result(None)
            elif not ready and self.state.condition is Condition.READY:
                self._set_condition(Condition.UNREADY, self.state.note)
            await asyncio.sleep(_PROBE_READY_S if self.state.condition is Condition.READY else _PROBE_STARTING_S)

    def _set_condition(self, condition: Condition, note: str = "") -> None:
        self.state.condition = condition
        self.state.since = time.time()
        self.state.note = note
        self._changed()


def _signal(process: ChildProcess, number: signal.Signals) -> None:
    if process.returncode is None:
        process.send_signal(number)


def _ending(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"exited with code {code}"


def _shortened(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:297]}..."
