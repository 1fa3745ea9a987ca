"""The section `router` of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, ClassVar

import pydantic

from enginehouse.kit.config import Section
from enginehouse.router.alerts import AlertSettings
from enginehouse.router.cache import CacheSettings
from enginehouse.router.decision.refresh_settings import RefreshSettings
from enginehouse.router.fleet.health import HealthSettings
from enginehouse.router.identity import IssuerSettings
from enginehouse.router.ledger import LedgerTerms
from enginehouse.router.limits import SharingSettings
from enginehouse.router.policy import TierSettings
from enginehouse.router.redis import check_redis_url

# Whoever pays gets no model of less than 0.2: those are there to be cheap, or to be free.
_TIERS = {
    "free": TierSettings(quality_floor=0.0, quality_ceiling=0.3),
    "starter": TierSettings(quality_floor=0.2, quality_ceiling=0.6),
    "pro": TierSettings(quality_floor=0.2, quality_ceiling=0.85),
    "enterprise": TierSettings(quality_floor=0.2, quality_ceiling=1.0),
}


class LedgerSettings(Section):
    """The ledger's times; see `LedgerTerms` for what each means."""

    replica_ttl_s: float = pydantic.Field(default=60.0, gt=2)
    accept_window_s: float = pydantic.Field(default=10.0, gt=0, le=30)
    skew_s: float = pydantic.Field(default=1.0, ge=0)
    grace_s: float = pydantic.Field(default=30.0, ge=0)
    journal_s: float = pydantic.Field(default=0.05, gt=0)
    journal_age_s: float = pydantic.Field(default=0.2, ge=0, le=5)
    renew_s: float = pydantic.Field(default=1.0, gt=0)
    lease_s: float = pydantic.Field(default=5.0, gt=0)
    idle_s: float = pydantic.Field(default=5.0, gt=0)
    share: int = pydantic.Field(default=8, ge=1)
    recall_s: float = pydantic.Field(default=0.15, ge=0, le=1)
    budget_wait_s: float = pydantic.Field(default=2.0, ge=0, le=30)
    budget_waiters: int = pydantic.Field(default=4000, ge=0)
    budget_waiters_per_account: int = pydantic.Field(default=1000, ge=1)
    settle_gather_s: float = pydantic.Field(default=0.05, ge=0, le=1)

    def terms(self) -> LedgerTerms:
        """As the ledger takes them."""
        return LedgerTerms(**self.model_dump())


class RouterSettings(Section):
    """The router's configuration."""

    renamed: ClassVar[Mapping[str, str]] = MappingProxyType({"feed": "refresh"})

    http_listen: str = "127.0.0.1:18010"
    """Where Envoy asks for decisions, over HTTP/1.1."""
    grpc_listen: str = "127.0.0.1:18011"
    """Where engines report and administration is served."""
    admin_http_listen: str = "127.0.0.1:18012"
    """Metrics and health."""
    gateway_address: str = "127.0.0.1:18000"
    """The gateway's registry, "host:port"."""
    advertise_address: str = ""
    """Where Envoy reaches `grpc_listen`, "ip:port"; empty means the address listened on."""
    engine_id: str = pydantic.Field(default="router-1", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    """This router's name in the registry; unique among routers."""
    database_url: str = pydantic.Field(repr=False)
    """PostgreSQL, "postgresql://..."."""
    redis_url: Annotated[str, pydantic.AfterValidator(check_redis_url)] = pydantic.Field(default="", repr=False)
    """Redis, "redis://...", "rediss://..." or "unix:///path"; empty means that nothing is shared."""
    grant_keys_file: Path
    """Lines "key-id:base64 secret"; the first signs, every one verifies."""
    key_pepper_file: Path
    """The secret that API keys are hashed with; at least 16 bytes."""
    catalog_file: Path
    """The models, their prices and capabilities."""
    predictor_file: Path | None = None
    """The artefact that prompts' complexity is predicted with; without one, that of the package."""
    count_tokens_s: float = pydantic.Field(default=0.15, ge=0, le=2)
    """How long an engine may take to count a prompt that a budget cannot pay at its bound; 0 to ask none."""
    grant_ttl_s: float = pydantic.Field(default=600.0, gt=0)
    """How long an engine may go on spending on a grant."""
    max_body_bytes: int = pydantic.Field(default=32 << 20, gt=0)
    """The largest request body that is looked at; above Envoy's own bound."""
    keys_reload_s: float = pydantic.Field(default=30.0, gt=0)
    """How often every key and budget is read again, besides when one changes."""
    experiments_every_s: float = pydantic.Field(default=5.0, gt=0)
    """How often results may end an experiment or move a rollout."""
    database_pool: int = pydantic.Field(default=8, ge=3, le=100)
    """Connections to PostgreSQL."""
    drain_s: float = pydantic.Field(default=5.0, ge=0)
    """How long running administration calls may finish after a signal."""
    log_level: str = "INFO"
    """The least level that is logged."""
    otlp_endpoint: str = ""
    """Where traces go; empty means nowhere."""
    health: HealthSettings = HealthSettings()
    """When models and engines count as broken, and how requests are spread over engines."""
    alerts: AlertSettings = AlertSettings()
    """Where budgets' alerts go."""
    refresh: RefreshSettings = RefreshSettings()
    """How often feedback and measurements are read again."""
    cache: CacheSettings = CacheSettings()
    """Which answers are kept, for whom and how long."""
    old_key_pepper_files: tuple[Path, ...] = ()
    """Peppers before that one: keys hashed with them still work, and are hashed anew when they are used."""
    limits: SharingSettings = SharingSettings()
    """How replicas share limits when they have Redis."""
    issuers: tuple[IssuerSettings, ...] = ()
    """Identity providers whose tokens are taken besides keys."""
    ledger: LedgerSettings = LedgerSettings()
    """The ledger's times."""
    tiers: Mapping[str, TierSettings] = pydantic.Field(default_factory=lambda: dict(_TIERS))
    """The tiers that tenants may have, by name."""

    @pydantic.model_validator(mode="after")
    def _tiers_named(self) -> RouterSettings:
        missing = [name for name in _TIERS if name not in self.tiers]
        if missing:
            raise ValueError(f"tiers lacks {', '.join(missing)}; name all of {', '.join(_TIERS)}")
        return self
