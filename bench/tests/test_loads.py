from __future__ import annotations

import json
import os
import subprocess
import time

import pytest

from bench.loads import LoadFailed, read_ghz, read_wrk
from bench.usage import cpu_seconds, memory_bytes, processes

GHZ = {
    "count": 1000,
    "total": 2_000_000_000,
    "statusCodeDistribution": {"OK": 990, "ResourceExhausted": 10},
    "latencyDistribution": [{"percentage": 50, "latency": 1_500_000}, {"percentage": 99, "latency": 9_000_000}],
}


def test_a_grpc_report_counts_only_answers() -> None:
    load = read_ghz(json.dumps(GHZ))
    assert (load.requests, load.failed, load.p50_ms, load.p99_ms) == (1000, 10, 1.5, 9.0)
    assert load.per_second == 495.0


def test_a_grpc_report_without_one_answer_is_all_failures() -> None:
    load = read_ghz(json.dumps({**GHZ, "statusCodeDistribution": None, "latencyDistribution": None}))
    assert load.failed == 1000
    assert load.per_second == 0.0


def test_an_http_report_counts_refusals_and_broken_connections() -> None:
    line = 'RESULT {"requests": 100, "us": 1000000, "p50_us": 2000, "p99_us": 8000, "status": 3, "broken": 2}'
    load = read_wrk(f"Running 1s test\n{line}\n")
    assert (load.requests, load.failed, load.p50_ms, load.p99_ms) == (102, 5, 2.0, 8.0)


def test_an_http_report_without_a_result_is_an_error() -> None:
    with pytest.raises(LoadFailed, match="no result"):
        read_wrk("unable to connect")


def test_cpu_and_memory_of_a_process_are_seen() -> None:
    group = {"this": [os.getpid()], "gone": [2**22 - 1]}
    before = cpu_seconds(group)
    ends = time.process_time() + 0.1
    while time.process_time() < ends:
        pass
    after = cpu_seconds(group)
    assert after["this"] - before["this"] >= 0.05
    assert after["gone"] == 0.0
    assert memory_bytes(group)["this"] > 1 << 20
    assert memory_bytes(group)["gone"] == 0


def test_a_child_counts_under_the_nearest_name_above_it() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            together = {"parent": [os.getpid()]}
            assert child.pid in [process.pid for process in processes(together)["parent"]]
            apart = {"parent": [os.getpid()], "child": [child.pid]}
            assert child.pid not in [process.pid for process in processes(apart)["parent"]]
            assert [process.pid for process in processes(apart)["child"]] == [child.pid]
        finally:
            child.terminate()
