from __future__ import annotations

import json

import pytest

from bench.arguments import parse
from bench.loads import Load
from bench.rows import Results, Row, Turn, median_of_rounds
from bench.table import as_json, as_markdown
from bench.targets import TARGETS


def turn(number: int, *, requests: int, failed: int = 0, p50_ms: float = 1.0, **cpu_s: float) -> Turn:
    load = Load(requests=requests, failed=failed, seconds=2.0, p50_ms=p50_ms, p99_ms=2.0)
    return Turn(round=number, load=load, cpu_seconds=cpu_s or {"engine": 1.0, "router": 0.5, "postgres": 0.1})


def row(path: str, workload: str, *turns: Turn, concurrency: int = 64) -> Row:
    return Row(path=path, workload=workload, concurrency=concurrency, tokens_per_request=200, turns=turns)


def verdicts(results: Results) -> dict[str, tuple[float | None, bool | None]]:
    return {target.name: target.verdict(results) for target in TARGETS}


def speed(ours: Turn, theirs: Turn) -> float:
    return ours.load.per_second / theirs.load.per_second


def test_failed_requests_earn_nothing() -> None:
    measured = row("direct", "stream", turn(0, requests=1000, failed=200))
    assert measured.load.per_second == 400
    assert measured.tokens_per_second == 80_000
    assert measured.cpu_us_per_request() == {"engine": 1250.0, "router": 625.0, "postgres": 125.0}
    assert measured.cpu_us_per_token()["engine"] == 6.25


def test_turns_of_a_row_are_put_together() -> None:
    turns = [turn(number, requests=n, p50_ms=ms) for number, n, ms in ((0, 100, 1.0), (1, 500, 9.0), (2, 300, 2.0))]
    measured = row("direct", "request", *turns)
    assert measured.load.per_second == 150
    assert measured.load.p50_ms == 2.0
    assert measured.cpu_us_per_request()["engine"] == pytest.approx(1 / 300 * 1e6)


def test_paths_are_compared_within_a_round() -> None:
    # The machine became ten times as slow for the second round, and for half of the third.
    direct = row("direct", "request", *(turn(n, requests=r) for n, r in enumerate((1000, 100, 1000))))
    full = row("full gRPC", "request", *(turn(n, requests=r) for n, r in enumerate((700, 70, 80))))
    assert median_of_rounds(full, direct, speed) == pytest.approx(0.7)


def test_rounds_in_which_one_of_them_answered_nothing_do_not_count() -> None:
    often = row("full gRPC", "request", *(turn(n, requests=100) for n in range(4)))
    rarely = row("LiteLLM", "request", turn(0, requests=10), turn(2, requests=5, failed=5))
    assert median_of_rounds(often, rarely, speed) == 10
    assert median_of_rounds(rarely, often, speed) == 0.1
    assert median_of_rounds(often, row("LiteLLM", "request", turn(9, requests=1)), speed) is None


def test_targets_are_judged_by_the_same_concurrency() -> None:
    results = Results(machine={})
    results.rows = [
        row("direct", "request", turn(0, requests=1000)),
        row("direct", "request", turn(0, requests=100), concurrency=1),
        row("full gRPC", "request", turn(0, requests=640)),
    ]
    assert verdicts(results)["full gRPC / direct, requests/s at 64"] == (0.64, False)
    assert verdicts(results)["OpenAI JSON / LiteLLM, requests/s at 64"] == (None, None)
    results.add("decision", {"decision_cpu_us": 41.0})
    assert verdicts(results)["router's decision, CPU us"] == (41, True)


def test_what_the_mesh_costs_is_judged_in_microseconds() -> None:
    results = Results(machine={})
    results.rows = [
        row("direct", "request", turn(0, requests=1000, engine=0.4), turn(1, requests=1000, engine=0.8)),
        row(
            "full gRPC",
            "request",
            turn(0, requests=1000, engine=0.5, router=0.25, postgres=0.05),
            turn(1, requests=1000, engine=0.9, router=0.25, postgres=0.05),
        ),
        row("full gRPC", "granted request", turn(0, requests=1000, engine=0.5), turn(1, requests=1000, engine=0.9)),
        row(
            "full gRPC, no grants",
            "granted request",
            turn(0, requests=1000, engine=0.43),
            turn(1, requests=1000, engine=0.83),
        ),
        row("full OpenAI JSON", "request", turn(0, requests=1000, engine=0.5, router=0.7, envoy=0.2)),
        row("LiteLLM", "request", turn(0, requests=100, litellm=3.2, envoy=0.3, engine=0.3)),
        row(
            "direct",
            "lone request",
            turn(0, requests=100, p50_ms=1.0),
            turn(1, requests=100, p50_ms=5.0),
            concurrency=1,
        ),
        row(
            "full gRPC",
            "lone request",
            turn(0, requests=90, p50_ms=2.1),
            turn(1, requests=90, p50_ms=6.1),
            concurrency=1,
        ),
    ]
    judged = {name: (round(value, 3), met) for name, (value, met) in verdicts(results).items() if value is not None}
    assert judged == {
        "full gRPC / direct, requests/s at 64": (1, True),
        "OpenAI JSON / LiteLLM, requests/s at 64": (10, False),
        "p50 that the full gRPC path adds at 1, ms": (1.1, True),
        "router, CPU us/request at 64": (250, True),
        "PostgreSQL, CPU us/request at 64": (50, True),
        "bare text engine, CPU us/request at 64": (600, False),
        "grant and metering in the engine, CPU us/request at 64": (70, True),
        "CPU added a request at 64, LiteLLM's / the mesh's": (32, True),
    }


def test_every_target_says_how_to_measure_it_alone() -> None:
    commands = {target.name: target.command for target in TARGETS}
    assert commands["OpenAI JSON / LiteLLM, requests/s at 64"] == (
        "--parts paths --paths full-openai-json litellm --workloads request --concurrencies 64"
    )
    assert commands["p50 that the full gRPC path adds at 1, ms"].endswith("--workloads lone-request")
    for command in commands.values():
        parse(command.split())


def test_a_run_is_readable_by_people_and_programs() -> None:
    results = Results(machine={"cores": 2}, skipped={"LiteLLM": "not installed"})
    results.rows = [
        row("direct", "request", turn(0, requests=1000)),
        row("full gRPC", "request", turn(0, requests=800)),
    ]
    results.memory_bytes = {"router": 100 << 20, "envoy": 50 << 20}
    results.add("paths", {"open_streams": 1000})
    text = as_markdown(results)
    assert "| full gRPC / direct, requests/s at 64 | 0.8 | >= 0.7 | met | `--parts paths --paths" in text
    assert "| open streams | 1,000 | `--parts paths` |" in text
    assert "| **all** | **150** |" in text
    assert "- LiteLLM: not installed" in text
    read = json.loads(json.dumps(as_json(results)))
    assert read["rows"][1]["requests_per_second"] == 400
    assert read["targets"][0]["met"] is True
