"""The command, as its user types it."""

from __future__ import annotations

import json
import pathlib
import socket
import subprocess
import sys
from typing import Any

import pytest
import yaml


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "enginehouse.gateway", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def free() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def config(folder: pathlib.Path, **overrides: Any) -> str:
    section = {
        "public_listen": "127.0.0.1:8080",
        "grpc_listen": free(),
        "http_listen": free(),
        "router_http": "127.0.0.1:18010, 127.0.0.1:18011",
        "envoy_admin": "127.0.0.1:18002",
        "state_file": str(folder / "state.json"),
        **overrides,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"gateway": section}))
    return str(path)


def test_bootstrap_prints_what_envoy_reads(tmp_path: pathlib.Path) -> None:
    done = run("bootstrap", "--config", config(tmp_path), "--node-id", "envoy-3")
    assert (done.returncode, done.stderr) == (0, "")
    bootstrap = json.loads(done.stdout)
    assert bootstrap["node"]["id"] == "envoy-3"
    clusters = {cluster["name"]: cluster for cluster in bootstrap["staticResources"]["clusters"]}
    [group] = clusters["enginehouse_router"]["loadAssignment"]["endpoints"]
    ports = [entry["endpoint"]["address"]["socketAddress"]["portValue"] for entry in group["lbEndpoints"]]
    assert ports == [18010, 18011]
    path = tmp_path / "envoy.json"
    path.write_text(done.stdout)
    envoy = pathlib.Path(sys.executable).parent / "envoy"
    checked = subprocess.run(
        [str(envoy), "--mode", "validate", "-c", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"public_lisen": "127.0.0.1:1"}, "public_listen"),
        ({"grpc_listen": "nowhere"}, "grpc_listen"),
        ({"state_file": "/proc/state/x.json"}, "state_file"),
    ],
)
def test_a_bad_configuration_is_named(tmp_path: pathlib.Path, overrides: dict[str, Any], message: str) -> None:
    done = run("serve", "--config", config(tmp_path, **overrides))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_named(tmp_path: pathlib.Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("serve", "--config", config(tmp_path, grpc_listen=address))
    assert done.returncode == 2
    assert f"{address} cannot be listened on" in done.stderr
