"""`python -m bench`: measure everything in one run, print the table and save it."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import platform
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable

from router.benchmarks import ledger

from .arguments import parse
from .crowd import measure_crowd
from .decision import decision_cpu_us
from .measure import ROOT, Measurement
from .models import measure_models
from .paths import measure_paths
from .rows import Results
from .selection import GRPC_PATHS, HTTP_PATHS, LITELLM
from .soak import measure_soak
from .table import as_json, as_markdown
from .tools import Tool, ToolMissing, find_ghz, find_litellm, find_wrk
from .voice import measure_voice

JSON = ROOT / "bench" / "results" / "latest.json"
MARKDOWN = ROOT / "docs" / "benchmarks.md"


def _found(results: Results, what: str, find: Callable[[], Tool]) -> Tool | None:
    try:
        return find()
    except ToolMissing as error:
        results.skipped[what] = str(error)
        return None


def _run(name: str, part: Callable[[], None], results: Results) -> None:
    """Run a part. A failure is noted and keeps the measurements of the other parts."""
    began = time.monotonic()
    try:
        part()
    except Exception as error:
        traceback.print_exc()
        results.skipped[name] = " ".join(f"{type(error).__name__}: {error}".split())[:400]
    print(f"{name} took {time.monotonic() - began:.0f} s", file=sys.stderr)


def _machine() -> dict[str, object]:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cores": os.cpu_count() or 0,
        "processor": model,
        "python": platform.python_version(),
        "load average before": round(os.getloadavg()[0], 2),
    }


def main() -> int:
    """Run the selected parts; return exit status 1 if anything selected was not measured."""
    # As an interrupt does, so that the processes that it started end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments = parse()
    selection = arguments.selection
    results, began = Results(machine=_machine()), time.monotonic()
    tools = ROOT / ".tools"
    tools.mkdir(exist_ok=True)
    grpc = selection.needs(*GRPC_PATHS) or "profile" in selection.parts
    ghz = _found(results, "gRPC", lambda: find_ghz(ROOT)) if grpc else None
    wrk = _found(results, "HTTP", lambda: find_wrk(tools)) if selection.needs(*HTTP_PATHS) else None
    proxy = _found(results, "LiteLLM", lambda: find_litellm(ROOT)) if selection.needs(LITELLM) else None
    with tempfile.TemporaryDirectory(prefix="eh-bench-", dir="/tmp") as folder:
        scratch = pathlib.Path(folder)
        (scratch / "soak").mkdir()
        measurement = Measurement(results=results, ghz=ghz, wrk=wrk, scratch=scratch)
        parts: dict[str, Callable[[], None]] = {
            "decision": lambda: results.add("decision", {"decision_cpu_us": decision_cpu_us()}),
            "ledger": lambda: results.add("ledger", ledger.measure(selection.seconds)),
            # They share a mesh.
            "paths and profile": lambda: measure_paths(measurement, results, selection, scratch, proxy),
            "budgets": lambda: results.add("budgets", measure_crowd()),
            "soak": lambda: measure_soak(results, scratch / "soak", seconds=selection.soak_s),
            "models": lambda: results.add("models", measure_models()),
            "voice": lambda: results.add("voice", measure_voice(arguments.speech)),
        }
        for name, part in parts.items():
            if not set(name.split(" and ")).isdisjoint(selection.parts):
                _run(name, part, results)
    minutes = round((time.monotonic() - began) / 60, 1)
    results.machine = {**results.machine, "load average after": round(os.getloadavg()[0], 2), "minutes": minutes}
    text = as_markdown(results)
    print(text)
    whole = selection.is_whole and not results.skipped
    _write(arguments.json or (JSON if whole else None), json.dumps(as_json(results), indent=2) + "\n")
    _write(arguments.markdown or (MARKDOWN if whole else None), text)
    for what, why in results.skipped.items():
        print(f"not measured: {what}: {why}", file=sys.stderr)
    return 1 if results.skipped else 0


def _write(path: pathlib.Path | None, text: str) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(f"saved to {path}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
