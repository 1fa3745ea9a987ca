"""Loads: ghz for gRPC, wrk for HTTP/1.1. Both close the loop: each of c workers waits for its answer."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from .tools import Tool

GRACE_S = 60.0
RESULT = "RESULT "

WRK_SCRIPT = """
wrk.method = "POST"
wrk.body = %(body)s
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = %(authorization)s
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\nRESULT {"requests": %%d, "us": %%d, "p50_us": %%f, "p99_us": %%f, "status": %%d, "broken": %%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.status, e.connect + e.read + e.write + e.timeout))
end
"""


class LoadFailed(Exception):
    """The load generator failed before its end."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """The result of a load. Latencies are of whole calls, streams to their end."""

    requests: int
    failed: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        """Answered requests a second."""
        return (self.requests - self.failed) / self.seconds


def grpc_load(
    ghz: Tool,
    *,
    target: str,
    call: str,
    request: Mapping[str, object],
    key: str,
    protoset: pathlib.Path,
    concurrency: int,
    seconds: float,
) -> Load:
    """Send gRPC calls for the duration; `key` may be empty where none is needed."""
    command = [ghz.path, "--insecure", "--protoset", str(protoset), "--call", call, "--data", json.dumps(request)]
    command += ["--concurrency", str(concurrency), "--connections", str(min(concurrency, 4))]
    command += ["--duration", f"{seconds}s", "--duration-stop", "ignore", "--timeout", "60s", "--format", "json"]
    if key:
        command += ["--metadata", json.dumps({"authorization": f"Bearer {key}"})]
    return read_ghz(_run([*command, target], ghz, seconds))


def http_load(
    wrk: Tool,
    *,
    url: str,
    body: Mapping[str, object],
    key: str,
    concurrency: int,
    seconds: float,
    scratch: pathlib.Path,
) -> Load:
    """Post one JSON body over HTTP/1.1 for the duration."""
    script = scratch / "post.lua"
    said = {"body": json.dumps(json.dumps(body)), "authorization": json.dumps(f"Bearer {key}")}
    script.write_text(WRK_SCRIPT % said)
    command = [
        wrk.path,
        "--threads",
        "1",
        "--connections",
        str(concurrency),
        "--duration",
        f"{max(1, round(seconds))}s",
    ]
    command += ["--timeout", "60s", "--script", str(script), url]
    return read_wrk(_run(command, wrk, seconds))


def read_ghz(report: str) -> Load:
    """Read ghz's JSON report. Calls cut off by the end of the measurement are not counted."""
    read = json.loads(report)
    answered = (read.get("statusCodeDistribution") or {}).get("OK", 0)
    percentiles = {entry["percentage"]: entry["latency"] / 1e6 for entry in read.get("latencyDistribution") or ()}
    return Load(
        requests=read["count"],
        failed=read["count"] - answered,
        seconds=read["total"] / 1e9,
        p50_ms=percentiles.get(50, 0.0),
        p99_ms=percentiles.get(99, 0.0),
    )


def read_wrk(report: str) -> Load:
    """Parse the line that wrk prints through WRK_SCRIPT."""
    lines = [line.removeprefix(RESULT) for line in report.splitlines() if line.startswith(RESULT)]
    if not lines:
        raise LoadFailed(f"wrk printed no result: {report[-400:]}")
    read = json.loads(lines[-1])
    return Load(
        requests=read["requests"] + read["broken"],
        failed=read["status"] + read["broken"],
        seconds=read["us"] / 1e6,
        p50_ms=read["p50_us"] / 1e3,
        p99_ms=read["p99_us"] / 1e3,
    )


def _run(command: list[str], tool: Tool, seconds: float) -> str:
    environment = {**os.environ, **tool.environment}
    ran = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=seconds + GRACE_S
    )
    if ran.returncode:
        raise LoadFailed(f"{pathlib.Path(tool.path).name} failed: {(ran.stderr or ran.stdout).strip()[-400:]}")
    return ran.stdout
