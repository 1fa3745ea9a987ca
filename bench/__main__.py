"""`python -m bench`: measure everything in one run, print the table and save it."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import platform
import sys
import tempfile
import traceback
from collections.abc import Callable

from router.benchmarks import ledger

from .decision import decision_cpu_us
from .measure import ROOT, Measurement
from .models import measure_models
from .paths import measure_all
from .rows import Results
from .table import as_json, as_markdown
from .tools import Tool, ToolMissing, find_ghz, find_litellm, find_wrk
from .voice import measure_voice

PARTS = ("decision", "ledger", "paths", "models", "voice")


def _found(results: Results, what: str, find: Callable[[], Tool]) -> Tool | None:
    try:
        return find()
    except ToolMissing as error:
        results.skipped[what] = str(error)
        return None


def _ran(name: str, part: Callable[[], None], results: Results) -> bool:
    """Run a part. A failure is noted and keeps the measurements of the other parts."""
    try:
        part()
    except Exception as error:
        traceback.print_exc()
        results.skipped[name] = " ".join(f"{type(error).__name__}: {error}".split())[:400]
        return False
    return True


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
    """Run the requested parts; return exit status 1 if any of them failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each load lasts")
    parser.add_argument("--warm", type=float, default=1.0, help="how long it runs before that")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--speech", type=pathlib.Path, metavar="DIR", help="recordings whose words are known")
    parser.add_argument("--no-litellm", action="store_true")
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "bench" / "results" / "latest.json")
    parser.add_argument("--markdown", type=pathlib.Path, default=ROOT / "docs" / "benchmarks.md")
    arguments = parser.parse_args()

    results = Results(machine=_machine())
    tools = ROOT / ".tools"
    tools.mkdir(exist_ok=True)
    # Only this part needs them, and they are built once.
    loads = "paths" in arguments.parts
    ghz = _found(results, "gRPC", lambda: find_ghz(tools)) if loads else None
    wrk = _found(results, "HTTP", lambda: find_wrk(tools)) if loads else None
    proxy = _found(results, "LiteLLM", lambda: find_litellm(ROOT)) if loads and not arguments.no_litellm else None
    with tempfile.TemporaryDirectory(prefix="eh-bench-", dir="/tmp") as folder:
        scratch = pathlib.Path(folder)
        measurement = Measurement(
            results=results, ghz=ghz, wrk=wrk, seconds=arguments.seconds, warm_s=arguments.warm, scratch=scratch
        )
        parts: dict[str, Callable[[], None]] = {
            "decision": lambda: results.figures.update(decision_cpu_us=decision_cpu_us()),
            "ledger": lambda: results.figures.update(ledger.measure(arguments.seconds)),
            "paths": lambda: measure_all(measurement, results, scratch, proxy),
            "models": lambda: results.figures.update(measure_models()),
            "voice": lambda: results.figures.update(measure_voice(arguments.speech)),
        }
        failed = [name for name in arguments.parts if not _ran(name, parts[name], results)]
    results.machine = {**results.machine, "load average after": round(os.getloadavg()[0], 2)}
    text = as_markdown(results)
    print(text)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(as_json(results), indent=2) + "\n")
    arguments.markdown.write_text(text)
    print(f"saved to {arguments.json} and {arguments.markdown}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
