"""Real processes: the gateway, Envoy, and small collaborators in the places of the router and the engines."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import yaml

from enginehouse.gateway.config import GatewaySection
from enginehouse.gateway.translate.bootstrap import bootstrap
from enginehouse.kit.config import load
from enginehouse.kit.testing import ReservedPort

HERE = pathlib.Path(__file__).parent
ENVOY = pathlib.Path(sys.executable).parent / "envoy"
DEADLINE_S = 45.0


def wait_for(condition: Callable[[], Any], what: str, *, within_s: float = DEADLINE_S) -> float:
    """Wait until the condition holds and return the seconds that it took."""
    began = time.perf_counter()
    while time.perf_counter() - began < within_s:
        if condition():
            return time.perf_counter() - began
        time.sleep(0.005)
    raise AssertionError(f"not within {within_s} s: {what}")


@dataclass
class Engine:
    """An engine's process and address."""

    process: subprocess.Popen[bytes]
    address: str

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


@dataclass
class Edge:
    """The gateway with Envoy and a router's stand-in."""

    folder: pathlib.Path
    overrides: dict[str, Any] = field(default_factory=dict)
    engines: list[Engine] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ports = [ReservedPort() for _ in range(5)]
        numbers = (port.number for port in self._ports)
        self.port, self.grpc_port, self.http_port, self.router_port, self.admin_port = numbers
        self.config = self.folder / "gateway.yaml"
        section = {
            "public_listen": f"127.0.0.1:{self.port}",
            "grpc_listen": f"127.0.0.1:{self.grpc_port}",
            "http_listen": f"127.0.0.1:{self.http_port}",
            "router_http": f"127.0.0.1:{self.router_port}",
            "envoy_admin": f"127.0.0.1:{self.admin_port}",
            "state_file": str(self.folder / "state" / "gateway-state.json"),
            **self.overrides,
        }
        section["edge"] = {"access_log": str(self.folder / "access.log"), **section.get("edge", {})}
        self.config.write_text(yaml.safe_dump({"gateway": section}))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.client = httpx.Client(base_url=self.url, timeout=10, verify=False)

    @property
    def url(self) -> str:
        scheme = "https" if "tls_certificate_file" in self.overrides.get("edge", {}) else "http"
        return f"{scheme}://127.0.0.1:{self.port}"

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def gateway(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def start_gateway(self) -> None:
        self._start("gateway", sys.executable, "-m", "enginehouse.gateway", "serve", "--config", str(self.config))

    def start_router(self) -> None:
        self._start("router", sys.executable, str(HERE / "router_process.py"), str(self.router_port))

    def start_envoy(self) -> None:
        section = load(GatewaySection, section="gateway", path=self.config, environ={})
        path = self.folder / "envoy.json"
        path.write_text(json.dumps(bootstrap(section)))
        arguments = ["--disable-hot-restart", "--concurrency", "2", "--file-flush-interval-msec", "100"]
        self._start("envoy", str(ENVOY), "-c", str(path), "--log-level", "warning", *arguments)

    def start(self) -> None:
        self.start_router()
        self.start_gateway()
        self.start_envoy()
        wait_for(lambda: self.get("/healthz").status_code == 200, f"healthy; {self.log('envoy')} {self.log('gateway')}")

    def stop(self, name: str, *, kill: bool = False) -> None:
        process = self._processes.pop(name)
        process.kill() if kill else process.terminate()
        process.wait(timeout=10)

    def close(self) -> None:
        for engine in self.engines:
            engine.process.kill()
            engine.process.wait()
            assert engine.process.stdout is not None
            engine.process.stdout.close()
        for name in list(self._processes):
            self.stop(name, kill=True)
        self.client.close()
        for port in self._ports:
            port.close()

    @contextlib.contextmanager
    def engine(self, engine_id: str = "engine-1", *, registers: bool = True) -> Iterator[Engine]:
        """An engine started by hand on a port of its own, and served if it registers."""
        gateway = self.gateway if registers else "-"
        process = subprocess.Popen(
            [sys.executable, str(HERE / "engine_process.py"), gateway, engine_id], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        engine = Engine(process=process, address="")
        self.engines.append(engine)
        try:
            engine.address = process.stdout.readline().decode().strip()
            assert engine.address, f"the engine did not start; {self.log('gateway')}"
            if registers:
                wait_for(lambda: self.tokenize(engine.address) == engine.pid, "the engine is served")
            yield engine
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            self.engines.remove(engine)
            wait_for(lambda: engine.address not in self.listed(), "the engine is gone")

    def tokenize(self, endpoints: str = "") -> int | None:
        """One small call over JSON; returns the pid of the engine that answered."""
        headers = {"authorization": "Bearer ok"}
        if endpoints:
            headers["x-enginehouse-test-endpoints"] = endpoints
        answer = self.client.post("/v1/tokenize", json={"text": "x"}, headers=headers)
        return int(answer.json()["token_ids"][0]) if answer.status_code == 200 else None

    def get(self, path: str) -> httpx.Response:
        try:
            return self.client.get(path)
        except httpx.TransportError:
            return httpx.Response(599)

    def stats(self, pattern: str) -> int:
        """The sum of Envoy's counters whose names match."""
        text = httpx.get(f"http://127.0.0.1:{self.admin_port}/stats?filter={pattern}", timeout=5).text
        return sum(int(line.rsplit(" ", 1)[1]) for line in text.splitlines())

    def listed(self) -> set[str]:
        """The endpoints that Envoy has for the cluster of engines."""
        document = httpx.get(f"http://127.0.0.1:{self.admin_port}/clusters?format=json", timeout=5).json()
        return {
            f"{host['address']['socket_address']['address']}:{host['address']['socket_address']['port_value']}"
            for cluster in document["cluster_statuses"]
            if cluster["name"] == "inference"
            for host in cluster.get("host_statuses", [])
        }

    def metrics(self, name: str) -> dict[str, float]:
        """The values of a metric of the gateway by its labels."""
        text = httpx.get(f"http://127.0.0.1:{self.http_port}/metrics", timeout=5).text
        lines = [line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}

    def metric(self, name: str) -> float:
        """The sum of a metric of the gateway over its labels."""
        return sum(self.metrics(name).values())

    def access_log(self) -> list[dict[str, Any]]:
        path = self.folder / "access.log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return f"--- {name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-20:]) if path.exists() else ""

    def _start(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


@contextlib.contextmanager
def started(folder: pathlib.Path, **overrides: Any) -> Iterator[Edge]:
    edge = Edge(folder=folder, overrides=overrides)
    try:
        edge.start()
        yield edge
    finally:
        edge.close()


@pytest.fixture(scope="session")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """One running edge for the tests that leave it as they found it."""
    with started(tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest.fixture(scope="module")
def served(edge: Edge) -> Iterator[Edge]:
    """The running edge with one engine."""
    with edge.engine("engine-of-the-module"):
        yield edge


@pytest.fixture(scope="session")
def started_edge() -> Callable[..., contextlib.AbstractContextManager[Edge]]:
    """Start an edge with settings of the test's own."""
    return started


@pytest.fixture
def wait() -> Callable[..., float]:
    return wait_for
