"""The control plane: from an engine's registration to Envoy's next configuration."""

from __future__ import annotations

import asyncio
import logging
import time

from enginehouse.gateway.ads import SnapshotFeed
from enginehouse.gateway.metrics import RegistryMetrics
from enginehouse.gateway.reflection import MeshHealth
from enginehouse.gateway.registry import Registry
from enginehouse.gateway.state_file import StateFile
from enginehouse.gateway.topology import topology
from enginehouse.gateway.translate.snapshot import Translator

_log = logging.getLogger(__name__)

_SWEEP_EVERY_S = 0.1


class ControlPlane:
    """The loop that turns the registry's changes into snapshots and saves its state for the next start.

    Args:
        registry: the leases.
        translator: makes snapshots.
        feed: takes the snapshots.
        state_file: takes the registry's state.
        health: takes the services that have engines.
        metrics: counts members, snapshots and failures.
        grace_s: how long engines may take to come back after a restart, in seconds.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        translator: Translator,
        feed: SnapshotFeed,
        state_file: StateFile,
        health: MeshHealth,
        metrics: RegistryMetrics,
        grace_s: float,
    ) -> None:
        self._registry = registry
        self._translator = translator
        self._feed = feed
        self._state_file = state_file
        self._health = health
        self._metrics = metrics
        self._grace_s = grace_s
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Restore the last state and start following the registry.

        Raises:
            ConfigError: the state file's folder cannot be written to.
        """
        self._state_file.prepare()
        self._restore()
        await self._publish()
        self._tasks = [
            asyncio.create_task(self._sweep_for_ever(), name="sweep"),
            asyncio.create_task(self._publish_for_ever(), name="publish"),
            asyncio.create_task(self._save_for_ever(), name="save"),
        ]

    async def stop(self) -> None:
        """Stop following. The leases that end with the server must change neither Envoy nor the state file."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    @property
    def running(self) -> bool:
        """True if every part of it works."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    def _restore(self) -> None:
        try:
            state = self._state_file.read()
        except (ValueError, OSError) as error:
            # The engines come back by themselves; only proxies that run must wait, as after a first start.
            _log.error("%s; going on without it, and keeping it as %s", error, self._state_file.set_aside())
            state = None
        if state is None:
            return
        self._registry.restore(state, grace_s=self._grace_s)
        self._feed.settle()
        _log.info("restored %d engines; they have %g s to come back", len(state.engines), self._grace_s)

    async def _sweep_for_ever(self) -> None:
        settles_at = time.monotonic() + self._grace_s
        while True:
            await asyncio.sleep(_SWEEP_EVERY_S)
            self._registry.sweep(every_s=_SWEEP_EVERY_S)
            if not self._feed.settled and time.monotonic() >= settles_at:
                self._feed.settle()

    async def _publish_for_ever(self) -> None:
        seen = self._registry.membership.value
        while True:
            await self._registry.membership.after(seen)
            seen = self._registry.membership.value
            await self._publish()

    async def _publish(self) -> None:
        began = time.perf_counter()
        leases = self._registry.leases()
        self._feed.publish(self._translator.snapshot(topology(leases, self._registry.services())))
        self._metrics.snapshot_made(time.perf_counter() - began)
        self._metrics.members(leases)
        await self._health.update(
            {service for lease in leases if not lease.load.draining for service in lease.engine.grpc_services}
        )

    async def _save_for_ever(self) -> None:
        seen = -1
        failing = False
        while True:
            await self._registry.membership.after(seen)
            seen = self._registry.membership.value
            try:
                await asyncio.to_thread(self._state_file.write, self._registry.state())
                failing = False
            except OSError as error:
                self._metrics.state_failed()
                if not failing:
                    _log.error("the state file cannot be written, so a restart would forget engines: %s", error)
                failing = True
