"""The paths' measurement: the loads on each, then on the mesh a saturated stream, many open ones, and profiles."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from collections.abc import Sequence

from .engine import UNGRANTED_MODEL
from .held import hold_streams
from .litellm import KEY
from .measure import REQUEST, SATURATED, STREAM, GrpcPath, HttpPath, Measurement
from .processes import (
    SyntheticMesh,
    bare_engine,
    envoy_before,
    grpc_floor,
    litellm_before,
    synthetic_mesh,
    ungranted_engine,
)
from .profile import Profiler
from .rows import Results, median_of_rounds
from .selection import (
    DIRECT,
    ENVOY_ONLY,
    ENVOY_ONLY_JSON,
    FLOOR,
    FULL,
    FULL_JSON,
    FULL_UNGRANTED,
    FULL_UNLIMITED,
    GRANTED,
    HELD,
    IN_MESH,
    LITELLM,
    LONE,
    Selection,
)
from .tools import Tool
from .usage import memory_bytes

HELD_STREAMS = 1000
HELD_S = 15.0
LONE_ROUNDS = 20
LONE_S = 0.7
PROFILE_C = 64
PROFILE_S = 8.0


def measure_paths(
    measurement: Measurement, results: Results, selection: Selection, scratch: pathlib.Path, proxy: Tool | None
) -> None:
    """Measure the selected paths under the selected loads, and take the profiles if they are selected."""
    with contextlib.ExitStack() as stack:
        paths: list[GrpcPath | HttpPath] = []
        if selection.needs(FLOOR):
            floor = stack.enter_context(grpc_floor(scratch))
            paths.append(
                GrpcPath(name=FLOOR, target=f"127.0.0.1:{floor.port}", group={"engine": [floor.pid]}, streams=False)
            )
        if selection.needs(DIRECT, ENVOY_ONLY, ENVOY_ONLY_JSON, LITELLM):
            bare = stack.enter_context(bare_engine(scratch))
            paths.append(GrpcPath(name=DIRECT, target=f"127.0.0.1:{bare.port}", group={"engine": [bare.pid]}))
        if selection.needs(ENVOY_ONLY, ENVOY_ONLY_JSON, LITELLM):
            envoy = stack.enter_context(envoy_before(bare, scratch))
            both = {"envoy": [envoy.pid], "engine": [bare.pid]}
            edge = f"127.0.0.1:{envoy.port}"
            paths.append(GrpcPath(name=ENVOY_ONLY, target=edge, group=both))
            paths.append(HttpPath(name=ENVOY_ONLY_JSON, url=f"http://{edge}", group=both))
        mesh: SyntheticMesh | None = None
        if selection.needs(*IN_MESH) or "profile" in selection.parts:
            mesh = stack.enter_context(synthetic_mesh(scratch))
            results.memory_bytes = dict(mesh.idle_memory_bytes)
            target, url, group = mesh.mesh.target, mesh.mesh.url, mesh.group
            paths.append(GrpcPath(name=FULL, target=target, group=group, key=mesh.budgeted))
            paths.append(GrpcPath(name=FULL_UNLIMITED, target=target, group=group, key=mesh.unlimited))
            paths.append(HttpPath(name=FULL_JSON, url=url, group=group, key=mesh.budgeted))
        if selection.needs(LITELLM) and proxy is not None:
            started = stack.enter_context(litellm_before(envoy, proxy, scratch))
            url, alone = f"http://127.0.0.1:{started.port}", {"litellm": [started.pid]}
            paths.append(
                HttpPath(name=LITELLM, url=url, group=alone | both, key=KEY, longer=4.0, settle_s=4.0, every=2)
            )
            results.add("paths", {"litellm_memory_mib": memory_bytes(alone)["litellm"] / 2**20})

        if "profile" in selection.parts and mesh is not None:
            _profile(measurement, results, mesh, scratch)
        chosen = [path for path in paths if selection.needs(path.name)]
        _load(measurement, results, selection, chosen)
        if selection.needs(FULL) and mesh is not None and HELD in selection.workloads:
            _hold(results, mesh)
        if selection.needs(FULL_UNGRANTED) and mesh is not None and GRANTED in selection.workloads:
            _compare_grants(measurement, selection, mesh, scratch)


def _load(
    measurement: Measurement, results: Results, selection: Selection, paths: Sequence[GrpcPath | HttpPath]
) -> None:
    for workload in (REQUEST, STREAM):
        if workload.name in selection.workloads:
            for concurrency in selection.concurrencies:
                rounds = selection.rounds if concurrency == max(selection.concurrencies) else 1
                measurement.take(paths, workload, concurrency, rounds=rounds, seconds=selection.seconds)
    if LONE in selection.workloads:
        lone = [path for path in paths if path.name in {DIRECT, FULL}]
        measurement.take(lone, REQUEST, 1, rounds=LONE_ROUNDS, seconds=LONE_S, name=LONE)
    if SATURATED.name in selection.workloads:
        full = [path for path in paths if path.name == FULL]
        measurement.take(full, SATURATED, 4, rounds=1, seconds=selection.seconds)
        if row := results.find(FULL, SATURATED.name, 4):
            results.add("paths", {"saturated_stream_tokens_per_second": row.tokens_per_second})
    direct, floor, in_mesh = (
        results.find(name, REQUEST.name, max(selection.concurrencies)) for name in (DIRECT, FLOOR, FULL)
    )
    if direct and in_mesh:
        more = median_of_rounds(in_mesh, direct, lambda ours, theirs: ours.cpu_us["engine"] - theirs.cpu_us["engine"])
        results.add("paths", {"engine_cpu_us_in_the_mesh_beyond_direct": more or 0.0})
    if direct and floor:
        over = median_of_rounds(direct, floor, lambda ours, theirs: ours.cpu_us["engine"] / theirs.cpu_us["engine"])
        results.add("paths", {"bare_engine_cpu_over_grpc_floor": over or 0.0})


def _compare_grants(measurement: Measurement, selection: Selection, mesh: SyntheticMesh, scratch: pathlib.Path) -> None:
    """Measure last what leaves the router reservations that nobody reports on, which it releases in its own time."""
    target, highest = mesh.mesh.target, max(selection.concurrencies)
    with ungranted_engine(mesh.mesh, scratch) as other:
        without = {**mesh.group, "engine": [other.pid]}
        paths = [
            GrpcPath(name=FULL, target=target, group=mesh.group, key=mesh.budgeted),
            GrpcPath(name=FULL_UNGRANTED, target=target, group=without, key=mesh.budgeted, model=UNGRANTED_MODEL),
        ]
        measurement.take(paths, REQUEST, highest, rounds=selection.rounds * 2, seconds=selection.seconds, name=GRANTED)


def _profile(measurement: Measurement, results: Results, mesh: SyntheticMesh, scratch: pathlib.Path) -> None:
    path = GrpcPath(name=FULL, target=mesh.mesh.target, group=mesh.group, key=mesh.budgeted)
    profiler = Profiler(scratch=scratch, seconds=PROFILE_S)
    measurement.load(path, REQUEST, PROFILE_C, 2.0)
    results.profiles = [
        profiler.router(mesh.own["router"][0], lambda seconds: measurement.load(path, REQUEST, PROFILE_C, seconds)),
        profiler.engine(mesh.engine.pid, lambda seconds: measurement.load(path, REQUEST, PROFILE_C, seconds)),
    ]


def _hold(results: Results, mesh: SyntheticMesh) -> None:
    held = asyncio.run(
        hold_streams(
            target=mesh.mesh.target,
            key=mesh.budgeted,
            model="synthetic-slow",
            streams=HELD_STREAMS,
            seconds=HELD_S,
            memory=lambda: memory_bytes(mesh.group),
        )
    )
    results.add("paths", {"open_streams": held.streams, "open_streams_memory_growth": held.growth})
