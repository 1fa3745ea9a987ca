"""The part of the configuration that every engine has; an engine's own section adds to it."""

from __future__ import annotations

from pathlib import Path

import pydantic

from enginehouse.kit.config import Section


class EngineSection(Section):
    """One engine."""

    engine_id: str = pydantic.Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    """Stable across restarts; no two engines share one."""
    listen: str
    """The address of its gRPC server."""
    http_listen: str
    """The address of /metrics, /healthz and /readyz."""
    gateway_address: str | None = None
    """The gateway's registry; without one the engine serves unregistered."""
    router_address: str
    """The router that usage is reported to, or several separated by commas."""
    spool_dir: Path
    """The folder that keeps usage until a router has settled it; on a disk that survives the process."""
    grant_keys_file: Path
    """The keys that routers sign grants with."""
    catalog_file: Path
    """The model catalog."""
    models_dir: Path
    """The folder of weights that were pulled, joined or converted."""
    models: tuple[str, ...] = ()
    """Catalog names to serve, whose weights must be here; empty serves those of this cluster whose weights are here."""
    warm_up: tuple[str, ...] = ()
    """Catalog names to load at start, each of which must load; the others are loaded when they are first used."""
    keep_alive_s: float = pydantic.Field(default=300.0, ge=-1, le=10**9)
    """Seconds without use after which a model is unloaded, unless its catalog entry says otherwise; 0 unloads it at
    once, -1 never."""
    memory_limit_mib: int = pydantic.Field(default=0, ge=0, le=2**30)
    """The memory that loaded models may take together, by their estimates: idle models are unloaded for others, and a
    call for which they leave too little is refused with ENGINE_BUSY. 0 sets no bound."""
    queue_per_model: int = pydantic.Field(default=64, ge=0, le=10_000)
    """Requests that may wait for a slot of a model; more are refused with ENGINE_BUSY."""
    drain_s: float = pydantic.Field(default=30.0, ge=0, le=3600)
    """Seconds that running requests may take to finish after SIGTERM."""
    max_message_bytes: int = pydantic.Field(default=8 * 2**20, ge=64 * 1024, le=2**30)
    """The largest request that is accepted."""
    log_level: str = pydantic.Field(default="INFO", pattern=r"^(DEBUG|INFO|WARNING|ERROR)$")
    """The lowest level that is logged."""
    otlp_endpoint: str | None = None
    """An OpenTelemetry collector's gRPC address; without one nothing is traced."""
