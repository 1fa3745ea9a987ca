"""What the user may say about a mesh on this machine, and the configuration that its processes are given.

The user's file has the processes' own sections (docs/ARCHITECTURE.md) and one of this package, `local`. What it says
goes over what is generated here, key by key.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pydantic
import yaml

from enginehouse.kit.addresses import Address, parse_address
from enginehouse.kit.catalog import load_catalog
from enginehouse.kit.config import ConfigError, Section, load
from enginehouse.local.datadir import DataDirectory, replace_text
from enginehouse.local.endpoints import Endpoints
from enginehouse.local.errors import LocalError

ENGINES = ("inference", "voice")
"""The kinds of engines, by the names of their sections and of their packages in `enginehouse.engines`."""

SECTIONS = ("gateway", "router", *ENGINES, "local")
"""The sections that a user's file may have."""

# Where the user's file may move a door: its field here, and the section and key there.
_MOVABLE = {
    "gateway_grpc": ("gateway", "grpc_listen"),
    "gateway_http": ("gateway", "http_listen"),
    "envoy_admin": ("gateway", "envoy_admin"),
}
_MOVABLE_OF_ROUTER = {"decisions": "http_listen", "grpc": "grpc_listen", "http": "admin_http_listen"}


class LocalSection(Section):
    """The section `local` of the user's file: how this machine runs the mesh."""

    inference_replicas: int = pydantic.Field(default=1, ge=0, le=32)
    """How many text engines run side by side; 0 where they all run elsewhere."""
    voice_replicas: int = pydantic.Field(default=1, ge=0, le=32)
    """How many voice engines; 0 where they all run elsewhere, or none is wanted."""
    router_replicas: int = pydantic.Field(default=1, ge=1, le=16)
    """How many routers run side by side behind Envoy, on one ledger."""
    catalog_file: Path | None = None
    """The catalog for router and engines instead of the data directory's own."""
    ready_timeout_s: float = pydantic.Field(default=60, gt=0)
    """How long the whole mesh may take to be ready."""
    stop_timeout_s: float = pydantic.Field(default=35, gt=0)
    """How long each process may take to end its work before it is killed; over the engines' own `drain_s`."""
    log_bytes: int = pydantic.Field(default=16 * 1024 * 1024, ge=64 * 1024)
    """The size at which a log file is set aside."""
    log_files: int = pydantic.Field(default=3, ge=0, le=100)
    """How many set-aside log files of a process are kept."""


