"""The user's settings for a mesh on this machine, and the configuration that is generated for its processes.

The user's file has the processes' own sections (docs/ARCHITECTURE.md) and one of this package, `local`. Its values
override generated ones, key by key.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pydantic
import yaml

from enginehouse.kit.addresses import Address, parse_address
from enginehouse.kit.catalog import Catalog, CatalogModel, load_catalog
from enginehouse.kit.config import ConfigError, Section, load
from enginehouse.kit.engine import EngineSpec
from enginehouse.kit.nearest import did_you_mean
from enginehouse.local.datadir import DataDirectory, replace_text
from enginehouse.local.endpoints import Endpoints
from enginehouse.local.engines import RESERVED
from enginehouse.local.errors import LocalError

# Addresses that the user's file may set: the field of Endpoints, and the section and key of the file.
_CONFIGURABLE = {
    "gateway_grpc": ("gateway", "grpc_listen"),
    "gateway_http": ("gateway", "http_listen"),
    "envoy_admin": ("gateway", "envoy_admin"),
}
_CONFIGURABLE_OF_ROUTER = {"decisions": "http_listen", "grpc": "grpc_listen", "http": "admin_http_listen"}
_MAX_ENGINES_OF_A_KIND = 32


class LocalSection(Section):
    """The section `local` of the user's file: how this machine runs the mesh."""

    engines: dict[str, int] = pydantic.Field(default_factory=dict)
    """The number of engines of each kind, 0 to 32; a kind that is not listed has one."""
    router_replicas: int = pydantic.Field(default=1, ge=1, le=16)
    """The number of routers behind Envoy, which share one ledger."""
    catalog_file: Path | None = None
    """The catalog for router and engines; default: the data directory's."""
    ready_timeout_s: float = pydantic.Field(default=60, gt=0)
    """The longest that the mesh may take to become ready."""
    stop_timeout_s: float = pydantic.Field(default=35, gt=0)
    """The longest that a process may take to stop before it is killed; must exceed the engines' `drain_s`."""
    log_bytes: int = pydantic.Field(default=16 * 1024 * 1024, ge=64 * 1024)
    """The size at which a log file is rotated."""
    log_files: int = pydantic.Field(default=3, ge=0, le=100)
    """The number of rotated log files that are kept for each process."""


