"""The paths, and the processes that they need."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from tests.mesh import Mesh, default_models

from . import envoy_only, litellm
from .children import last_words, running
from .engine import CATALOG
from .held import hold_streams
from .measure import PROTOSET, ROOT, SATURATED, GrpcPath, HttpPath, Measurement
from .ports import free_port, is_open, wait_until
from .rows import Results
from .tools import Tool
from .usage import memory_bytes

BUNDLED = ROOT / "engines" / "inference" / "src" / "enginehouse" / "engines" / "inference" / "bundled"
START_S = 60.0
LITELLM_START_S = 120.0
BUDGET_NANOS = 10**15
"""A million dollars: a budget that is checked and does not run out."""
HELD_STREAMS = 1000
HELD_S = 15.0


@dataclass(frozen=True, kw_only=True)
class Started:
    """A process and its listening address."""

    port: int
    pid: int


@contextlib.contextmanager
def bare_engine(scratch: pathlib.Path) -> Iterator[Started]:
    """The engine alone."""
    port, log = free_port(), scratch / "bare-engine.log"
    with running([sys.executable, "-m", "bench.engine", "bare", str(port)], log=log, folder=ROOT) as process:
        _wait_for(port, process.pid, log, seconds=START_S)
        yield Started(port=port, pid=process.pid)


@contextlib.contextmanager
def envoy_before(engine: Started, scratch: pathlib.Path) -> Iterator[Started]:
    """Envoy alone before an engine."""
    port, log, config = free_port(), scratch / "envoy-only.log", scratch / "envoy-only.json"
    config.write_text(
        envoy_only.bootstrap(
            port=port, admin_port=free_port(), upstream_port=engine.port, descriptors=PROTOSET.read_bytes()
        )
    )
    with running(envoy_only.command(config), log=log) as process:
        _wait_for(port, process.pid, log, seconds=START_S)
        yield Started(port=port, pid=process.pid)


@contextlib.contextmanager
def litellm_before(upstream: Started, tool: Tool, scratch: pathlib.Path) -> Iterator[Started]:
    """LiteLLM's proxy before the same engine, which it reaches through Envoy."""
    port, log, config = free_port(), scratch / "litellm.log", scratch / "litellm.json"
    config.write_text(
        litellm.configuration(upstream_url=f"http://127.0.0.1:{upstream.port}", upstream_key="", model="synthetic")
    )
    command = litellm.command(tool, config=config, port=port)
    with running(command, log=log, environment=litellm.environment(), folder=scratch) as process:
        _wait_for(port, process.pid, log, seconds=LITELLM_START_S)
        wait_until(
            lambda: _answers(f"http://127.0.0.1:{port}/health/liveliness"), seconds=START_S, what="LiteLLM ready"
        )
        yield Started(port=port, pid=process.pid)


