"""`python -m router.simulation`: the table and the picture."""

from __future__ import annotations

import argparse
import pathlib
import sys

from router.simulation.fleet import CAP, spend
from router.simulation.plot import Curves, drawn

SIZES = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
# A budget pays for so many seconds of its key's traffic, and for so many requests at least.
_BUDGET_S, _BUDGET_REQUESTS = 30.0, 50


def buckets(keys: int, per_second: float) -> list[tuple[int, float]]:
    """Groups of about equally busy keys: how many they are, and the requests a second of each (Zipf's law)."""
    total = sum(1 / rank for rank in range(1, keys + 1))
    made, first = [], 1
    while first <= keys:
        last = min(keys, first * 10 - 1) if first > 1 else 1
        share = sum(1 / rank for rank in range(first, last + 1)) / total
        made.append((last - first + 1, per_second * share / (last - first + 1)))
        first = last + 1
    return made


def main() -> int:
    """Simulate every size."""
    parser = argparse.ArgumentParser(prog="python -m router.simulation")
    parser.add_argument("--replicas", type=int, default=1000)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--per-second", type=float, default=50_000, help="requests of all keys together")
    parser.add_argument("--affinity", type=int, default=4, help="routers a key comes to in the second half")
    parser.add_argument("--max-requests", type=int, default=120_000, help="the maximum of requests simulated of a key")
    parser.add_argument("--svg", type=pathlib.Path, default=pathlib.Path("docs/ledger-simulation.svg"))
    given = parser.parse_args()
    kinds = buckets(given.keys, given.per_second)
    print("| routers that a key's requests come to | lease, s | draws and returns /s | a request | payable, refused |")
    print("|---|---|---|---|---|")
    curves = []
    for spread in (given.replicas, given.affinity):
        writes, refused = [], []
        for size in SIZES:
            all_writes = all_refused = 0.0
            for number, (count, per_second) in enumerate(kinds):
                budget = int(max(_BUDGET_REQUESTS, per_second * _BUDGET_S)) * CAP
                done = spend(
                    per_second=per_second,
                    budget=budget,
                    replicas=spread,
                    lease_s=size,
                    seed=number,
                    max_requests=given.max_requests,
                )
                all_writes += count * per_second * done.writes / max(1, done.requests)
                all_refused += count * per_second * done.refused / max(1, done.requests)
            writes.append(all_writes)
            refused.append(all_refused / given.per_second)
            each = all_writes / given.per_second
            print(f"| {spread} | {size:g} | {all_writes:,.0f} | {each:.3f} | {refused[-1]:.4%} |", flush=True)
        curves.append(Curves(f"{spread:,} routers a key", writes, refused))
    title = f"{given.replicas:,} routers, {given.keys:,} keys, {given.per_second:,.0f} requests a second"
    given.svg.write_text(drawn(SIZES, curves, title=title))
    print(f"drawn in {given.svg}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
