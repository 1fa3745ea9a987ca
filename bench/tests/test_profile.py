from __future__ import annotations

import os

import pytest

from bench.loads import Load
from bench.profile import OTHER_THREADS, ProfileFailed, attribute
from bench.profile_parts import ENGINE, LOOP, ROUTER, part_of, read_stacks, short_name
from bench.usage import cpu_seconds, main_thread_cpu_seconds

PACKAGES = "/x/.venv/lib/python3.11/site-packages"
RUN = "Runner.run (/usr/lib/python3.11/asyncio/runners.py:86)"
MAIN = "main (/x/router/src/enginehouse/router/__main__.py:137)"
DECIDE = "decide (/x/router/src/enginehouse/router/decision/decide.py:9)"
EXECUTE = f"Connection.execute ({PACKAGES}/sqlalchemy/engine/base.py:1450)"
LOAD = Load(requests=1010, failed=10, seconds=2.0, p50_ms=1.0, p99_ms=2.0)


def test_the_standard_library_counts_for_its_caller() -> None:
    dumps = "dumps (/usr/lib/python3.11/json/__init__.py:183)"
    assert part_of([MAIN, RUN, DECIDE, dumps], ROUTER) == "decision"
    assert part_of([EXECUTE], ROUTER) == "SQLAlchemy"
    assert (
        part_of([MAIN, RUN, "Ledger._write_journal (/x/enginehouse/router/ledger/_ledger.py:1)"], ROUTER) == "journal"
    )
    assert part_of([MAIN, RUN, "Meter.add (/x/src/enginehouse/kit/usage/meter.py:1)"], ENGINE) == "metering"


def test_what_leads_to_the_loop_is_not_what_it_runs() -> None:
    assert part_of([MAIN, RUN], ROUTER) == LOOP
    assert part_of([MAIN], ROUTER) == "rest"


def test_only_the_threads_own_stacks_are_read() -> None:
    lines = [f"thread (7): MainThread;{MAIN};{RUN} 3", f"thread (8): pool;{MAIN} 5", "garbage"]
    assert list(read_stacks(lines, thread=7)) == [([MAIN, RUN], 3)]


def test_names_are_short() -> None:
    assert short_name(EXECUTE) == "Connection.execute (sqlalchemy/engine/base.py)"
    assert short_name(DECIDE) == "decide (enginehouse/router/decision/decide.py)"
    assert short_name("take (/x/checkout/bench/source.py:7)") == "take (bench/source.py)"
    assert short_name("take (/x/bench/bench/source.py:7)") == "take (bench/source.py)"
    assert short_name("f (<string>)") == "f (<string>)"


def test_all_parts_together_are_the_processs_time_a_request() -> None:
    stacks = [f"thread (7): MainThread;{MAIN};{RUN};{DECIDE} 30", f"thread (7): MainThread;{EXECUTE} 10"]
    profile = attribute(LOAD, process="router", pid=7, stacks=stacks, parts=ROUTER, cpu_s=0.5, main_s=0.4)
    assert profile.cpu_us_per_request == pytest.approx(500)
    assert profile.parts == pytest.approx({"decision": 300, "SQLAlchemy": 100, OTHER_THREADS: 100})
    assert next(iter(profile.functions)) == "decide (enginehouse/router/decision/decide.py)"


def test_a_profile_without_samples_is_an_error() -> None:
    with pytest.raises(ProfileFailed, match="the router do nothing"):
        attribute(LOAD, process="router", pid=7, stacks=[], parts=ROUTER, cpu_s=0.5, main_s=0.4)


def test_the_main_threads_time_is_part_of_its_process() -> None:
    main = main_thread_cpu_seconds(os.getpid())
    assert 0 < main <= cpu_seconds({"this": [os.getpid()]})["this"] + 0.02
    assert main_thread_cpu_seconds(2**22 - 1) == 0.0