def measure_all(measurement: Measurement, results: Results, scratch: pathlib.Path, proxy: Tool | None) -> None:
    """Measure every path, then on the mesh alone a saturated stream and many open ones."""
    with contextlib.ExitStack() as stack:
        paths: list[GrpcPath | HttpPath] = []
        bare = stack.enter_context(bare_engine(scratch))
        envoy = stack.enter_context(envoy_before(bare, scratch))
        both = {"envoy": [envoy.pid], "engine": [bare.pid]}
        edge = f"127.0.0.1:{envoy.port}"
        paths.append(GrpcPath(name="direct", target=f"127.0.0.1:{bare.port}", group={"engine": [bare.pid]}))
        paths.append(GrpcPath(name="Envoy only", target=edge, group=both))
        paths.append(HttpPath(name="Envoy only, OpenAI JSON", url=f"http://{edge}", group=both))

        mesh = stack.enter_context(Mesh.started(config=_overlay(results, scratch)))
        own = {name: [pid] for name, pid in mesh.processes().items()}
        results.memory_bytes = memory_bytes(own)
        engine = stack.enter_context(granted_engine(mesh, scratch))
        group = {"engine": [engine.pid], **own}
        _, unlimited = mesh.create_key("bench-unlimited")
        _, budgeted = mesh.create_key("bench-budgeted", budget_nanos=BUDGET_NANOS)
        full = GrpcPath(name="full gRPC", target=mesh.target, group=group, key=budgeted)
        paths.append(full)
        paths.append(GrpcPath(name="full gRPC, no budget", target=mesh.target, group=group, key=unlimited))
        paths.append(HttpPath(name="full OpenAI JSON", url=mesh.url, group=group, key=budgeted))

        if proxy is not None:
            started = stack.enter_context(litellm_before(envoy, proxy, scratch))
            url, alone = f"http://127.0.0.1:{started.port}", {"litellm": [started.pid]}
            slow = HttpPath(name="LiteLLM", url=url, group=alone | both, key=litellm.KEY, longer=4.0, settle_s=4.0)
            paths.append(slow)
            results.figures["litellm_memory_mib"] = memory_bytes(alone)["litellm"] / 2**20

        measurement.take(paths)
        measurement.take([full], workloads=[SATURATED], concurrencies=[4])
        if row := results.find(full.name, SATURATED.name, 4):
            results.figures["saturated_stream_tokens_per_second"] = row.tokens_per_second
        held = asyncio.run(
            hold_streams(
                target=mesh.target,
                key=budgeted,
                model="synthetic-slow",
                streams=HELD_STREAMS,
                seconds=HELD_S,
                memory=lambda: memory_bytes(group),
            )
        )
        results.figures["open_streams"] = held.streams
        results.figures["open_streams_memory_growth"] = held.growth


def _overlay(results: Results, scratch: pathlib.Path) -> dict[str, object]:
    """The settings of a mesh that has its own models in its own engine, and the synthetic ones in its catalog."""
    own = default_models()["models"]
    catalog = scratch / "catalog.yaml"
    catalog.write_text(yaml.safe_dump({"models": [*own, *yaml.safe_load(CATALOG.read_text())["models"]]}))
    here = []
    for model in own:
        if model["cluster"] != "inference":
            continue
        kind, _, name = model["source"].partition(":")
        if kind == "bundled" and not (BUNDLED / name).exists():
            results.skipped[f"memory of {model['name']}"] = "its weights are not in this checkout"
        else:
            here.append(model["name"])
    return {"local": {"catalog_file": str(catalog)}, "inference": {"models": here}}


@contextlib.contextmanager
def granted_engine(mesh: Mesh, scratch: pathlib.Path) -> Iterator[Started]:
    """Run the synthetic source as an engine of the mesh, beside its own engines."""
    config = yaml.safe_load((mesh.data / "run" / "inference-1.yaml").read_text())
    port, log = free_port(), scratch / "engine.log"
    config["inference"] |= {
        "engine_id": "bench-1",
        "listen": f"127.0.0.1:{port}",
        "http_listen": f"127.0.0.1:{free_port()}",
        "spool_dir": str(scratch / "spool"),
        "models": [],
    }
    path = scratch / "engine.yaml"
    path.write_text(yaml.safe_dump(config))
    with running([sys.executable, "-m", "bench.engine", "granted", str(path)], log=log, folder=ROOT) as process:
        _wait_for(port, process.pid, log, seconds=START_S)
        wait_until(
            lambda: _is_listed(mesh), seconds=START_S, what=f"the engine's models being served\n{last_words(log)}"
        )
        yield Started(port=port, pid=process.pid)


def _is_listed(mesh: Mesh) -> bool:
    request = urllib.request.Request(f"{mesh.url}/v1/models", headers={"authorization": f"Bearer {mesh.key}"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return b'"synthetic-slow"' in answer.read()
    except (OSError, urllib.error.HTTPError):
        return False


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _wait_for(port: int, pid: int, log: pathlib.Path, *, seconds: float) -> None:
    def opened_or_ended() -> bool:
        return is_open(port) or not pathlib.Path(f"/proc/{pid}").exists()

    try:
        wait_until(opened_or_ended, seconds=seconds, what=f"a door on port {port}")
    except TimeoutError as error:
        raise RuntimeError(f"{error}:\n{last_words(log)}") from None
    if not is_open(port):
        raise RuntimeError(f"{log.stem} ended before it was ready:\n{last_words(log)}")