class Settings:
    """The user's settings, validated.

    Args:
        file: the user's file, or None.
        environ: the environment, whose `ENGINEHOUSE_LOCAL__...` variables override the section `local`.
        engines: the installed engines by kind.

    Raises:
        LocalError: the file cannot be read or has invalid values.
    """

    def __init__(
        self, file: Path | None, *, environ: Mapping[str, str], engines: Mapping[str, EngineSpec[Any]]
    ) -> None:
        self.engines = engines
        self._environ = dict(environ)
        try:
            self.local = load(_section_for(engines), section="local", path=file, environ=environ)
            document: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8")) or {} if file else {}
        except ConfigError as error:
            raise LocalError(str(error)) from error
        self._sections: dict[str, dict[str, Any]] = {}
        for name, section in document.items():
            if name not in (*RESERVED, *engines):
                suggestion = did_you_mean(name, (*RESERVED, *engines), list_known=True)
                raise LocalError(f"{file}: unknown section {name!r}{suggestion}")
            if section is not None and not isinstance(section, dict):
                raise LocalError(f"{file}: section {name!r} must be a mapping of keys to values")
            self._sections[name] = section or {}
        for kind, count in self.local.engines.items():
            if kind not in engines:
                suggestion = did_you_mean(kind, engines, list_known=True)
                raise LocalError(f"local.engines: unknown kind of engine {kind!r}{suggestion}")
            if not 0 <= count <= _MAX_ENGINES_OF_A_KIND:
                raise LocalError(f"local.engines.{kind}: must be 0 to {_MAX_ENGINES_OF_A_KIND} (got {count})")

    def public(self, port: int | None) -> Address:
        """Return Envoy's address: the port of the command line, on the host of the user's file."""
        configured = self._value("gateway", "public_listen")
        try:
            address = parse_address(str(configured)) if configured else Address("127.0.0.1", 8080)
        except ConfigError as error:
            raise LocalError(f"gateway.public_listen: {error}") from error
        return address if port is None else Address(address.host, port)

    def apply_addresses(self, endpoints: Endpoints) -> Endpoints:
        """Return the endpoints with the addresses that the user's file sets.

        What it sets for the router applies only where a single router runs.

        Raises:
            LocalError: an address is invalid.
        """
        configured: dict[str, Any] = {
            field: address
            for field, (section, key) in _CONFIGURABLE.items()
            if (address := self._address(section, key)) is not None
        }
        if len(endpoints.routers) == 1:
            router = {
                field: address
                for field, key in _CONFIGURABLE_OF_ROUTER.items()
                if (address := self._address("router", key)) is not None
            }
            configured["routers"] = (dataclasses.replace(endpoints.routers[0], **router),)
        return dataclasses.replace(endpoints, **configured)

    @property
    def tls(self) -> bool:
        """True if the public address speaks TLS."""
        edge = self._sections.get("gateway", {}).get("edge")
        variable = "ENGINEHOUSE_GATEWAY__EDGE__TLS_CERTIFICATE_FILE"
        return bool(self._environ.get(variable) or (isinstance(edge, dict) and edge.get("tls_certificate_file")))

    @property
    def external_database_url(self) -> str:
        """The URL of the user's own PostgreSQL; empty where the wheel's is run."""
        return str(self._value("router", "database_url") or "")

    def wanted_engines(self) -> dict[str, int]:
        """Return the number of engines of each kind that the user wants, without kinds that have none."""
        wanted = {kind: self.local.engines.get(kind, 1) for kind in self.engines}
        return {kind: count for kind, count in wanted.items() if count}

    def engines_to_start(self, data: DataDirectory) -> dict[str, int]:
        """Return the number of engines of each kind to start: those wanted whose kind has a model in the catalog.

        A data directory that is older than a kind of engine starts as it did before.

        Raises:
            LocalError: the catalog cannot be read.
        """
        catalog = self._read_catalog(data)
        return {kind: count for kind, count in self.wanted_engines().items() if catalog.for_cluster(kind)}

    def models_to_serve(self, kind: str, data: DataDirectory) -> list[CatalogModel]:
        """Return the models that engines of a kind are to serve: those that the user names, or all of the catalog.

        Raises:
            LocalError: the catalog cannot be read.
        """
        named = self._sections.get(kind, {}).get("models")
        return [model for model in self._read_catalog(data).for_cluster(kind) if not named or model.name in named]

    def catalog_file(self, data: DataDirectory) -> Path:
        """Return the path of the catalog file: the user's, or the data directory's."""
        return self.local.catalog_file.absolute() if self.local.catalog_file else data.catalog

    def copy_catalog(self, data: DataDirectory) -> None:
        """Copy the catalog file for the processes of one start.

        They all read the copy: one that is restarted meanwhile serves what the others do, whatever the file has become.
        """
        text = self.catalog_file(data).read_text(encoding="utf-8")
        replace_text(data.served_catalog, text, mode=0o600)

    def process_configs(self, data: DataDirectory, endpoints: Endpoints) -> dict[str, dict[str, Any]]:
        """Return the configuration of each process by name: generated values, overridden by the user's."""
        catalog = str(data.served_catalog)
        gateway = {
            "public_listen": str(endpoints.public),
            "grpc_listen": str(endpoints.gateway_grpc),
            "http_listen": str(endpoints.gateway_http),
            "router_http": ",".join(str(router.decisions) for router in endpoints.routers),
            "envoy_admin": str(endpoints.envoy_admin),
            "state_file": str(data.gateway_state),
        }
        configs = {"gateway": {"gateway": {**gateway, **self._overrides("gateway", without=("public_listen",))}}}
        # Each of several routers has its own id and addresses, even if the file sets them.
        own = ("engine_id", *_CONFIGURABLE_OF_ROUTER.values()) if len(endpoints.routers) > 1 else ()
        names = router_names(len(endpoints.routers))
        for number, (name, router) in enumerate(zip(names, endpoints.routers, strict=True), start=1):
            section = {
                "engine_id": f"router-{number}",
                "http_listen": str(router.decisions),
                "grpc_listen": str(router.grpc),
                "admin_http_listen": str(router.http),
                "gateway_address": str(endpoints.gateway_grpc),
                "grant_keys_file": str(data.grant_keys),
                "key_pepper_file": str(data.key_pepper),
                "catalog_file": catalog,
                **self._overrides("router", without=("database_url", *own)),
            }
            configs[name] = {"router": section}
        for kind, replicas in endpoints.engines.items():
            for name, engine in zip(engine_names(kind, len(replicas)), replicas, strict=True):
                section = {
                    "engine_id": name,
                    "listen": str(engine.grpc),
                    "http_listen": str(engine.http),
                    "gateway_address": str(endpoints.gateway_grpc),
                    "router_address": ",".join(str(router.grpc) for router in endpoints.routers),
                    "spool_dir": str(data.spool / name),
                    "grant_keys_file": str(data.grant_keys),
                    "catalog_file": catalog,
                    "models_dir": str(data.models),
                    **{key: str(data.root / folder) for key, folder in self.engines[kind].data_folders.items()},
                    # Each engine has its own id, addresses and spool, even if the file sets them.
                    **self._overrides(kind, without=("engine_id", "listen", "http_listen", "spool_dir")),
                }
                configs[name] = {kind: section}
        return configs

    def write(self, configs: Mapping[str, dict[str, Any]], folder: Path) -> dict[str, Path]:
        """Write the configuration files (0600) and return their paths by process name."""
        paths = {}
        for name, config in configs.items():
            paths[name] = folder / f"{name}.yaml"
            replace_text(paths[name], yaml.safe_dump(config, sort_keys=False), mode=0o600)
        return paths

    def _read_catalog(self, data: DataDirectory) -> Catalog:
        try:
            return load_catalog(self.catalog_file(data))
        except ConfigError as error:
            raise LocalError(str(error)) from error

    def _address(self, section: str, key: str) -> Address | None:
        value = self._sections.get(section, {}).get(key)
        if value is None:
            return None
        try:
            return parse_address(str(value))
        except ConfigError as error:
            raise LocalError(f"{section}.{key}: {error}") from error

    def _overrides(self, section: str, *, without: tuple[str, ...]) -> dict[str, Any]:
        values = copy.deepcopy(self._sections.get(section, {}))
        return {key: value for key, value in values.items() if key not in without}

    def _value(self, section: str, key: str) -> Any:
        variable = f"ENGINEHOUSE_{section}__{key}".upper()
        return self._environ.get(variable) or self._sections.get(section, {}).get(key)


