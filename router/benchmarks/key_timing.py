"""The time to an answer for four kinds of keys, interleaved: a client must not tell by timing if a key exists.

Run: `python router/benchmarks/key_timing.py [--calls N] [--json]`. Keys that are unknown, expired and revoked must take
the same time. Beside them: what a key takes that has just expired and is not forgotten yet (that takes a reload, 30 s
at most), and what a good one takes, as far as the lookup goes. The test is the rank-sum test (Mann-Whitney): with no
difference |z| stays under 3. Two sets of unknown keys are compared as well, for the noise.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import math
import random
import statistics
import sys
import time
from collections.abc import Sequence

from enginehouse.kit.errors import ServiceError
from enginehouse.router.identity import (
    Authenticator,
    Key,
    KeyHasher,
    KeyIndex,
    KeyStore,
    Tenant,
    TokenVerifier,
    UserIndex,
    UserStore,
    new_secret,
)

_KEYS = 10_000
_EACH = 1_000
_NOW_MS = 2_000


def _authenticator() -> tuple[Authenticator, dict[str, list[bytes]]]:
    hasher = KeyHasher(pepper=b"p" * 32)
    store = KeyStore(database=None)  # type: ignore[arg-type]
    now = [0]
    index = KeyIndex(store=store, hasher=hasher, clock=lambda: now[0])
    tenant = Tenant(tenant_id="ten_1", name="t", tier="pro", created_at_ms=0)
    kinds: dict[str, list[bytes]] = {
        "unknown": [],
        "unknown too": [],
        "expired": [],
        "revoked": [],
        "just expired": [],
        "good": [],
    }
    for number in range(_KEYS):
        secret = new_secret()
        kind = ("good", "just expired", "expired", "revoked")[number % 4]
        now[0] = _NOW_MS if kind == "expired" else 0
        key = Key(
            key_id=f"key_{number}",
            tenant_id=tenant.tenant_id,
            name="k",
            digest=hasher.digest(secret),
            hint=secret[:9],
            scopes=("inference",),
            allowed_models=(),
            requests_per_minute=0,
            tokens_per_minute=0,
            concurrency=0,
            created_at_ms=0,
            expires_at_ms=1_000 if kind.endswith("expired") else 0,
            revoked_at_ms=0,
        )
        index.put(key, tenant)
        if kind == "revoked":
            index.drop(key.key_id)
        if len(kinds[kind]) < _EACH:
            kinds[kind].append(secret.encode())
    for kind in ("unknown", "unknown too"):
        kinds[kind] = [new_secret().encode() for _ in range(_EACH)]
    index.loaded = True
    users = UserIndex(tenants=store, users=UserStore(database=None))  # type: ignore[arg-type]
    return Authenticator(keys=index, users=users, tokens=TokenVerifier(issuers=(), users=users)), kinds


def _measure(calls: int) -> dict[str, list[int]]:
    authenticator, kinds = _authenticator()
    order = [kind for kind in kinds for _ in range(calls // len(kinds))]
    random.Random(7).shuffle(order)
    taken: dict[str, list[int]] = {kind: [] for kind in kinds}
    headers = [
        (kind, {b"authorization": b"Bearer " + random.Random(at).choice(kinds[kind])}) for at, kind in enumerate(order)
    ]
    gc.disable()
    for kind, header in headers:
        began = time.perf_counter_ns()
        with contextlib.suppress(ServiceError):
            authenticator.authenticate(header, now_ms=_NOW_MS)
        taken[kind].append(time.perf_counter_ns() - began)
    gc.enable()
    return taken


def _z(one: Sequence[int], other: Sequence[int]) -> float:
    """The rank-sum test's normal score, ties taken together (Mann and Whitney, 1947)."""
    ranked = sorted([(value, 0) for value in one] + [(value, 1) for value in other])
    ranks, ties, at = 0.0, 0.0, 0
    while at < len(ranked):
        end = at
        while end < len(ranked) and ranked[end][0] == ranked[at][0]:
            end += 1
        size = end - at
        ranks += sum(1 for _, which in ranked[at:end] if which == 0) * (at + end + 1) / 2
        ties += size**3 - size
        at = end
    n, m = len(one), len(other)
    total = n + m
    deviation = math.sqrt(n * m / 12 * (total + 1 - ties / (total * (total - 1))))
    return (ranks - n * (total + 1) / 2) / deviation


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100_000, help="calls in all")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    taken = _measure(arguments.calls)
    found = {
        kind: {
            "calls": len(values),
            "median_ns": statistics.median(values),
            "p10_ns": statistics.quantiles(values, n=10)[0],
            "p90_ns": statistics.quantiles(values, n=10)[-1],
            "z_against_unknown": round(_z(values, taken["unknown"]), 2),
        }
        for kind, values in taken.items()
    }
    if arguments.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0
    sys.stdout.write(f"{'key':12} {'calls':>7} {'p10 ns':>8} {'median':>8} {'p90':>8} {'z':>7}\n")
    for kind, row in found.items():
        sys.stdout.write(
            f"{kind:12} {row['calls']:7} {row['p10_ns']:8.0f} {row['median_ns']:8.0f} {row['p90_ns']:8.0f} "
            f"{row['z_against_unknown']:7.2f}\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
