"""Status of a mesh: its state, memory and CPU time by process, and its engines."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping

import grpc
import psutil

from enginehouse.api.gateway.v1 import registry_pb2, registry_pb2_grpc
from enginehouse.local.datadir import DataDirectory
from enginehouse.local.pending_catalog import pending_catalog
from enginehouse.local.pids import find_process
from enginehouse.local.state import Condition, MeshState, Phase


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """Status of a process with its children.

    Attributes:
        name: such as `router`; `supervisor` for the supervisor itself.
        pid: its pid; 0 if it does not run.
        state: its condition.
        restarts: the number of restarts.
        up_s: seconds since its start.
        rss_bytes: resident memory, with shared pages counted in full.
        memory_bytes: proportional set size (PSS) where the system has it, else `rss_bytes`.
        cpu_percent: CPU use of one core, over the sampled time.
        cpu_s: CPU seconds since its start.
        note: the reason of its condition.
    """

    name: str
    pid: int
    state: str
    restarts: int
    up_s: float
    rss_bytes: int
    memory_bytes: int
    cpu_percent: float
    cpu_s: float
    note: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """Status of a live engine, from the registry."""

    engine_id: str
    cluster: str
    address: str
    models: tuple[str, ...]
    capacity: int
    active: int
    queued: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MeshStatus:
    """Status of a mesh.

    Attributes:
        phase: its phase; `stopped` if its supervisor is gone.
        url: the public URL.
        data: the data directory.
        ready_after_s: seconds that its start took.
        up_s: seconds since its start began.
        memory_bytes: the sum over all processes, with the supervisor.
        processes: in the order of their start, the supervisor last.
        engines: live engines by id; empty if the registry does not answer.
        notices: messages to the user.
        absent_weights: models that are not served because their weights are not installed, with the fault and the fix.
        error: the reason why the last start failed; empty if it did not.
        pending_catalog: what of the catalog file waits for a restart; empty if nothing does.
    """

    phase: str
    url: str
    data: str
    ready_after_s: float
    up_s: float
    memory_bytes: int
    processes: tuple[ProcessStatus, ...]
    engines: tuple[EngineStatus, ...]
    notices: tuple[str, ...]
    absent_weights: Mapping[str, str]
    error: str
    pending_catalog: str = ""


def measure(data: DataDirectory, *, sample_s: float = 0.2) -> MeshStatus | None:
    """Return the status of a data directory's mesh; None if none was ever started.

    Args:
        data: the data directory.
        sample_s: the time over which CPU use is measured.
    """
    state = MeshState.read(data.state)
    if state is None:
        return None
    supervisor = find_process(state.pid, state.start_id)
    families = {process.name: _family(find_process(process.pid, process.start_id)) for process in state.processes}
    families["supervisor"] = [supervisor] if supervisor is not None else []
    before = {name: _cpu_s(family) for name, family in families.items()}
    began = time.monotonic()
    engines = _engines(state.endpoints.get("gateway-grpc", "")) if supervisor is not None else ()
    time.sleep(max(0.0, sample_s - (time.monotonic() - began)))
    elapsed = time.monotonic() - began
    statuses = []
    for process in state.processes:
        family = families[process.name]
        statuses.append(
            _process_status(
                process.name,
                family,
                # A killed supervisor could not write that its processes ended with it.
                condition=str(process.condition if family or not process.pid else Condition.STOPPED),
                restarts=process.restarts,
                since=process.started_at,
                before=before[process.name],
                elapsed=elapsed,
                note=process.note,
            )
        )
    if supervisor is not None:
        statuses.append(
            _process_status(
                "supervisor",
                [supervisor],
                condition=str(Condition.READY),
                restarts=0,
                since=state.started_at,
                before=before["supervisor"],
                elapsed=elapsed,
                note="",
            )
        )
    return MeshStatus(
        phase=str(state.phase if supervisor is not None else Phase.STOPPED),
        url=state.url,
        data=state.data,
        ready_after_s=round(state.ready_after_s, 2),
        up_s=round(time.time() - state.started_at, 1) if supervisor is not None else 0.0,
        memory_bytes=sum(status.memory_bytes for status in statuses),
        processes=tuple(statuses),
        engines=engines,
        notices=tuple(state.notices),
        absent_weights=state.absent_weights,
        error=state.error,
        pending_catalog=pending.describe() if (pending := pending_catalog(data)) is not None else "",
    )


def _family(process: psutil.Process | None) -> list[psutil.Process]:
    if process is None:
        return []
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return [process]


def _cpu_s(family: list[psutil.Process]) -> float:
    total = 0.0
    for process in family:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def _process_status(
    name: str,
    family: list[psutil.Process],
    *,
    condition: str,
    restarts: int,
    since: float,
    before: float,
    elapsed: float,
    note: str,
) -> ProcessStatus:
    rss = memory = 0
    for process in family:
        try:
            resident = process.memory_info().rss
            full = process.memory_full_info()
        except psutil.Error:
            continue
        rss += resident
        memory += getattr(full, "pss", 0) or resident
    cpu_s = _cpu_s(family)
    return ProcessStatus(
        name=name,
        pid=family[0].pid if family else 0,
        state=condition,
        restarts=restarts,
        up_s=round(time.time() - since, 1) if family else 0.0,
        rss_bytes=rss,
        memory_bytes=memory,
        cpu_percent=round(max(0.0, cpu_s - before) / elapsed * 100, 1),
        cpu_s=round(cpu_s, 2),
        note=note,
    )


def _engines(registry: str) -> tuple[EngineStatus, ...]:
    if not registry:
        return ()
    with grpc.insecure_channel(registry) as channel:
        stub = registry_pb2_grpc.RegistryServiceStub(channel)
        call = stub.WatchEngines(registry_pb2.WatchEnginesRequest(), timeout=2)
        try:
            answer = next(iter(call))
        except (grpc.RpcError, StopIteration):
            # The control plane may be down while the rest serves. Its own line shows that.
            return ()
        finally:
            call.cancel()
    return tuple(
        EngineStatus(
            engine_id=live.engine.engine_id,
            cluster=live.engine.cluster,
            address=live.engine.address,
            models=tuple(model.name for model in live.engine.models),
            capacity=live.engine.capacity,
            active=live.load.active,
            queued=live.load.queued,
        )
        for live in answer.engines
    )
