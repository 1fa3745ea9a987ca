"""Run the loads on a path and measure its processes' CPU time."""

from __future__ import annotations

import pathlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from .loads import Load, LoadFailed, grpc_load, http_load
from .rows import Results, Row
from .selection import CONCURRENCIES
from .tools import Tool
from .usage import Group, cpu_seconds

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROTOSET = ROOT / "proto" / "python" / "src" / "enginehouse" / "api" / "descriptors.binpb"
GENERATE = "enginehouse.api.inference.v1.GenerationService/Generate"
WARM_S = 1.0
"""How long each load runs before it is measured."""
PROMPT = "Tell me a story about a clever crow"


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A workload: the shape of each request."""

    name: str
    tokens: int
    model: str = "synthetic"


REQUEST = Workload(name="request", tokens=1)
STREAM = Workload(name="stream", tokens=200)
SATURATED = Workload(name="saturated stream", tokens=20_000, model="synthetic-saturated")


@dataclass(frozen=True, kw_only=True)
class GrpcPath:
    """A path to the engine over gRPC."""

    name: str
    target: str
    group: Group
    key: str = ""
    longer: float = 1.0
    """A factor on the measurement's duration, for a path so slow that a short one would cut off most answers."""
    settle_s: float = 0.0
    """Seconds that the path needs to recover from a load that was cut off."""


@dataclass(frozen=True, kw_only=True)
class HttpPath:
    """A path to the engine over OpenAI's JSON."""

    name: str
    url: str
    group: Group
    key: str = ""
    longer: float = 1.0
    settle_s: float = 0.0


class Measurement:
    """The measurement of one run's rows.

    Args:
        results: where they go, and why any of them is missing.
        ghz: the load generator for gRPC; None where there is none.
        wrk: the load generator for HTTP; None where there is none.
        seconds: how long each load lasts.
        scratch: a folder for the load generators' files.
    """

    def __init__(
        self,
        *,
        results: Results,
        ghz: Tool | None,
        wrk: Tool | None,
        seconds: float,
        scratch: pathlib.Path,
    ) -> None:
        self._results = results
        self._ghz = ghz
        self._wrk = wrk
        self._seconds = seconds
        self._scratch = scratch

    def take(
        self,
        paths: Sequence[GrpcPath | HttpPath],
        *,
        workloads: Sequence[Workload] = (REQUEST, STREAM),
        concurrencies: Sequence[int] = CONCURRENCIES,
    ) -> None:
        """Measure every workload at every concurrency on every path; the failure of one is noted and skips no other.

        The paths take turns under each load, so that a machine that is busier for a while is so for all of them. Under
        the highest, which the targets speak of, each has two turns and the better counts.
        """
        for workload in workloads:
            for concurrency in concurrencies:
                best: dict[str, Row] = {}
                for _ in range(2 if concurrency == max(concurrencies) else 1):
                    for path in paths:
                        row = self._row(path, workload, concurrency)
                        if row and (path.name not in best or row.load.per_second > best[path.name].load.per_second):
                            best[path.name] = row
                self._results.rows += best.values()

    def _row(self, path: GrpcPath | HttpPath, workload: Workload, concurrency: int) -> Row | None:
        what = f"{path.name}, {workload.name} at {concurrency}"
        try:
            self.load(path, workload, concurrency, WARM_S)
            time.sleep(path.settle_s)
            before = cpu_seconds(path.group)
            load = self.load(path, workload, concurrency, self._seconds * path.longer)
            after = cpu_seconds(path.group)
        except LoadFailed as error:
            self._results.skipped[what] = str(error)
            return None
        row = Row(
            path=path.name,
            workload=workload.name,
            concurrency=concurrency,
            tokens_per_request=workload.tokens,
            load=load,
            cpu_seconds={name: after[name] - before[name] for name in before},
        )
        print(
            f"{what}: {load.per_second:.0f} requests/s, {row.tokens_per_second:.0f} tokens/s, "
            f"p50 {load.p50_ms:.1f} ms, p99 {load.p99_ms:.1f} ms, {load.failed} failed",
            file=sys.stderr,
            flush=True,
        )
        return row

    def load(self, path: GrpcPath | HttpPath, workload: Workload, concurrency: int, seconds: float) -> Load:
        """Put one load on a path. Raises LoadFailed, also where its load generator is not installed."""
        if isinstance(path, GrpcPath):
            if self._ghz is None:
                raise LoadFailed("ghz is not installed")
            return grpc_load(
                self._ghz,
                target=path.target,
                call=GENERATE,
                request={"model": workload.model, "prompt": PROMPT, "max_output_tokens": workload.tokens},
                key=path.key,
                protoset=PROTOSET,
                concurrency=concurrency,
                seconds=seconds,
            )
        if self._wrk is None:
            raise LoadFailed("wrk is not installed")
        body: dict[str, object] = {
            "model": workload.model,
            "messages": [{"role": "user", "content": PROMPT}],
            "max_tokens": workload.tokens,
        }
        if workload.tokens > 1:
            body["stream"] = True
        return http_load(
            self._wrk,
            url=f"{path.url}/v1/chat/completions",
            body=body,
            key=path.key,
            concurrency=concurrency,
            seconds=seconds,
            scratch=self._scratch,
        )
