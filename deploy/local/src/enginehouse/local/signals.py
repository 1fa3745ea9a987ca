"""Run a supervisor until a signal stops it."""

from __future__ import annotations

import asyncio
import signal

from enginehouse.local.supervisor import Supervisor

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_until_signal(supervisor: Supervisor) -> None:
    """Run until SIGINT, SIGTERM or SIGHUP, then stop the mesh in order. A second signal kills its processes.

    Raises:
        LocalError: the mesh could not be started.
    """
    asyncio.run(_run(supervisor))


async def _run(supervisor: Supervisor) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def handle_signal() -> None:
        if stop.is_set():
            supervisor.kill_all()
        stop.set()

    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, handle_signal)
    await supervisor.run(stop)
