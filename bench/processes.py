"""The processes that the paths need: engines, Envoy, LiteLLM's proxy, and a mesh with the synthetic models."""

from __future__ import annotations

import contextlib
import pathlib
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import yaml

from tests.mesh import Mesh, default_models

from . import envoy_only, litellm
from .children import last_words, running
from .engine import CATALOG, UNGRANTED_MODEL
from .measure import PROTOSET, ROOT
from .ports import free_port, is_open, wait_until
from .tools import Tool
from .usage import Group, memory_bytes

START_S = 60.0
LITELLM_START_S = 120.0
BUDGET_NANOS = 10**15
"""A million dollars: a budget that is checked and does not run out."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """A process and its listening address."""

    port: int
    pid: int


@contextlib.contextmanager
def grpc_floor(scratch: pathlib.Path) -> Iterator[Started]:
    """A bare gRPC handler."""
    port, log = free_port(), scratch / "grpc-floor.log"
    with running([sys.executable, "-m", "bench.floor", str(port)], log=log, folder=ROOT) as process:
        _wait_for(port, process.pid, log, seconds=START_S)
        yield Started(port=port, pid=process.pid)


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


@dataclass(frozen=True, kw_only=True)
class SyntheticMesh:
    """A mesh whose synthetic models are served by the benchmark's engine, beside those of its own engines."""

    mesh: Mesh
    engine: Started
    idle_memory_bytes: Mapping[str, int]
    """By process, before the benchmark's engine joined."""
    own: Group
    """The mesh's own processes, without the benchmark's engine."""
    unlimited: str
    """A key without a budget."""
    budgeted: str
    """A key with a budget that is checked and does not run out."""
    poor: str
    """A key with a budget that pays for nothing."""
    spool: pathlib.Path
    """The folder of the benchmark's engine's usage."""

    @property
    def group(self) -> Group:
        """Every process that a request may cost something in."""
        return {"engine": [self.engine.pid], **self.own}


@contextlib.contextmanager
def synthetic_mesh(scratch: pathlib.Path) -> Iterator[SyntheticMesh]:
    """Start a mesh by the command that a user types, and the benchmark's engine in it."""
    with Mesh.started(config=_overlay(scratch)) as mesh:
        own = {name: [pid] for name, pid in mesh.processes().items()}
        idle = memory_bytes(own)
        with granted_engine(mesh, scratch) as engine:
            _, unlimited = mesh.create_key("bench-unlimited")
            _, budgeted = mesh.create_key("bench-budgeted", budget_nanos=BUDGET_NANOS)
            _, poor = mesh.create_key("bench-poor", budget_nanos=1)
            yield SyntheticMesh(
                mesh=mesh,
                engine=engine,
                idle_memory_bytes=idle,
                own=own,
                unlimited=unlimited,
                budgeted=budgeted,
                poor=poor,
                spool=scratch / "spool",
            )


def _overlay(scratch: pathlib.Path) -> dict[str, object]:
    """The settings of a mesh that has its own models in its own engine, and the synthetic ones in its catalog."""
    own = default_models()["models"]
    catalog = scratch / "catalog.yaml"
    catalog.write_text(yaml.safe_dump({"models": [*own, *yaml.safe_load(CATALOG.read_text())["models"]]}))
    here = [model["name"] for model in own if model["cluster"] == "inference"]
    return {"local": {"catalog_file": str(catalog)}, "inference": {"models": here}}


@contextlib.contextmanager
def granted_engine(mesh: Mesh, scratch: pathlib.Path) -> Iterator[Started]:
    """Run the synthetic source as an engine of the mesh, beside its own engines."""
    with _engine_of(mesh, scratch, mode="granted", engine_id="bench-1", model="synthetic-slow") as started:
        yield started


@contextlib.contextmanager
def ungranted_engine(mesh: Mesh, scratch: pathlib.Path) -> Iterator[Started]:
    """Run the synthetic source as another engine of the mesh, which looks at no grant and reports no usage."""
    folder = scratch / "ungranted"
    folder.mkdir()
    with _engine_of(mesh, folder, mode="ungranted", engine_id="bench-2", model=UNGRANTED_MODEL) as started:
        yield started


@contextlib.contextmanager
def _engine_of(mesh: Mesh, scratch: pathlib.Path, *, mode: str, engine_id: str, model: str) -> Iterator[Started]:
    """Run `bench.engine` in the mesh, from when the mesh lists that model of it."""
    config = yaml.safe_load((mesh.data / "run" / "inference-1.yaml").read_text())
    port, log = free_port(), scratch / "engine.log"
    config["inference"] |= {
        "engine_id": engine_id,
        "listen": f"127.0.0.1:{port}",
        "http_listen": f"127.0.0.1:{free_port()}",
        "spool_dir": str(scratch / "spool"),
        "models": [],
    }
    path = scratch / "engine.yaml"
    path.write_text(yaml.safe_dump(config))
    with running([sys.executable, "-m", "bench.engine", mode, str(path)], log=log, folder=ROOT) as process:
        _wait_for(port, process.pid, log, seconds=START_S)
        wait_until(
            lambda: _is_listed(mesh, model),
            seconds=START_S,
            what=f"the engine's models being served\n{last_words(log)}",
        )
        yield Started(port=port, pid=process.pid)


def _is_listed(mesh: Mesh, model: str) -> bool:
    request = urllib.request.Request(f"{mesh.url}/v1/models", headers={"authorization": f"Bearer {mesh.key}"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return f'"{model}"'.encode() in answer.read()
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
