"""The API of one router: checks for Envoy over HTTP, gRPC services, and metrics and health over HTTP."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from enginehouse.api.inference.v1 import generation_pb2_grpc
from enginehouse.api.openai.v1 import models_pb2_grpc, text_pb2_grpc
from enginehouse.api.router.v1 import (
    admin_pb2_grpc,
    cache_pb2_grpc,
    experiments_pb2_grpc,
    feedback_pb2_grpc,
    flags_pb2_grpc,
    identity_pb2_grpc,
    policy_pb2_grpc,
    rollouts_pb2_grpc,
    usage_pb2_grpc,
)
from enginehouse.kit.addresses import Address
from enginehouse.kit.openai import TextServicer
from enginehouse.kit.server import AddServicer, EngineServer
from enginehouse.kit.server.registry import RegistryLease
from enginehouse.kit.telemetry import MetricsServer, RpcMetrics, Tracing
from enginehouse.router.admission.extension import GrantExtender
from enginehouse.router.api.access import Access
from enginehouse.router.api.admin import (
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
from enginehouse.router.api.answers import AnswerServicer
from enginehouse.router.api.cache import CacheServicer
from enginehouse.router.api.experiments import ExperimentServicer, FlagServicer, RolloutServicer
from enginehouse.router.api.ext_authz import Authorization
from enginehouse.router.api.http_server import CheckServer
from enginehouse.router.api.models import ModelsServicer
from enginehouse.router.api.replay import ReplayCall, ReplayCalls, ReplayEngine, ReplayServicer
from enginehouse.router.api.usage import UsageServicer
from enginehouse.router.audit import AuditLog, AuditRecorder
from enginehouse.router.wiring._domains import RouterParts
from enginehouse.router.wiring._environment import Environment


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AuditParts:
    """Who calls an administrative method, and the log that its calls are recorded in."""

    access: Access
    log: AuditLog
    recorder: AuditRecorder


def build_audit(environment: Environment, router: RouterParts) -> AuditParts:
    """Build access and the audit log."""
    clock = environment.clock
    access = Access(grant_keys=environment.grant_keys, caller_of=router.identity.callers.of_principal, clock=clock)
    log = AuditLog(database=environment.database, seal_keys=environment.hasher.seal_keys, clock=clock)
    return AuditParts(access=access, log=log, recorder=AuditRecorder(log=log, identify=access.identify))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ApiParts:
    """The servers of a router, in the order of its addresses."""

    checks: CheckServer
    usage: UsageServicer
    server: EngineServer
    admin_http: MetricsServer


def build_api(
    environment: Environment,
    router: RouterParts,
    audit: AuditParts,
    *,
    lease: Callable[[Address], RegistryLease],
    loaded: Callable[[], bool],
    ready: Callable[[], bool],
    tracing: Tracing | None,
) -> ApiParts:
    """Build the servers.

    Args:
        environment: what everything is built from.
        router: what is served.
        audit: records administrative calls.
        lease: makes the registration for the address that is listened on.
        loaded: returns whether the tables have been read once.
        ready: returns whether decisions can be made.
        tracing: where traces go; None for nowhere.
    """
    settings = environment.settings
    usage = UsageServicer(
        reader=router.ledger.reports,
        ledger=router.ledger.ledger,
        metrics=environment.metrics,
        clock=environment.clock,
        skew_s=settings.ledger.skew_s,
        begun=loaded,
        extender=GrantExtender(
            ledger=router.ledger.ledger,
            exhaustion=router.alerts.exhaustion,
            grant_keys=environment.grant_keys,
            clock=environment.clock,
        ),
    )
    services = [
        _add(usage_pb2_grpc.add_UsageServiceServicer_to_server, usage),
        *_administration(environment, router, audit),
        *_experiments(environment, router, audit.access),
        *_cache(environment, router, audit.access),
    ]
    return ApiParts(
        checks=CheckServer(
            handler=Authorization(
                contracts=environment.contracts,
                admission=router.admission,
                metrics=environment.metrics,
                max_body_bytes=settings.max_body_bytes,
                ready=ready,
            ),
            listen=settings.http_listen,
            max_body_bytes=settings.max_body_bytes,
        ),
        usage=usage,
        server=EngineServer(
            listen=settings.grpc_listen,
            services=[audit.recorder.recorded(add) for add in services],
            lease=lease,
            metrics=RpcMetrics(environment.registry),
            tracing=tracing,
            drain_s=settings.drain_s,
        ),
        admin_http=MetricsServer(listen=settings.admin_http_listen, registry=environment.registry, ready=ready),
    )


def _add(add: Callable[[Any, Any], None], servicer: object) -> AddServicer:
    return lambda server: add(servicer, server)


def _administration(environment: Environment, router: RouterParts, audit: AuditParts) -> list[AddServicer]:
    access, recorder, clock, catalog = audit.access, audit.recorder, environment.clock, environment.catalog
    identity, ledger, decision = router.identity, router.ledger, router.decision
    key_admin = KeyAdmin(
        keys=identity.key_store,
        index=identity.keys,
        users=identity.user_store,
        user_index=identity.users,
        hasher=environment.hasher,
        budgets=ledger.budget_store,
        budget_index=ledger.budgets,
        catalog=catalog,
        routes=environment.routes,
        recorder=recorder,
        clock=clock,
    )
    admin = AdminServicer(
        access=access,
        accounts=AccountAdmin(
            store=identity.key_store,
            keys=key_admin,
            user_index=identity.users,
            policy=decision.policy,
            recorder=recorder,
            clock=clock,
        ),
        budgets=BudgetAdmin(
            store=ledger.budget_store,
            index=ledger.budgets,
            ledger=ledger.ledger,
            keys=identity.key_store,
            clock=clock,
        ),
        catalog=CatalogAdmin(contracts=environment.contracts, state=decision.state, callers=identity.callers),
        spend=SpendAdmin(database=environment.reports),
        prices=PriceAdmin(
            store=decision.price_store,
            refresher=decision.prices,
            keys=identity.key_store,
            policy=decision.policy,
            catalog=catalog,
            clock=clock,
        ),
        alerts=AlertAdmin(store=router.alerts.store),
    )
    users = UserAdmin(
        users=identity.user_store,
        tenants=identity.key_store,
        keys=key_admin,
        user_index=identity.users,
        recorder=recorder,
        clock=clock,
    )
    policies = PolicyAdmin(
        store=decision.policy_store,
        apply=decision.refresher.read_policies,
        policy=decision.policy,
        catalog=catalog,
        contracts=environment.contracts,
        keys=identity.key_store,
        recorder=recorder,
        clock=clock,
    )
    return [
        _add(admin_pb2_grpc.add_AdminServiceServicer_to_server, admin),
        _add(
            models_pb2_grpc.add_ModelsServiceServicer_to_server,
            ModelsServicer(
                state=decision.state, callers=identity.callers, grant_keys=environment.grant_keys, clock=clock
            ),
        ),
        _add(
            feedback_pb2_grpc.add_FeedbackServiceServicer_to_server,
            FeedbackServicer(access=access, store=decision.feedback_store, clock=clock),
        ),
        _add(
            policy_pb2_grpc.add_PolicyServiceServicer_to_server,
            PolicyServicer(access=access, policies=policies),
        ),
        _add(
            identity_pb2_grpc.add_IdentityServiceServicer_to_server,
            IdentityServicer(
                access=access,
                callers=identity.callers,
                users=users,
                keys=key_admin,
                audit=AuditAdmin(log=audit.log),
            ),
        ),
    ]


def _experiments(environment: Environment, router: RouterParts, access: Access) -> list[AddServicer]:
    parts, catalog, clock = router.experiments, environment.catalog, environment.clock
    store, results, apply = parts.store, parts.results, parts.controller.apply
    experiments = ExperimentServicer(
        access=access, store=store, apply=apply, results=results, catalog=catalog, clock=clock
    )
    rollouts = RolloutServicer(access=access, store=store, apply=apply, results=results, catalog=catalog, clock=clock)
    flags = FlagServicer(access=access, store=store, apply=apply, assignment=parts.assignment, clock=clock)
    return [
        _add(experiments_pb2_grpc.add_ExperimentServiceServicer_to_server, experiments),
        _add(rollouts_pb2_grpc.add_RolloutServiceServicer_to_server, rollouts),
        _add(flags_pb2_grpc.add_FlagServiceServicer_to_server, flags),
    ]


def _cache(environment: Environment, router: RouterParts, access: Access) -> list[AddServicer]:
    cache, grant_keys, clock = router.cache, environment.grant_keys, environment.clock
    calls = ReplayCalls(cache=cache.answers, grant_keys=grant_keys, hits=cache.hits, metrics=cache.metrics, clock=clock)
    engine = ReplayEngine()
    openai: TextServicer[ReplayCall] = TextServicer(engine=engine, accept=calls.accept)
    admin = CacheServicer(
        access=access,
        cache=cache.answers,
        memory=cache.memory,
        shared=cache.shared,
        store=cache.store,
        rules=cache.rules,
        metrics=cache.metrics,
        settings=environment.settings.cache,
        contracts=environment.contracts,
        state=router.decision.state,
        keys=router.identity.keys,
        router_id=environment.settings.engine_id,
        clock=clock,
    )
    return [
        _add(
            cache_pb2_grpc.add_AnswerServiceServicer_to_server,
            AnswerServicer(cache=cache.answers, grant_keys=grant_keys, clock=clock),
        ),
        _add(cache_pb2_grpc.add_CacheServiceServicer_to_server, admin),
        _add(
            generation_pb2_grpc.add_GenerationServiceServicer_to_server,
            ReplayServicer(engine=engine, calls=calls),
        ),
        _add(text_pb2_grpc.add_TextServiceServicer_to_server, openai),
    ]
