"""The domains of one router, each built from the environment and the domains that it looks at."""

from __future__ import annotations

import dataclasses
import time

from enginehouse.kit.address_channels import AddressChannels
from enginehouse.router.admission.admission import Admission
from enginehouse.router.admission.cost_caps import RunCaps
from enginehouse.router.admission.exact_input import ExactInput
from enginehouse.router.alerts import AlertStore, ExhaustionRecorder, WebhookDispatcher
from enginehouse.router.cache import CacheModule
from enginehouse.router.decision.decide import State
from enginehouse.router.decision.refresh import StateRefresher
from enginehouse.router.experiments import (
    Assignment,
    ExperimentController,
    ExperimentResults,
    ExperimentStore,
    ExposureLog,
)
from enginehouse.router.feedback import FeedbackStore
from enginehouse.router.fleet.fleet import Fleet, FleetWatch
from enginehouse.router.fleet.health import Health, HealthMetrics
from enginehouse.router.identity import Authenticator, KeyIndex, KeyStore, TokenVerifier, UserIndex, UserStore
from enginehouse.router.ids import new_id
from enginehouse.router.ledger import BudgetIndex, BudgetStore, Ledger, LedgerStore, UsageReportParser
from enginehouse.router.limits import Limiter, SharedBuckets
from enginehouse.router.metrics import BudgetWaitMetrics, PromptCountMetrics
from enginehouse.router.policy import Policy, PolicyStore
from enginehouse.router.predictor import load_predictor
from enginehouse.router.prices import PriceBook, PriceRefresher, PriceStore
from enginehouse.router.redis import SharedRedis
from enginehouse.router.wiring._environment import Environment

_ROUTER_SERVICE = "enginehouse.api.router.v1.AdminService"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FleetParts:
    """The live engines and what follows the gateway's registry for them."""

    fleet: Fleet
    watch: FleetWatch


def build_fleet(environment: Environment) -> FleetParts:
    """Build the fleet."""
    settings = environment.settings
    fleet = Fleet(health=Health(settings=settings.health), affinity_slack=settings.health.affinity_slack)
    environment.registry.register(HealthMetrics(fleet.health))
    return FleetParts(fleet=fleet, watch=FleetWatch(gateway_address=settings.gateway_address, fleet=fleet))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LedgerParts:
    """Budgets, what is reserved of them, and what settles it."""

    budget_store: BudgetStore
    budgets: BudgetIndex
    reports: UsageReportParser
    ledger: Ledger


def build_ledger(environment: Environment, *, fleet: Fleet) -> LedgerParts:
    """Build the ledger; it leases for the engines that the fleet knows."""
    terms = environment.settings.ledger.terms()
    budget_store = BudgetStore(database=environment.database)
    budgets = BudgetIndex(store=budget_store)
    reports = UsageReportParser(grant_keys=environment.grant_keys, catalog=environment.catalog)
    ledger = Ledger(
        store=LedgerStore(database=environment.database, ttl_s=terms.replica_ttl_s),
        budgets=budgets,
        terms=terms,
        clock=environment.clock,
        live_engines=fleet.spending_engines,
        service_of=reports.service_of,
        wait_ended=BudgetWaitMetrics(registry=environment.registry).ended,
    )
    return LedgerParts(budget_store=budget_store, budgets=budgets, reports=reports, ledger=ledger)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class IdentityParts:
    """Tenants, users and keys: where they are stored, those in memory, and who a request is from."""

    key_store: KeyStore
    user_store: UserStore
    keys: KeyIndex
    users: UserIndex
    tokens: TokenVerifier
    callers: Authenticator


def build_identity(environment: Environment, *, budgets: BudgetIndex) -> IdentityParts:
    """Build identity; a key's budgets are read before it can be used."""
    key_store = KeyStore(database=environment.database)
    user_store = UserStore(database=environment.database)
    keys = KeyIndex(store=key_store, hasher=environment.hasher, clock=environment.clock, before_use=budgets.refresh_key)
    users = UserIndex(tenants=key_store, users=user_store)
    tokens = TokenVerifier(issuers=environment.settings.issuers, users=users)
    return IdentityParts(
        key_store=key_store,
        user_store=user_store,
        keys=keys,
        users=users,
        tokens=tokens,
        callers=Authenticator(keys=keys, users=users, tokens=tokens),
    )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DecisionParts:
    """The inputs of decisions, where they are stored, and what keeps them current."""

    state: State
    policy: Policy
    policy_store: PolicyStore
    price_store: PriceStore
    prices: PriceRefresher
    feedback_store: FeedbackStore
    refresher: StateRefresher


def build_decision(environment: Environment, *, fleet: Fleet, callers: Authenticator) -> DecisionParts:
    """Build what decisions look at."""
    settings, database, clock = environment.settings, environment.database, environment.clock
    policy = Policy(tiers=settings.tiers, ancestors=lambda caller: [key.key_id for key in callers.ancestors(caller)])
    book = PriceBook(catalog=environment.catalog)
    price_store = PriceStore(database=database)
    state = State(
        catalog=environment.catalog,
        fleet=fleet,
        policy=policy,
        predictor=load_predictor(settings.predictor_file),
        prices=book,
        affinity_characters=settings.health.affinity_characters,
    )
    policy_store = PolicyStore(database=database)
    feedback_store = FeedbackStore(database=database)
    return DecisionParts(
        state=state,
        policy=policy,
        policy_store=policy_store,
        price_store=price_store,
        prices=PriceRefresher(store=price_store, book=book, clock=clock),
        feedback_store=feedback_store,
        refresher=StateRefresher(
            state=state,
            policies=policy_store,
            feedback=feedback_store,
            database=database,
            clock=clock,
            settings=settings.refresh,
        ),
    )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LimitParts:
    """Limits of requests, tokens and concurrency; with Redis where an address is configured, else alone."""

    redis: SharedRedis | None
    shared: SharedBuckets | None
    limiter: Limiter


