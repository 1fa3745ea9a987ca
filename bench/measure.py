"""Run the loads on a path and measure its processes' CPU time."""

from __future__ import annotations

import pathlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from .loads import Load, LoadFailed, grpc_load, http_load
from .rows import Results, Row, Turn
from .tools import Tool
from .usage import Group, cpu_seconds

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROTOSET = ROOT / "proto" / "python" / "src" / "enginehouse" / "api" / "descriptors.binpb"
GENERATE = "enginehouse.api.inference.v1.GenerationService/Generate"
WARM_S = 0.5
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
class _Path:
    """A path to the engine."""

    name: str
    group: Group
    """The processes that a request costs something in."""
    key: str = ""
    longer: float = 1.0
    """A factor on the turns' duration, for a path so slow that a short turn would cut off most answers."""
    settle_s: float = 0.0
    """Seconds that the path needs to recover from a load that was cut off."""
    every: int = 1
    """The path takes a turn in every so many rounds."""
    model: str = ""
    """The model that it asks for, if that is not the workload's."""
    streams: bool = True
    """False if it has no long answers."""


@dataclass(frozen=True, kw_only=True)
class GrpcPath(_Path):
    """A path to the engine over gRPC."""

    target: str


@dataclass(frozen=True, kw_only=True)
class HttpPath(_Path):
    """A path to the engine over OpenAI's JSON."""

    url: str


class Measurement:
    """The measurement of one run's rows.

    Args:
        results: where they go, and why any of them is missing.
        ghz: the load generator for gRPC; None where there is none.
        wrk: the load generator for HTTP; None where there is none.
        scratch: a folder for the load generators' files.
    """

    def __init__(self, *, results: Results, ghz: Tool | None, wrk: Tool | None, scratch: pathlib.Path) -> None:
        self._results = results
        self._ghz = ghz
        self._wrk = wrk
        self._scratch = scratch

    def take(
        self,
        paths: Sequence[GrpcPath | HttpPath],
        workload: Workload,
        concurrency: int,
        *,
        rounds: int,
        seconds: float,
        name: str | None = None,
    ) -> None:
        """Measure a workload on every path; the failure of one is noted and skips no other.

        The paths take turns in each of some short rounds, so that paths are compared within a round: a machine that is
        busier for a while is so for all of them. A round begins with another path each time.

        Args:
            paths: the paths.
            workload: the shape of each request.
            concurrency: how many requests are under way at any time.
            rounds: how often the paths take turns.
            seconds: how long each turn lasts.
            name: the workload's name in the results; default its own.
        """
        called = name or workload.name
        able = [path for path in paths if path.streams or workload.tokens == 1]
        turns: dict[str, list[Turn]] = {path.name: [] for path in able}
        for number in range(rounds):
            first = number % max(1, len(able))
            for path in (*able[first:], *able[:first]):
                if number % path.every:
                    continue
                try:
                    turns[path.name].append(self._turn(path, workload, concurrency, number, seconds))
                except LoadFailed as error:
                    self._results.skipped[f"{path.name}, {called} at {concurrency}"] = str(error)
        for path in able:
            if turns[path.name]:
                row = Row(
                    path=path.name,
                    workload=called,
                    concurrency=concurrency,
                    tokens_per_request=workload.tokens,
                    turns=turns[path.name],
                )
                self._results.rows.append(row)
                _say(row)

    def _turn(
        self, path: GrpcPath | HttpPath, workload: Workload, concurrency: int, number: int, seconds: float
    ) -> Turn:
        self.load(path, workload, concurrency, WARM_S)
        time.sleep(path.settle_s)
        before = cpu_seconds(path.group)
        load = self.load(path, workload, concurrency, seconds * path.longer)
        after = cpu_seconds(path.group)
        return Turn(round=number, load=load, cpu_seconds={name: after[name] - before[name] for name in before})

    def load(self, path: GrpcPath | HttpPath, workload: Workload, concurrency: int, seconds: float) -> Load:
        """Put one load on a path. Raises LoadFailed, also where its load generator is not installed."""
        if isinstance(path, GrpcPath):
            if self._ghz is None:
                raise LoadFailed("ghz is not installed")
            return grpc_load(
                self._ghz,
                target=path.target,
                call=GENERATE,
                request={"model": path.model or workload.model, "prompt": PROMPT, "max_output_tokens": workload.tokens},
                key=path.key,
                protoset=PROTOSET,
                concurrency=concurrency,
                seconds=seconds,
            )
        if self._wrk is None:
            raise LoadFailed("wrk is not installed")
        body: dict[str, object] = {
            "model": path.model or workload.model,
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


def _say(row: Row) -> None:
    load, cpu = row.load, row.cpu_us_per_request()
    print(
        f"{row.path}, {row.workload} at {row.concurrency}: {load.per_second:.0f} requests/s, "
        f"{row.tokens_per_second:.0f} tokens/s, p50 {load.p50_ms:.2f} ms, {load.failed} failed, "
        f"CPU us {', '.join(f'{name} {used:.0f}' for name, used in cpu.items())}",
        file=sys.stderr,
        flush=True,
    )
