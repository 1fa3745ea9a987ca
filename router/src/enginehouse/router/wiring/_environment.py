"""The foundation of every domain of one router."""

from __future__ import annotations

import dataclasses

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.kit.catalog import Catalog
from enginehouse.kit.config import ConfigError
from enginehouse.kit.contracts import Contracts, load_contracts
from enginehouse.kit.grants import GrantKeys
from enginehouse.router.clock import SteadyClock
from enginehouse.router.database import open_database
from enginehouse.router.identity import KeyHasher
from enginehouse.router.limits import RoutedMethods
from enginehouse.router.metrics import RouterMetrics
from enginehouse.router.settings import RouterSettings

_REPORT_CONNECTIONS = 4
_REPORT_S = 120.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """The settings, secrets, connections, clock and metrics of one router.

    Attributes:
        database: PostgreSQL, for statements that are short.
        reports: PostgreSQL, for sums over years and files for slow readers: they must not keep the ledger from its
            connections.
    """

    settings: RouterSettings
    database: AsyncEngine
    reports: AsyncEngine
    catalog: Catalog
    contracts: Contracts
    routes: RoutedMethods
    grant_keys: GrantKeys
    hasher: KeyHasher
    clock: SteadyClock
    registry: CollectorRegistry
    metrics: RouterMetrics


def build_environment(
    *, settings: RouterSettings, database: AsyncEngine, catalog: Catalog, grant_keys: GrantKeys, hasher: KeyHasher
) -> Environment:
    """Return the environment of a router with these settings; no connection is opened yet.

    Raises:
        ConfigError: a tier bounds a route that no contract has.
    """
    contracts = load_contracts()
    routes = RoutedMethods(contracts)
    _check_tiers(settings, routes)
    registry = CollectorRegistry()
    metrics = RouterMetrics(registry=registry)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return Environment(
        settings=settings,
        database=database,
        reports=open_database(settings.database_url, pool_size=_REPORT_CONNECTIONS, statement_s=_REPORT_S),
        catalog=catalog,
        contracts=contracts,
        routes=routes,
        grant_keys=grant_keys,
        hasher=hasher,
        clock=SteadyClock(),
        registry=registry,
        metrics=metrics,
    )


def _check_tiers(settings: RouterSettings, routes: RoutedMethods) -> None:
    for name, tier in settings.tiers.items():
        for route in tier.routes:
            try:
                routes.check(route)
            except ValueError as error:
                raise ConfigError(f"router.tiers.{name}.routes: {error}") from None
