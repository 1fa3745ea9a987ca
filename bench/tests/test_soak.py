from __future__ import annotations

import random

import pytest

from bench.slope import slope
from bench.soak import MIB, Sample, Soaked, after_warm_up, slopes


def samples(*sizes: float, every_s: float = 10.0, files: int = 5) -> list[Sample]:
    return [
        Sample(at_s=100 + place * every_s, memory={"router": round(size * MIB)}, files={"router": files + place})
        for place, size in enumerate(sizes)
    ]


def test_a_line_is_found_through_noise_and_outliers() -> None:
    noise = random.Random(7)
    points = [(float(at), 3.0 * at + noise.uniform(-2, 2)) for at in range(100)]
    points[20] = (20.0, 10_000.0)
    points[60] = (60.0, -10_000.0)
    assert slope(points) == pytest.approx(3.0, abs=0.05)


def test_one_step_is_no_slope() -> None:
    assert slope([(float(at), 50.0 if at < 40 else 51.0) for at in range(100)]) == 0


def test_no_line_leads_through_one_moment() -> None:
    with pytest.raises(ValueError, match="2 points of one moment"):
        slope([(1.0, 2.0), (1.0, 3.0)])


def test_what_fills_during_the_warm_up_is_no_growth() -> None:
    warming = samples(10, 40, 70, 90, 100, 100, 100, 100, 100, 100, 100)
    assert after_warm_up(warming)[0].at_s == 140
    assert slopes(warming, lambda sample: sample.memory) == {"router": 0.0}
    assert slopes(warming, lambda sample: sample.files) == {"router": pytest.approx(360)}


def test_a_soak_counts_what_failed_and_what_grew() -> None:
    soaked = Soaked(
        seconds=100.0,
        calls={"gRPC": 1500, "cancelled": 500},
        failures={"gRPC: INTERNAL: broken": 2, "cancelled: it ended": 1},
        samples=samples(*range(11)),
        disk_bytes={"spool": (1024, 5 * 1024)},
    )
    figures = soaked.figures()
    assert figures["soak_calls"] == 2000
    assert figures["soak_unexplained_failures"] == 3
    assert figures["soak_router_memory_mib"] == 10
    assert figures["soak_steepest_memory_slope_mib_per_hour"] == pytest.approx(360)
    assert figures["soak_steepest_open_files_per_hour"] == pytest.approx(360)
    assert figures["soak_spool_disk_kib_per_thousand_calls"] == 2