def _section_for(engines: Iterable[str]) -> type[LocalSection]:
    class InstalledSection(LocalSection):
        # Each kind of engine had a key of its own once.
        renamed = MappingProxyType({f"{kind}_replicas": f"engines: {{{kind}: N}}" for kind in engines})

    return InstalledSection


def router_names(count: int) -> tuple[str, ...]:
    """Return the names of the routers' processes: `router` for a single one, else `router-1` and so on."""
    return ("router",) if count == 1 else tuple(f"router-{number}" for number in range(1, count + 1))


def engine_names(kind: str, count: int) -> tuple[str, ...]:
    """Return the names of the processes of one kind of engine: `KIND-1` and so on."""
    return tuple(f"{kind}-{number}" for number in range(1, count + 1))


def process_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for the processes.

    Their addresses are set in their files, where the supervisor looks for them. So variables that would change an
    address are left out.
    """
    kept = {}
    for name, value in environ.items():
        section, separator, key = name.partition("__")
        if not (separator and section.startswith("ENGINEHOUSE_") and key.endswith(_ADDRESS_KEYS)):
            kept[name] = value
    return kept


_ADDRESS_KEYS = ("LISTEN", "ADDRESS", "ROUTER_HTTP", "ENVOY_ADMIN", "ENGINE_ID", "SPOOL_DIR")
