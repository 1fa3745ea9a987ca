"""Runs a supervisor under the signals that a person or a system stops it with."""

from __future__ import annotations

import asyncio
import signal

from enginehouse.local.supervisor import Supervisor

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_until_signal(supervisor: Supervisor) -> None:
    """Runs until SIGINT, SIGTERM or SIGHUP, then stops everything in order; a second signal ends the waiting.

    Raises:
        LocalError: the mesh could not be started.
    """
    asyncio.run(_run(supervisor))


async def _run(supervisor: Supervisor) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked() -> None:
        if stop.is_set():
            supervisor.hurry()
        stop.set()

    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, asked)
    await supervisor.run(stop)
