"""Several routers behind Envoy: one that is killed costs no request, not even those that it was deciding."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import httpx
import pytest

from enginehouse.kit.testing import ReservedPort

OK = {"authorization": "Bearer ok"}
STAND_IN = pathlib.Path(__file__).parent / "router_process.py"


class Routers:
    """Stand-ins for routers, each on a port of its own."""

    def __init__(self, count: int) -> None:
        self._reserved = [ReservedPort() for _ in range(count)]
        self.ports = [port.number for port in self._reserved]
        self.processes = [self.start(port) for port in self.ports]

    @staticmethod
    def start(port: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(STAND_IN), str(port)])

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        for port in self._reserved:
            port.close()

    def kill(self, which: int) -> None:
        self.processes[which].kill()
        self.processes[which].wait()


@pytest.fixture
def routers() -> Iterator[Routers]:
    running = Routers(2)
    yield running
    running.close()


@pytest.fixture
def door(routers: Routers, started_edge: Any, tmp_path: pathlib.Path) -> Iterator[Any]:
    addresses = ",".join(f"127.0.0.1:{port}" for port in routers.ports)
    with (
        started_edge(tmp_path, router_http=addresses, edge={"authorization_timeout_s": 30}) as edge,
        edge.engine("engine-of-routers"),
    ):
        yield edge


def ask(door: Any) -> int:
    with httpx.Client(base_url=door.url, timeout=60) as client:
        return client.post("/v1/tokenize", json={"text": "x"}, headers=OK).status_code


def answered(door: Any, port: int) -> int:
    """Return how many checks the router at that port has answered, as Envoy counts them."""
    text = httpx.get(f"http://127.0.0.1:{door.admin_port}/clusters", timeout=5).text
    wanted = f"enginehouse_router::127.0.0.1:{port}::rq_success::"
    return sum(int(line.removeprefix(wanted)) for line in text.splitlines() if line.startswith(wanted))


def test_a_router_that_dies_with_checks_in_hand_costs_no_request(door: Any, routers: Routers, wait: Any) -> None:
    # A stopped process takes connections and answers none: what it has in hand when it dies is known.
    os.kill(routers.processes[0].pid, signal.SIGSTOP)
    with futures.ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(ask, door) for _ in range(8)]
        wait(lambda: door.stats("cluster.enginehouse_router.upstream_rq_active") > 0, "checks wait for the stopped one")
        routers.kill(0)
        assert [answer.result(60) for answer in asked] == [200] * 8
        # Nor does one that is gone cost those that come later.
        assert [answer.result(60) for answer in [threads.submit(ask, door) for _ in range(40)]] == [200] * 40
    # The one that comes back takes its share again, and then all of it.
    routers.processes[0] = routers.start(routers.ports[0])
    before = answered(door, routers.ports[0])
    wait(lambda: ask(door) == 200 and answered(door, routers.ports[0]) > before, "it is back")
    routers.kill(1)
    assert [ask(door) for _ in range(10)] == [200] * 10