class Settings:
    """The user's wishes, checked.

    Args:
        file: the user's file, or None.
        environ: the environment, whose `ENGINEHOUSE_LOCAL__...` variables go over the section `local`.

    Raises:
        LocalError: the file cannot be read, or says something that cannot be.
    """

    def __init__(self, file: Path | None, *, environ: Mapping[str, str]) -> None:
        try:
            self.local = load(LocalSection, section="local", path=file, environ=environ)
            document: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8")) or {} if file else {}
        except ConfigError as error:
            raise LocalError(str(error)) from error
        self._sections: dict[str, dict[str, Any]] = {}
        for name, section in document.items():
            if name not in SECTIONS:
                raise LocalError(f"{file}: unknown section {name!r}{nearest(name, SECTIONS)}")
            if section is not None and not isinstance(section, dict):
                raise LocalError(f"{file}: section {name!r} must be a mapping of keys to values")
            self._sections[name] = section or {}
        self._environ = dict(environ)

    def public(self, port: int | None) -> Address:
        """Where Envoy listens: the port given on the command line, on the host of the user's file."""
        configured = self._value("gateway", "public_listen")
        try:
            address = parse_address(str(configured)) if configured else Address("127.0.0.1", 8080)
        except ConfigError as error:
            raise LocalError(f"gateway.public_listen: {error}") from error
        return address if port is None else Address(address.host, port)

    def place(self, endpoints: Endpoints) -> Endpoints:
        """Return the endpoints with the addresses that the user's file sets.

        What it sets for the router applies only where a single router runs.

        Raises:
            LocalError: an address there is none.
        """
        moved: dict[str, Any] = {
            field: address
            for field, (section, key) in _MOVABLE.items()
            if (address := self._address(section, key)) is not None
        }
        if len(endpoints.routers) == 1:
            moved_router = {
                field: address
                for field, key in _MOVABLE_OF_ROUTER.items()
                if (address := self._address("router", key)) is not None
            }
            moved["routers"] = (dataclasses.replace(endpoints.routers[0], **moved_router),)
        return dataclasses.replace(endpoints, **moved)

    @property
    def tls(self) -> bool:
        """Whether the public door speaks TLS."""
        edge = self._sections.get("gateway", {}).get("edge")
        variable = "ENGINEHOUSE_GATEWAY__EDGE__TLS_CERTIFICATE_FILE"
        return bool(self._environ.get(variable) or (isinstance(edge, dict) and edge.get("tls_certificate_file")))

    @property
    def external_database_url(self) -> str:
        """Its URL; empty where the wheel's PostgreSQL is run."""
        return str(self._value("router", "database_url") or "")

    def replicas(self, data: DataDirectory) -> dict[str, int]:
        """How many engines of each kind run: as many as the user says. Of a kind that came after the text engine, none
        where the catalog has no model for it: a data directory that is older than the kind starts as it did.

        Raises:
            LocalError: the catalog cannot be read.
        """
        try:
            catalog = load_catalog(self.local.catalog_file or data.catalog)
        except ConfigError as error:
            raise LocalError(str(error)) from error
        voice = self.local.voice_replicas if catalog.for_cluster("voice") else 0
        wanted = {"inference": self.local.inference_replicas, "voice": voice}
        return {kind: count for kind, count in wanted.items() if count}

    def documents(self, data: DataDirectory, endpoints: Endpoints) -> dict[str, dict[str, Any]]:
        """The configuration files of the processes, by process name: generated values with the user's over them."""
        catalog = str(self.local.catalog_file.absolute() if self.local.catalog_file else data.catalog)
        gateway = {
            "public_listen": str(endpoints.public),
            "grpc_listen": str(endpoints.gateway_grpc),
            "http_listen": str(endpoints.gateway_http),
            "router_http": ",".join(str(router.decisions) for router in endpoints.routers),
            "envoy_admin": str(endpoints.envoy_admin),
            "state_file": str(data.gateway_state),
        }
        documents = {"gateway": {"gateway": {**gateway, **self._wishes("gateway", without=("public_listen",))}}}
        # Where there are several, each has an identity and endpoints of its own, whatever the file says of one.
        own = ("engine_id", *_MOVABLE_OF_ROUTER.values()) if len(endpoints.routers) > 1 else ()
        for number, (name, router) in enumerate(
            zip(router_names(len(endpoints.routers)), endpoints.routers, strict=True), start=1
        ):
            section = {
                "engine_id": f"router-{number}",
                "http_listen": str(router.decisions),
                "grpc_listen": str(router.grpc),
                "admin_http_listen": str(router.http),
                "gateway_address": str(endpoints.gateway_grpc),
                "grant_keys_file": str(data.grant_keys),
                "key_pepper_file": str(data.key_pepper),
                "catalog_file": catalog,
                **self._wishes("router", without=("database_url", *own)),
            }
            documents[name] = {"router": section}
        for kind, replicas in endpoints.engines.items():
            for number, engine in enumerate(replicas, start=1):
                name = f"{kind}-{number}"
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
                    **({"voices_dir": str(data.voices)} if kind == "voice" else {}),
                    # Each replica has an identity and endpoints of its own, whatever the file says of one engine.
                    **self._wishes(kind, without=("engine_id", "listen", "http_listen", "spool_dir")),
                }
                documents[name] = {kind: section}
        return documents

    def write(self, documents: Mapping[str, dict[str, Any]], folder: Path) -> dict[str, Path]:
        """Writes the files (0600) and returns their paths by process name."""
        paths = {}
        for name, document in documents.items():
            paths[name] = folder / f"{name}.yaml"
            replace_text(paths[name], yaml.safe_dump(document, sort_keys=False), mode=0o600)
        return paths

    def _address(self, section: str, key: str) -> Address | None:
        value = self._sections.get(section, {}).get(key)
        if value is None:
            return None
        try:
            return parse_address(str(value))
        except ConfigError as error:
            raise LocalError(f"{section}.{key}: {error}") from error

    def _wishes(self, section: str, *, without: tuple[str, ...]) -> dict[str, Any]:
        wishes = copy.deepcopy(self._sections.get(section, {}))
        return {key: value for key, value in wishes.items() if key not in without}

    def _value(self, section: str, key: str) -> Any:
        variable = f"ENGINEHOUSE_{section}__{key}".upper()
        return self._environ.get(variable) or self._sections.get(section, {}).get(key)


def router_names(count: int) -> tuple[str, ...]:
    """What the routers' processes are called: `router` where there is one, else `router-1` and so on."""
    return ("router",) if count == 1 else tuple(f"router-{number}" for number in range(1, count + 1))


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or what is known, for an unknown name."""
    choices = sorted(known)
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(choices)}"


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
