"""Milliseconds to the whole answer through a mesh: made by an engine, and given from the cache.

Run: `ENGINEHOUSE_API_KEY=eh_... python router/benchmarks/cache_latency.py --url http://127.0.0.1:8080 [--json]`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from typing import Any

import httpx

_USE = {"x-enginehouse-cache": "use"}
_DEADLINE_S = 60


def _ask(client: httpx.Client, text: str, *, tokens: int, headers: dict[str, str]) -> tuple[float, str]:
    body: dict[str, Any] = {
        "model": "auto",
        "messages": [{"role": "user", "content": text}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
    }
    began = time.perf_counter()
    response = client.post("/v1/chat/completions", json=body, headers=headers)
    took = time.perf_counter() - began
    response.raise_for_status()
    return took * 1000, response.headers.get("x-enginehouse-cache", "")


def _quantiles(times: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times, n=100)
    return {"p50": round(cuts[49], 2), "p99": round(cuts[98], 2)}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="the mesh")
    parser.add_argument("--questions", type=int, default=100, help="different questions")
    parser.add_argument("--tokens", type=int, default=64, help="the length of the answers")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    key = os.environ.get("ENGINEHOUSE_API_KEY", "")
    started = time.time_ns()
    questions = [f"Story {started} number {number}" for number in range(arguments.questions)]
    with httpx.Client(
        base_url=arguments.url, headers={"authorization": f"Bearer {key}"}, timeout=_DEADLINE_S
    ) as client:
        plain = [_ask(client, text, tokens=arguments.tokens, headers={})[0] for text in questions]
        misses = [_ask(client, text, tokens=arguments.tokens, headers=_USE)[0] for text in questions]
        for text in questions:
            deadline = time.monotonic() + _DEADLINE_S
            while _ask(client, text, tokens=arguments.tokens, headers=_USE)[1] != "hit":
                if time.monotonic() > deadline:
                    sys.stderr.write("an answer was not kept\n")
                    return 1
        hits = [_ask(client, text, tokens=arguments.tokens, headers=_USE)[0] for text in questions * 5]
    found = {
        "without the cache": _quantiles(plain),
        "miss, kept": _quantiles(misses),
        "hit": _quantiles(hits),
    }
    if arguments.json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        for name, times in found.items():
            sys.stdout.write(f"{name:20} p50 {times['p50']:8.2f} ms   p99 {times['p99']:8.2f} ms\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
