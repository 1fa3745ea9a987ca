"""Start a mesh in order, keep it running, and stop it in order.

Processes without dependencies start at once, in parallel. The router waits for its tables, Envoy for its bootstrap. To
stop, engines go first: they finish their streams through the running Envoy, and report their last usage to the running
router. PostgreSQL goes last.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from enginehouse.kit.addresses import Address
from enginehouse.local import logfiles
from enginehouse.local.absent_weights import models_without_weights
from enginehouse.local.datadir import DataDirectory
from enginehouse.local.endpoints import Endpoints, PortBlock, check_free
from enginehouse.local.errors import LocalError
from enginehouse.local.mesh import Mesh, find_envoy
from enginehouse.local.orphans import stop_orphans
from enginehouse.local.pids import process_start_id
from enginehouse.local.postgres import find_programs, open_cluster
from enginehouse.local.probes import http_status
from enginehouse.local.process import Process, ProcessSpec
from enginehouse.local.settings import Settings, engine_names, router_names
from enginehouse.local.state import Condition, MeshState, Phase, ProcessState

_ROTATION_S = 5.0
# PostgreSQL connections per router: twice its pool. One more share is for commands and for people with `psql`.
_CONNECTIONS_PER_ROUTER = 20


class Supervisor:
    """One run of a mesh on this machine.

    Args:
        settings: the user's settings.
        data: the data directory; need not exist.
        port: the public port; None takes the settings' one.
        environ: this process's environment.
        changed: called with the state after each change.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        data: DataDirectory,
        port: int | None,
        environ: Mapping[str, str],
        changed: Callable[[MeshState], None],
    ) -> None:
        self._settings = settings
        self._data = data
        self._public = settings.public(port)
        self._environ = environ
        self._notify = changed
        self._processes: dict[str, Process] = {}
        self._engine_names: list[str] = []
        self._writable = False
        self.state = MeshState(
            phase=Phase.STARTING,
            data=str(data.root),
            url=f"{'https' if settings.tls else 'http'}://{_reachable(self._public)}",
            pid=os.getpid(),
            start_id=process_start_id(os.getpid()),
            started_at=time.time(),
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Run the mesh until the event is set.

        Raises:
            LocalError: the mesh could not be started. Processes that had started are stopped again.
        """
        try:
            await self._run(stop)
        except LocalError as error:
            self.state.error = str(error)
            self._enter(Phase.FAILED)
            raise

    async def _run(self, stop: asyncio.Event) -> None:
        find_envoy()
        if not self._settings.external_database_url:
            find_programs()
        self._data.inspect()
        is_new = not self._data.root.exists()
        if is_new:
            check_free(self._public)
        lock = self._data.lock()
        try:
            await asyncio.to_thread(stop_orphans, self._data)
            check_free(self._public)
            block = PortBlock()
            try:
                await self._run_locked(stop, block)
            finally:
                block.close()
        finally:
            if is_new and not self._data.exists:
                (self._data.root / "lock").unlink(missing_ok=True)
                self._data.root.rmdir()
            lock.close()

    def kill_all(self) -> None:
        """Kill the processes that are still stopping, for a user who does not wait. The next start recovers."""
        if self.state.phase is Phase.STOPPING:
            for process in self._processes.values():
                process.kill()

    async def _run_locked(self, stop: asyncio.Event, block: PortBlock) -> None:
        specs = self._settings.engines
        self._data.prepare(folders=[folder for spec in specs.values() for folder in spec.data_folders.values()])
        self._writable = True
        replicas = self._settings.engines_to_start(self._data)
        routers = self._settings.local.router_replicas
        endpoints = self._settings.apply_addresses(
            block.endpoints(self._public, engines=replicas, router_replicas=routers)
        )
        cluster = None
        if not self._settings.external_database_url:
            cluster, self.state.notices = open_cluster(
                self._data.postgres, run=self._data.run, connections=_CONNECTIONS_PER_ROUTER * (routers + 1)
            )
        catalog = self._settings.catalog_file(self._data)
        self._settings.copy_catalog(self._data)
        self.state.catalog = str(catalog)
        for kind in self._settings.wanted_engines():
            if kind not in replicas:
                self.state.notices.append(
                    f"no {kind} engine was started: {catalog} has no model of that kind; add one to it"
                )
        self.state.absent_weights = models_without_weights(
            {kind: self._settings.models_to_serve(kind, self._data) for kind in replicas},
            self._settings.engines,
            models_dir=self._data.models,
        )
        mesh = Mesh(
            settings=self._settings, data=self._data, endpoints=endpoints, cluster=cluster, environ=self._environ
        )
        self.state.endpoints = _by_name(endpoints)
        self._engine_names = [spec.name for spec in mesh.engines()]
        database = mesh.database()
        waiting = ([database] if database else []) + [mesh.gateway(), *mesh.routers(), *mesh.engines(), mesh.envoy()]
        self.state.processes = [ProcessState(name=spec.name) for spec in waiting]
        self._enter(Phase.STARTING)
        starting = asyncio.create_task(self._start(mesh, endpoints))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                self.state.ready_after_s = time.time() - self.state.started_at
                self._enter(Phase.READY)
                await self._rotate_logs_until(stop)
        finally:
            for task in (starting, stopping):
                task.cancel()
            await asyncio.gather(starting, stopping, return_exceptions=True)
            await self._stop_all()

    async def _start(self, mesh: Mesh, endpoints: Endpoints) -> None:
        timeout_s = self._settings.local.ready_timeout_s
        try:
            async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as group:
                started = group.create_task(self._start_ledger(mesh))
                group.create_task(self._start_edge(mesh))
                for engine in mesh.engines():
                    group.create_task(self._start_process(engine))
            async with asyncio.timeout(timeout_s):
                specs = (self._settings.engines[kind] for kind in endpoints.engines)
                paths = [spec.ready_path for spec in specs if spec.ready_path is not None] or ["/v1/models"]
                key = await self._wait_until_serving(mesh, started.result(), paths)
                mesh.write_environment(url=self.state.url, key=key)
        except TimeoutError:
            late = [process.name for process in self.state.processes if process.condition is not Condition.READY]
            fault = f"{', '.join(late)} not ready" if late else "no answer of an engine through Envoy"
            raise LocalError(f"{fault} after {timeout_s:g} s (logs: {self._data.logs})") from None
        except ExceptionGroup as failures:
            # One error is enough: the others follow from it, or show at the next start.
            raise _first(failures) or failures from None

    async def _start_ledger(self, mesh: Mesh) -> str:
        await mesh.create_cluster()
        database = mesh.database()
        if database is not None:
            await self._start_process(database)
        await mesh.create_database()
        async with asyncio.TaskGroup() as group:
            for router in mesh.routers():
                group.create_task(self._start_process(router))
            key = mesh.stored_key() or await mesh.create_key()
        self._data.finish()
        return key

    async def _start_edge(self, mesh: Mesh) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._start_process(mesh.gateway()))
            await mesh.write_envoy_bootstrap()
            group.create_task(self._start_process(mesh.envoy()))

    async def _wait_until_serving(self, mesh: Mesh, key: str, paths: Sequence[str]) -> str:
        """Wait until engines answer through Envoy at all the paths, and return the accepted key."""
        left = list(paths)
        renewed = False
        while True:
            headers = (("authorization", f"Bearer {key}"),)
            status = await http_status(self._public, left[0], headers=headers, tls=self._settings.tls)
            if status == 200:
                left.pop(0)
                if not left:
                    return key
                continue
            if status == 401 and not renewed:
                # The key in dev.env was revoked, or belongs to another database.
                key, renewed = await mesh.create_key(), True
                self.state.notices.append("the key in dev.env was no longer valid; a new one was created")
            await asyncio.sleep(0.05)

    async def _start_process(self, spec: ProcessSpec) -> None:
        state = next(state for state in self.state.processes if state.name == spec.name)
        process = Process(spec, state=state, changed=self._changed)
        self._processes[spec.name] = process
        await process.start()

    async def _rotate_logs_until(self, stop: asyncio.Event) -> None:
        local = self._settings.local
        while not stop.is_set():
            for path in self._data.logs.glob("*.log"):
                logfiles.rotate(path, max_bytes=local.log_bytes, files=local.log_files)
            try:
                await asyncio.wait_for(stop.wait(), _ROTATION_S)
            except TimeoutError:
                continue

    async def _stop_all(self) -> None:
        self._enter(Phase.STOPPING)
        routers = router_names(self._settings.local.router_replicas)
        for names in (self._engine_names, ["envoy"], routers, ["gateway"], ["postgres"]):
            stopping = [self._processes[name].stop() for name in names if name in self._processes]
            await asyncio.gather(*stopping)
        self._enter(Phase.STOPPED)

    def _enter(self, phase: Phase) -> None:
        self.state.phase = phase
        self._changed()

    def _changed(self) -> None:
        if self._writable:
            try:
                self.state.write(self._data.state)
            except OSError as error:
                # A full disk must not stop the mesh; `status` shows an older state until there is space.
                notice = f"state could not be written: {error.strerror}"
                if notice not in self.state.notices:
                    self.state.notices.append(notice)
        self._notify(self.state)


def _first(failures: ExceptionGroup[Exception]) -> LocalError | None:
    for failure in failures.exceptions:
        found = _first(failure) if isinstance(failure, ExceptionGroup) else failure
        if isinstance(found, LocalError):
            return found
    return None


def _reachable(address: Address) -> Address:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
    return Address(host, address.port)


def _by_name(endpoints: Endpoints) -> dict[str, str]:
    named = {
        "public": str(endpoints.public),
        "gateway-grpc": str(endpoints.gateway_grpc),
        "gateway-http": str(endpoints.gateway_http),
        "envoy-admin": str(endpoints.envoy_admin),
    }
    for name, router in zip(router_names(len(endpoints.routers)), endpoints.routers, strict=True):
        named[f"{name}-decisions"] = str(router.decisions)
        named[f"{name}-grpc"] = str(router.grpc)
        named[f"{name}-http"] = str(router.http)
    for kind, replicas in endpoints.engines.items():
        for name, engine in zip(engine_names(kind, len(replicas)), replicas, strict=True):
            named[f"{name}-grpc"] = str(engine.grpc)
            named[f"{name}-http"] = str(engine.http)
    return named


def log_paths(data: DataDirectory) -> dict[str, Path]:
    """Return the current log files by process name."""
    return {path.stem: path for path in sorted(data.logs.glob("*.log"))}
