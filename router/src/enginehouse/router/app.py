"""A router process: its parts started in order, and ended so that nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from importlib.metadata import version

from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.kit.addresses import Address
from enginehouse.kit.catalog import Catalog
from enginehouse.kit.contracts import Exposure
from enginehouse.kit.grants import GrantKeys
from enginehouse.kit.server.registry import RegistryLease
from enginehouse.kit.tasks import BackgroundTask
from enginehouse.kit.telemetry import Tracing
from enginehouse.router.alerts import ALERTS_CHANNEL
from enginehouse.router.cache import CACHE_CHANNEL
from enginehouse.router.database import DatabaseUnavailable, Listener, migrate, translate_db_errors
from enginehouse.router.experiments import EXPERIMENTS_CHANNEL
from enginehouse.router.identity import KEYS_CHANNEL, USERS_CHANNEL, KeyHasher
from enginehouse.router.ledger import BUDGETS_CHANNEL, RETURN_CHANNEL, SETTLED_CHANNEL
from enginehouse.router.policy import POLICIES_CHANNEL
from enginehouse.router.prices import PRICES_CHANNEL
from enginehouse.router.settings import RouterSettings
from enginehouse.router.wiring import build_api, build_audit, build_environment, build_readings, build_router

_log = logging.getLogger(__name__)


class RouterService:
    """One router. `start` returns once it listens; it is ready once the keys and budgets have been read."""

    def __init__(
        self,
        *,
        settings: RouterSettings,
        database: AsyncEngine,
        catalog: Catalog,
        grant_keys: GrantKeys,
        hasher: KeyHasher,
        tracing: Tracing | None,
    ) -> None:
        self._settings = settings
        self._environment = environment = build_environment(
            settings=settings, database=database, catalog=catalog, grant_keys=grant_keys, hasher=hasher
        )
        self._router = router = build_router(environment)
        self._audit = build_audit(environment, router)
        self._api = build_api(
            environment,
            router,
            self._audit,
            lease=self._lease,
            loaded=lambda: self._loaded,
            ready=lambda: self.ready,
            tracing=tracing,
        )
        environment.registry.register(build_readings(router, clock=environment.clock, ready=lambda: self.ready))
        ledger = router.ledger.ledger
        self._listener = Listener(
            database=database,
            handlers={
                CACHE_CHANNEL: router.cache.rules.changed,
                KEYS_CHANNEL: router.identity.keys.changed,
                USERS_CHANNEL: router.identity.users.changed,
                BUDGETS_CHANNEL: router.ledger.budgets.changed,
                POLICIES_CHANNEL: router.decision.refresher.policy_changed,
                SETTLED_CHANNEL: ledger.settled_elsewhere,
                RETURN_CHANNEL: ledger.return_requested,
                PRICES_CHANNEL: router.decision.prices.changed,
                ALERTS_CHANNEL: router.alerts.dispatcher.wake,
                EXPERIMENTS_CHANNEL: router.experiments.controller.changed,
            },
            on_connect=self._reload,
        )
        self._tasks = (
            BackgroundTask(self._prepare, name="router-prepare"),
            BackgroundTask(self._reload_for_ever, name="router-reload"),
        )
        self._loaded = False
        self._closing = False
        self._parts = contextlib.AsyncExitStack()
        """Closes the parts in the reverse of their order here, each whatever becomes of those before it."""

    @property
    def ready(self) -> bool:
        """True if decisions can be made: keys and budgets were read, and the ledger takes reservations."""
        return self._loaded and self._router.ledger.ledger.usable and not self._closing

    async def start(self) -> tuple[Address, Address, Address]:
        """Listen for checks, gRPC and metrics, in this order of the addresses returned. PostgreSQL may come later.

        Raises:
            ConfigError: an address can't be listened on.
        """
        try:
            return await self._start()
        except BaseException:
            await self.close()
            raise

    async def _start(self) -> tuple[Address, Address, Address]:
        router, api, parts = self._router, self._api, self._parts
        parts.push_async_callback(self._environment.database.dispose)
        parts.push_async_callback(self._environment.reports.dispose)
        if router.limits.redis is not None:
            router.limits.redis.start()
            parts.push_async_callback(router.limits.redis.close)
        if router.limits.shared is not None:
            router.limits.shared.start()
            parts.push_async_callback(router.limits.shared.close)
        admin_http = await api.admin_http.start()
        parts.push_async_callback(api.admin_http.close)
        # Whatever uses the ledger ends before it; it settles what it has and gives back its leases.
        parts.push_async_callback(router.ledger.ledger.close)
        parts.push_async_callback(router.ledger.budgets.close)
        self._audit.recorder.start()
        parts.push_async_callback(self._audit.recorder.close)
        router.identity.tokens.start()
        parts.push_async_callback(router.identity.tokens.close)
        parts.push_async_callback(router.identity.users.close)
        parts.push_async_callback(router.identity.keys.close)
        parts.push_async_callback(router.cache.close)
        parts.push_async_callback(router.exact_input.close)
        # These begin once the tables are there.
        parts.push_async_callback(router.experiments.exposures.close)
        parts.push_async_callback(router.experiments.controller.close)
        parts.push_async_callback(router.alerts.dispatcher.close)
        parts.push_async_callback(router.alerts.exhaustion.close)
        parts.push_async_callback(router.decision.prices.close)
        parts.push_async_callback(router.decision.refresher.close)
        parts.push_async_callback(self._listener.close)
        for task in self._tasks:
            task.start()
            parts.push_async_callback(task.close)
        router.fleet.watch.start()
        parts.push_async_callback(router.fleet.watch.close)
        # No more checks are taken, then running calls may finish.
        parts.push_async_callback(api.server.drain)
        parts.callback(api.usage.close)
        parts.push_async_callback(api.checks.close)
        checks = await api.checks.start()
        grpc = await api.server.start()
        router.cache.start(address=self._settings.advertise_address or str(grpc), listener=self._listener)
        _log.info("serving", extra={"checks": str(checks), "grpc": str(grpc), "metrics": str(admin_http)})
        return checks, grpc, admin_http

    async def serve_until_signal(self) -> None:
        """Serve until SIGTERM or SIGINT, then end in order."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        try:
            await stop.wait()
        finally:
            await self.close()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def close(self) -> None:
        """Take no more checks, let calls finish, settle what was reported, give back what is leased, and stop.

        Every part is closed, even if others fail; the last failure is raised afterwards.
        """
        self._closing = True
        await self._parts.aclose()

    def _lease(self, address: Address) -> RegistryLease:
        return RegistryLease(
            gateway_address=self._settings.gateway_address,
            engine=registry_pb2.Engine(
                engine_id=self._settings.engine_id,
                cluster="router",
                address=self._settings.advertise_address or str(address),
                grpc_services=self._environment.contracts.exposed(Exposure.ROUTER),
                capacity=64,
                version=version("enginehouse-router"),
            ),
            load=lambda: registry_pb2.Load(active=self._api.server.active, draining=self._closing),
        )

    async def _prepare(self) -> None:
        """Migrate as soon as PostgreSQL answers, then start the parts that need its tables."""
        waiting = False
        while True:
            try:
                with translate_db_errors():
                    await migrate(self._environment.database)
                break
            except DatabaseUnavailable as error:
                if not waiting:
                    _log.warning("waiting for the ledger's database", extra={"error": str(error)})
                waiting = True
                await asyncio.sleep(0.25)
        router = self._router
        self._listener.start()
        router.ledger.ledger.start()
        router.alerts.dispatcher.start()
        router.decision.prices.start()
        router.experiments.exposures.start()
        router.experiments.controller.start()
        router.decision.refresher.start()

    async def _reload(self) -> None:
        router = self._router
        # The prices and policies first: nothing may be granted by others.
        await router.decision.prices.reload()
        await router.decision.refresher.read_policies()
        await router.identity.users.reload()
        await router.identity.keys.reload()
        await router.cache.rules.reload()
        await router.experiments.controller.reload()
        self._loaded = True

    async def _reload_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._settings.keys_reload_s)
            try:
                self._router.limits.limiter.prune()
                self._router.run_caps.forget_idle()
                if not self._loaded:
                    continue
                with translate_db_errors():
                    await self._router.identity.keys.rehash()
                    await self._reload()
            except DatabaseUnavailable as error:
                _log.warning("could not read the keys and budgets again", extra={"error": str(error)})
            except Exception:
                _log.exception("could not read the keys and budgets again")
