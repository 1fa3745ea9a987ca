"""A router process: its parts put together, started in order, and ended so that nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from importlib.metadata import version

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.api.openai.v1 import models_pb2_grpc
from enginehouse.api.router.v1 import (
    admin_pb2_grpc,
    experiments_pb2_grpc,
    feedback_pb2_grpc,
    flags_pb2_grpc,
    identity_pb2_grpc,
    policy_pb2_grpc,
    rollouts_pb2_grpc,
    usage_pb2_grpc,
)
from enginehouse.kit.addresses import Address
from enginehouse.kit.catalog import Catalog
from enginehouse.kit.grants import GrantKeys
from enginehouse.kit.server import EngineServer
from enginehouse.kit.server.registry import RegistryLease
from enginehouse.kit.telemetry import MetricsServer, RpcMetrics, Tracing
from enginehouse.router.admission.admission import Admission
from enginehouse.router.admission.cost_caps import RunCaps
from enginehouse.router.alerts import ALERTS_CHANNEL, AlertStore, ExhaustionRecorder, WebhookDispatcher
from enginehouse.router.api.admin import (
    Access,
    AccountAdmin,
    AdminServicer,
    AlertAdmin,
    AuditAdmin,
    BudgetAdmin,
    CatalogAdmin,
    FeedbackServicer,
    IdentityServicer,
    KeyAdmin,
    PolicyAdmin,
    PolicyServicer,
    PriceAdmin,
    SpendAdmin,
    UserAdmin,
)
from enginehouse.router.api.experiments import ExperimentServicer, FlagServicer, RolloutServicer
from enginehouse.router.api.ext_authz import AuthorizationApp
from enginehouse.router.api.http_server import CheckServer
from enginehouse.router.api.models import ModelsServicer
from enginehouse.router.api.usage import UsageServicer
from enginehouse.router.audit import AuditLog, Recorder
from enginehouse.router.cache import CACHE_CHANNEL
from enginehouse.router.cache._module import CacheModule
from enginehouse.router.clock import SteadyClock
from enginehouse.router.database import DatabaseUnavailable, Listener, migrate, open_database, translate_db_errors
from enginehouse.router.decision.decide import State
from enginehouse.router.decision.refresh import StateRefresher
from enginehouse.router.experiments import (
    EXPERIMENTS_CHANNEL,
    Assignment,
    ExposureLog,
    Results,
    SteeringController,
    SteeringStore,
)
from enginehouse.router.feedback import FeedbackStore
from enginehouse.router.fleet.fleet import Fleet, FleetWatch
from enginehouse.router.fleet.health import Health, HealthMetrics
from enginehouse.router.identity import (
    KEYS_CHANNEL,
    PEOPLE_CHANNEL,
    Authenticator,
    KeyHasher,
    KeyIndex,
    KeyStore,
    TokenVerifier,
    UserIndex,
    UserStore,
)
from enginehouse.router.ids import new_id
from enginehouse.router.ledger import (
    BUDGETS_CHANNEL,
    RETURN_CHANNEL,
    SETTLED_CHANNEL,
    BudgetIndex,
    BudgetStore,
    Ledger,
    LedgerStore,
    UsageReportParser,
)
from enginehouse.router.limits import Limiter, SharedBuckets
from enginehouse.router.metrics import Readings, RouterMetrics
from enginehouse.router.policy import POLICIES_CHANNEL, Policy, PolicyStore
from enginehouse.router.predictor import load_predictor
from enginehouse.router.prices import PRICES_CHANNEL, PriceBook, PriceFeed, PriceStore
from enginehouse.router.redis import SharedRedis
from enginehouse.router.settings import RouterSettings

_log = logging.getLogger(__name__)

_ADMIN_SERVICES = (
    "enginehouse.api.openai.v1.ModelsService",
    "enginehouse.api.router.v1.AdminService",
    "enginehouse.api.router.v1.CacheService",
    "enginehouse.api.router.v1.ExperimentService",
    "enginehouse.api.router.v1.FeedbackService",
    "enginehouse.api.router.v1.FlagService",
    "enginehouse.api.router.v1.IdentityService",
    "enginehouse.api.router.v1.PolicyService",
    "enginehouse.api.router.v1.RolloutService",
)
_REPORTS = 4
_REPORT_S = 120.0


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
        self._database = database
        terms = settings.ledger.terms()
        clock = self._clock = SteadyClock()
        key_store = KeyStore(database=database)
        budget_store = BudgetStore(database=database)
        self._budgets = BudgetIndex(store=budget_store)
        self._keys = KeyIndex(store=key_store, hasher=hasher, clock=clock, before_use=self._budgets.refresh_key)
        user_store = UserStore(database=database)
        self._people = UserIndex(tenants=key_store, users=user_store)
        self._tokens = TokenVerifier(issuers=settings.issuers, people=self._people)
        callers = Authenticator(keys=self._keys, people=self._people, tokens=self._tokens)
        self._fleet = Fleet(health=Health(settings=settings.health), affinity_slack=settings.health.affinity_slack)
        self._watch = FleetWatch(gateway_address=settings.gateway_address, fleet=self._fleet)
        policy = Policy(tiers=settings.tiers, makers=lambda caller: [key.key_id for key in callers.ancestors(caller)])
        prices = PriceBook(catalog=catalog)
        price_store = PriceStore(database=database)
        self._prices = PriceFeed(store=price_store, book=prices, clock=clock)
        state = State(
            catalog=catalog,
            fleet=self._fleet,
            policy=policy,
            predictor=load_predictor(settings.predictor_file),
            prices=prices,
            affinity_characters=settings.health.affinity_characters,
        )
        policy_store = PolicyStore(database=database)
        feedback_store = FeedbackStore(database=database)
        self._feed = StateRefresher(
            state=state,
            policies=policy_store,
            feedback=feedback_store,
            database=database,
            clock=clock,
            settings=settings.feed,
        )
        reader = UsageReportParser(grant_keys=grant_keys, catalog=catalog)
        self._ledger = Ledger(
            store=LedgerStore(database=database, ttl_s=terms.replica_ttl_s),
            budgets=self._budgets,
            terms=terms,
            clock=clock,
            live_engines=self._fleet.spending_engines,
            service_of=reader.service_of,
        )
        self._redis = SharedRedis(url=settings.redis_url) if settings.redis_url else None
        self._shared_limits: SharedBuckets | None = None
        if self._redis is not None:
            self._shared_limits = SharedBuckets(
                redis=self._redis,
                replica=new_id(settings.engine_id),
                slack=settings.limits.slack,
                peers=lambda: self._fleet.count_of_service("enginehouse.api.router.v1.AdminService"),
                now_s=time.monotonic,
            )
        self._limiter = Limiter(now_s=time.monotonic, sharing=self._shared_limits)
        registry = CollectorRegistry()
        metrics = RouterMetrics(registry=registry)
        registry.register(self._readings())
        registry.register(HealthMetrics(self._fleet.health))
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        steering = Assignment()
        steering_store = SteeringStore(database=database)
        results = Results(database=database)
        self._exposures = ExposureLog(database=database, clock=clock)
        self._steering = SteeringController(
            database=database,
            store=steering_store,
            results=results,
            steering=steering,
            clock=clock,
            every_s=settings.experiments_every_s,
        )
        alert_store = AlertStore(database=database)
        # Sums over years and files for slow readers must not keep the ledger from its connections.
        self._reports = open_database(settings.database_url, pool_size=_REPORTS, statement_s=_REPORT_S)
        self._run_caps = RunCaps(store=budget_store, index=self._budgets, clock=clock)
        self._refusals = ExhaustionRecorder(database=database, clock=clock)
        self._courier = WebhookDispatcher(
            store=alert_store,
            settings=settings.alerts,
            secret=settings.alerts.secret(),
            clock=clock,
            count=lambda alert: metrics.alerted(alert.scope, alert.percent, alert.cause),
        )
        access = Access(grant_keys=grant_keys, caller_of=callers.of_principal, clock=clock)
        audit_log = AuditLog(database=database, seal_keys=hasher.seal_keys, clock=clock)
        self._recorder = Recorder(log=audit_log, identify=access.identify)
        self._cache = CacheModule(
            settings=settings.cache,
            router_id=settings.engine_id,
            database=database,
            redis=self._redis,
            state=state,
            keys=self._keys,
            reader=reader,
            access=access,
            grant_keys=grant_keys,
            registry=registry,
            clock=clock,
        )
        admission = Admission(
            state=state,
            callers=callers,
            limiter=self._limiter,
            ledger=self._ledger,
            cache=self._cache.answers,
            steering=steering,
            exposures=self._exposures,
            run_caps=self._run_caps,
            refusals=self._refusals,
            grant_keys=grant_keys,
            clock=clock,
            accept_window_s=terms.accept_window_s,
            grant_ttl_s=settings.grant_ttl_s,
            max_body_bytes=settings.max_body_bytes,
        )
        self._checks = CheckServer(
            app=AuthorizationApp(
                admission=admission,
                metrics=metrics,
                max_body_bytes=settings.max_body_bytes,
                ready=lambda: self.ready,
            ),
            listen=settings.http_listen,
        )
        self._usage = UsageServicer(
            reader=reader,
            ledger=self._ledger,
            metrics=metrics,
            clock=clock,
            skew_s=terms.skew_s,
            begun=lambda: self._loaded,
        )
        apply = self._steering.apply
        experiments = ExperimentServicer(
            access=access,
            store=steering_store,
            apply=apply,
            results=results,
            catalog=catalog,
            clock=clock,
        )
        rollouts = RolloutServicer(
            access=access,
            store=steering_store,
            apply=apply,
            results=results,
            catalog=catalog,
            clock=clock,
        )
        feedback = FeedbackServicer(access=access, store=feedback_store, clock=clock)
        policies = PolicyServicer(
            access=access,
            policies=PolicyAdmin(
                store=policy_store,
                apply=self._feed.read_policies,
                policy=policy,
                catalog=catalog,
                keys=key_store,
                recorder=self._recorder,
                clock=clock,
            ),
        )
        flags = FlagServicer(access=access, store=steering_store, apply=apply, steering=steering, clock=clock)
        key_admin = KeyAdmin(
            keys=key_store,
            index=self._keys,
            users=user_store,
            people=self._people,
            hasher=hasher,
            budgets=budget_store,
            budget_index=self._budgets,
            catalog=catalog,
            recorder=self._recorder,
            clock=clock,
        )
        identity = IdentityServicer(
            access=access,
            callers=callers,
            users=UserAdmin(
                users=user_store,
                tenants=key_store,
                keys=key_admin,
                people=self._people,
                recorder=self._recorder,
                clock=clock,
            ),
            keys=key_admin,
            audit=AuditAdmin(log=audit_log),
        )
        admin = AdminServicer(
            access=access,
            accounts=AccountAdmin(
                store=key_store,
                keys=key_admin,
                people=self._people,
                policy=policy,
                recorder=self._recorder,
                clock=clock,
            ),
            budgets=BudgetAdmin(
                store=budget_store, index=self._budgets, ledger=self._ledger, keys=key_store, clock=clock
            ),
            catalog=CatalogAdmin(state=state, callers=callers),
            spend=SpendAdmin(database=self._reports),
            prices=PriceAdmin(
                store=price_store, feed=self._prices, keys=key_store, policy=policy, catalog=catalog, clock=clock
            ),
            alerts=AlertAdmin(store=alert_store),
        )
        models = ModelsServicer(state=state, callers=callers, grant_keys=grant_keys, clock=clock)
        self._server = EngineServer(
            listen=settings.grpc_listen,
            services=[
                self._recorder.recorded(add)
                for add in (
                    lambda server: usage_pb2_grpc.add_UsageServiceServicer_to_server(self._usage, server),
                    lambda server: admin_pb2_grpc.add_AdminServiceServicer_to_server(admin, server),
                    lambda server: models_pb2_grpc.add_ModelsServiceServicer_to_server(models, server),
                    lambda server: experiments_pb2_grpc.add_ExperimentServiceServicer_to_server(experiments, server),
                    lambda server: rollouts_pb2_grpc.add_RolloutServiceServicer_to_server(rollouts, server),
                    lambda server: flags_pb2_grpc.add_FlagServiceServicer_to_server(flags, server),
                    *self._cache.services,
                    lambda server: feedback_pb2_grpc.add_FeedbackServiceServicer_to_server(feedback, server),
                    lambda server: policy_pb2_grpc.add_PolicyServiceServicer_to_server(policies, server),
                    lambda server: identity_pb2_grpc.add_IdentityServiceServicer_to_server(identity, server),
                )
            ],
            lease=self._lease,
            metrics=RpcMetrics(registry),
            tracing=tracing,
            drain_s=settings.drain_s,
        )
        self._admin_http = MetricsServer(listen=settings.admin_http_listen, registry=registry, ready=lambda: self.ready)
        self._listener = Listener(
            database=database,
            handlers={
                CACHE_CHANNEL: self._cache.rules.changed,
                KEYS_CHANNEL: self._keys.changed,
                PEOPLE_CHANNEL: self._people.changed,
                BUDGETS_CHANNEL: self._budget_changed,
                POLICIES_CHANNEL: self._feed.policy_changed,
                SETTLED_CHANNEL: self._ledger.settled_elsewhere,
                RETURN_CHANNEL: self._ledger.asked_back,
                PRICES_CHANNEL: self._prices.changed,
                ALERTS_CHANNEL: self._courier.wake,
                EXPERIMENTS_CHANNEL: self._steering.changed,
            },
            on_connect=self._reload,
        )
        self._loaded = False
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []
        self._refreshes: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> bool:
        """Whether decisions can be made: keys and budgets were read, and the ledger takes reservations."""
        return self._loaded and self._ledger.usable and not self._closing

    async def start(self) -> tuple[Address, Address, Address]:
        """Listens for checks, gRPC and metrics, in this order of the addresses returned. PostgreSQL may come later.

        Raises:
            ConfigError: an address can't be listened on.
        """
        admin_http = await self._admin_http.start()
        self._tasks = [
            asyncio.create_task(self._begin(), name="router-begin"),
            asyncio.create_task(self._repeat(), name="router-reload"),
        ]
        self._watch.start()
        if self._redis is not None:
            self._redis.start()
        if self._shared_limits is not None:
            self._shared_limits.start()
        self._tokens.start()
        self._recorder.start()
        checks = await self._checks.start()
        grpc = await self._server.start()
        self._cache.start(address=self._settings.advertise_address or str(grpc), listener=self._listener)
        _log.info("serving", extra={"checks": str(checks), "grpc": str(grpc), "metrics": str(admin_http)})
        return checks, grpc, admin_http

    async def serve_until_signal(self) -> None:
        """Serves until SIGTERM or SIGINT, then ends in order."""
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
        """Takes no more checks, lets calls finish, settles what was reported, gives back what is leased, and stops."""
        self._closing = True
        await self._checks.close()
        self._usage.close()
        await self._server.drain()
        await self._watch.close()
        for task in [*self._tasks, *self._refreshes]:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._listener.close()
        await self._feed.close()
        await self._prices.close()
        await self._refusals.close()
        await self._courier.close()
        await self._steering.close()
        await self._exposures.close()
        await self._cache.close()
        await self._keys.close()
        await self._people.close()
        await self._tokens.close()
        await self._recorder.close()
        await self._ledger.close()
        await self._admin_http.close()
        if self._shared_limits is not None:
            await self._shared_limits.close()
        if self._redis is not None:
            await self._redis.close()
        await self._reports.dispose()
        await self._database.dispose()

    def _lease(self, address: Address) -> RegistryLease:
        return RegistryLease(
            gateway_address=self._settings.gateway_address,
            engine=registry_pb2.Engine(
                engine_id=self._settings.engine_id,
                cluster="router",
                address=self._settings.advertise_address or str(address),
                grpc_services=_ADMIN_SERVICES,
                capacity=64,
                version=version("enginehouse-router"),
            ),
            load=lambda: registry_pb2.Load(active=self._server.active, draining=self._closing),
        )

    async def _begin(self) -> None:
        """Migrates as soon as PostgreSQL answers, then starts what needs its tables."""
        waiting = False
        while True:
            try:
                with translate_db_errors():
                    await migrate(self._database)
                break
            except DatabaseUnavailable as error:
                if not waiting:
                    _log.warning("waiting for the ledger's database", extra={"error": str(error)})
                waiting = True
                await asyncio.sleep(0.25)
        self._listener.start()
        self._ledger.start()
        self._courier.start()
        self._prices.start()
        self._exposures.start()
        self._steering.start()
        self._feed.start()

    async def _reload(self) -> None:
        # The prices and policies first: nothing may be granted by others.
        await self._prices.reload()
        await self._feed.read_policies()
        await self._people.reload()
        await self._keys.reload()
        await self._cache.rules.reload()
        await self._steering.reload()
        self._loaded = True

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(self._settings.keys_reload_s)
            self._limiter.prune()
            self._run_caps.forget_idle()
            if not self._loaded:
                continue
            try:
                with translate_db_errors():
                    await self._keys.hash_anew()
                    await self._reload()
            except DatabaseUnavailable as error:
                _log.warning("could not read the keys and budgets again", extra={"error": str(error)})
            except Exception:
                _log.exception("could not read the keys and budgets again")

    def _budget_changed(self, budget_id: str) -> None:
        async def refresh() -> None:
            try:
                with translate_db_errors():
                    await self._budgets.refresh(budget_id)
            except DatabaseUnavailable as error:
                _log.warning("could not read a changed budget", extra={"budget_id": budget_id, "error": str(error)})

        task = asyncio.create_task(refresh(), name="budget-refresh")
        self._refreshes.add(task)
        task.add_done_callback(self._refreshes.discard)

    def _readings(self) -> Readings:
        ledger = self._ledger
        return Readings(
            gauges={
                ("enginehouse_router_ready", "1 when decisions can be made."): lambda: float(self.ready),
                ("enginehouse_router_keys", "Usable API keys in memory."): lambda: len(self._keys),
                ("enginehouse_router_engines", "Live engines that serve models."): lambda: len(self._fleet),
                ("enginehouse_router_open_reservations", "Reservations not settled yet."): lambda: len(ledger.book),
                (
                    "enginehouse_router_journal_backlog",
                    "Reservations not written down yet.",
                ): lambda: ledger.journal_backlog,
                (
                    "enginehouse_router_leased_nanos",
                    "Nano-dollars that this replica holds of budgets, reserved or free.",
                ): lambda: sum(account.remaining for account in ledger.book.accounts()),
                (
                    "enginehouse_router_clock_ahead_seconds",
                    "Seconds that this replica is ahead of its machine's clock, after that was put back.",
                ): lambda: self._clock.ahead_s,
                (
                    "enginehouse_router_registry_connected",
                    "1 while the gateway's registry is followed.",
                ): lambda: float(self._watch.connected),
            },
            counters={
                ("enginehouse_router_draws", "Draws on budgets."): lambda: ledger.draws,
                ("enginehouse_router_settled_claims", "Reports settled here."): lambda: ledger.settled_claims,
                (
                    "enginehouse_router_settle_transactions",
                    "Transactions that settled them.",
                ): lambda: ledger.settle_transactions,
                (
                    "enginehouse_router_unbilled_nanos",
                    "Nano-dollars served over what could be billed.",
                ): lambda: ledger.unbilled_nanos,
            },
        )