def build_limits(environment: Environment, *, fleet: Fleet) -> LimitParts:
    """Build the limits."""
    settings = environment.settings
    redis = SharedRedis(url=settings.redis_url) if settings.redis_url else None
    shared = None
    if redis is not None:
        shared = SharedBuckets(
            redis=redis,
            replica=new_id(settings.engine_id),
            slack=settings.limits.slack,
            peers=lambda: fleet.count_of_service(_ROUTER_SERVICE),
            now_s=time.monotonic,
        )
    return LimitParts(redis=redis, shared=shared, limiter=Limiter(now_s=time.monotonic, sharing=shared))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentParts:
    """Experiments, rollouts and flags: those that apply, where they are stored, and what came of them."""

    assignment: Assignment
    store: ExperimentStore
    results: ExperimentResults
    exposures: ExposureLog
    controller: ExperimentController


def build_experiments(environment: Environment) -> ExperimentParts:
    """Build experiments."""
    database, clock = environment.database, environment.clock
    assignment = Assignment()
    store = ExperimentStore(database=database)
    results = ExperimentResults(database=database)
    return ExperimentParts(
        assignment=assignment,
        store=store,
        results=results,
        exposures=ExposureLog(database=database, clock=clock),
        controller=ExperimentController(
            database=database,
            store=store,
            results=results,
            assignment=assignment,
            clock=clock,
            every_s=environment.settings.experiments_every_s,
        ),
    )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AlertParts:
    """Budgets' alerts: where they are stored, what raises those of spent budgets, and what delivers them."""

    store: AlertStore
    exhaustion: ExhaustionRecorder
    dispatcher: WebhookDispatcher


def build_alerts(environment: Environment) -> AlertParts:
    """Build alerts."""
    settings, metrics = environment.settings.alerts, environment.metrics
    store = AlertStore(database=environment.database)
    return AlertParts(
        store=store,
        exhaustion=ExhaustionRecorder(database=environment.database, clock=environment.clock),
        dispatcher=WebhookDispatcher(
            store=store,
            settings=settings,
            secret=settings.secret(),
            clock=environment.clock,
            count=lambda alert: metrics.alerted(alert.scope, alert.percent, alert.cause),
        ),
    )


def build_cache(
    environment: Environment,
    *,
    fleet: Fleet,
    redis: SharedRedis | None,
    reports: UsageReportParser,
) -> CacheModule:
    """Build the cache."""
    return CacheModule(
        settings=environment.settings.cache,
        router_id=environment.settings.engine_id,
        database=environment.database,
        redis=redis,
        fleet=fleet,
        reports=reports,
        grant_keys=environment.grant_keys,
        registry=environment.registry,
        clock=environment.clock,
    )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RouterParts:
    """Every domain of one router."""

    fleet: FleetParts
    ledger: LedgerParts
    identity: IdentityParts
    decision: DecisionParts
    limits: LimitParts
    experiments: ExperimentParts
    alerts: AlertParts
    cache: CacheModule
    run_caps: RunCaps
    exact_input: ExactInput
    admission: Admission


def build_router(environment: Environment) -> RouterParts:
    """Build every domain, and admission over them."""
    fleet = build_fleet(environment)
    ledger = build_ledger(environment, fleet=fleet.fleet)
    identity = build_identity(environment, budgets=ledger.budgets)
    decision = build_decision(environment, fleet=fleet.fleet, callers=identity.callers)
    limits = build_limits(environment, fleet=fleet.fleet)
    experiments = build_experiments(environment)
    alerts = build_alerts(environment)
    cache = build_cache(environment, fleet=fleet.fleet, redis=limits.redis, reports=ledger.reports)
    run_caps = RunCaps(store=ledger.budget_store, index=ledger.budgets, clock=environment.clock)
    settings = environment.settings
    exact_input = ExactInput(
        grant_keys=environment.grant_keys,
        channels=AddressChannels(retries=False),
        clock=environment.clock,
        timeout_s=settings.count_tokens_s,
        max_body_bytes=settings.max_body_bytes,
        asked=PromptCountMetrics(registry=environment.registry).asked,
    )
    admission = Admission(
        contracts=environment.contracts,
        state=decision.state,
        callers=identity.callers,
        limiter=limits.limiter,
        ledger=ledger.ledger,
        cache=cache.answers,
        assignment=experiments.assignment,
        exposures=experiments.exposures,
        run_caps=run_caps,
        exhaustion=alerts.exhaustion,
        exact_input=exact_input,
        grant_keys=environment.grant_keys,
        clock=environment.clock,
        accept_window_s=settings.ledger.accept_window_s,
        grant_ttl_s=settings.grant_ttl_s,
        max_body_bytes=settings.max_body_bytes,
    )
    return RouterParts(
        fleet=fleet,
        ledger=ledger,
        identity=identity,
        decision=decision,
        limits=limits,
        experiments=experiments,
        alerts=alerts,
        cache=cache,
        run_caps=run_caps,
        exact_input=exact_input,
        admission=admission,
    )
