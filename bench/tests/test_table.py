from __future__ import annotations

import json

from bench.loads import Load
from bench.rows import TARGETS, Results, Row
from bench.table import as_json, as_markdown


def row(path: str, workload: str, *, requests: int, concurrency: int = 64, failed: int = 0) -> Row:
    load = Load(requests=requests, failed=failed, seconds=2.0, p50_ms=1.0, p99_ms=2.0)
    return Row(
        path=path,
        workload=workload,
        concurrency=concurrency,
        tokens_per_request=200,
        load=load,
        cpu_seconds={"engine": 1.0, "router": 0.5},
    )


def test_failed_requests_earn_nothing() -> None:
    measured = row("direct", "stream", requests=1000, failed=200)
    assert measured.load.per_second == 400
    assert measured.tokens_per_second == 80_000
    assert measured.cpu_us_per_request() == {"engine": 1250.0, "router": 625.0}
    assert measured.cpu_us_per_token()["engine"] == 6.25


def test_targets_are_judged_by_the_same_concurrency() -> None:
    results = Results(machine={})
    results.rows = [
        row("direct", "request", requests=1000),
        row("direct", "request", requests=100, concurrency=1),
        row("full gRPC", "request", requests=640),
    ]
    verdicts = {target.name: target.verdict(results) for target in TARGETS}
    assert verdicts["full gRPC path / direct, requests/s at 64"] == (0.64, False)
    assert verdicts["OpenAI JSON / LiteLLM, requests/s at 64"] == (None, None)
    results.figures["decision_cpu_us"] = 41.0
    assert {target.name: target.verdict(results) for target in TARGETS}["router's decision, CPU us"] == (41, True)


def test_a_run_is_readable_by_people_and_programs() -> None:
    results = Results(machine={"cores": 2}, skipped={"LiteLLM": "not installed"})
    results.rows = [row("direct", "request", requests=1000), row("full gRPC", "request", requests=800)]
    results.memory_bytes = {"router": 100 << 20, "envoy": 50 << 20}
    text = as_markdown(results)
    assert "| full gRPC path / direct, requests/s at 64 | 0.8 | >= 0.65 | met |" in text
    assert "| **all** | **150** |" in text
    assert "- LiteLLM: not installed" in text
    read = json.loads(json.dumps(as_json(results)))
    assert read["rows"][1]["requests_per_second"] == 400
    assert read["targets"][0]["met"] is True
