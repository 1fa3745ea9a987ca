"""What a mesh is and uses right now: its state, memory and processor time by process, its engines."""

from __future__ import annotations

import dataclasses
import time

import grpc
import psutil

from enginehouse.api.gateway.v1 import registry_pb2, registry_pb2_grpc
from enginehouse.local.datadir import DataDirectory
from enginehouse.local.pids import find_process
from enginehouse.local.state import Condition, MeshState, Phase


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """One process with the children that it started.

    Attributes:
        name: such as `router`; `supervisor` for the one that watches the others.
        pid: 0 without a process.
        state: where it is in its life.
        restarts: how often it was started again.
        up_s: seconds since it was started.
        rss_bytes: resident memory, pages shared with others counted in full.
        memory_bytes: proportional share of memory where the system tells it (PSS), else `rss_bytes`.
        cpu_percent: of one core, over the time sampled.
        cpu_s: processor seconds used since its start.
        note: why it is where it is.
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
    """One live engine, as the registry has it."""

    engine_id: str
    cluster: str
    address: str
    models: tuple[str, ...]
    capacity: int
    active: int
    queued: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MeshStatus:
    """A mesh at a glance.

    Attributes:
        phase: where it is in its life; `stopped` when its supervisor is gone.
        url: the public door.
        data: the data directory.
        ready_after_s: how long its start took.
        up_s: seconds since its start began.
        memory_bytes: of all processes together, the supervisor included.
        processes: in the order of their start, the supervisor last.
        engines: live engines by id; empty when the registry cannot be asked.
        notices: things done that the user should know of.
        error: why the last start failed; empty if it did not.
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
    error: str


def measure(data: DataDirectory, *, sample_s: float = 0.2) -> MeshStatus | None:
    """The figures of a data directory's mesh; None where none was ever started.

    Args:
        data: the data directory.
        sample_s: over how long processor use is measured.
    """
    state = MeshState.read(data.state)
    if state is None:
        return None
    supervisor = find_process(state.pid, state.start_id)
    families = {each.name: _family(find_process(each.pid, each.start_id)) for each in state.processes}
    families["supervisor"] = [supervisor] if supervisor is not None else []
    before = {name: _cpu_s(family) for name, family in families.items()}
    began = time.monotonic()
    engines = _engines(state.endpoints.get("gateway-grpc", "")) if supervisor is not None else ()
    time.sleep(max(0.0, sample_s - (time.monotonic() - began)))
    elapsed = time.monotonic() - began
    processes = []
    for each in state.processes:
        family = families[each.name]
        processes.append(
            _figures(
                each.name,
                family,
                # A supervisor that was killed could not write that its processes ended with it.
                condition=str(each.condition if family or not each.pid else Condition.STOPPED),
                restarts=each.restarts,
                since=each.started_at,
                before=before[each.name],
                elapsed=elapsed,
                note=each.note,
            )
        )
    if supervisor is not None:
        processes.append(
            _figures(
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
        memory_bytes=sum(process.memory_bytes for process in processes),
        processes=tuple(processes),
        engines=engines,
        notices=tuple(state.notices),
        error=state.error,
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


def _figures(
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
            # The control plane may be away while everything else serves; that is shown by its own line.
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
