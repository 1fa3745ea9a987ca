"""One key's budget on many replicas, request by request."""

from __future__ import annotations

import dataclasses
import random
from collections import deque

from enginehouse.router.ledger._sizing import burst_target, granted, rate, refill_target

CAP = 1_000_000
# The bound of a request is a guess; what it costs is less.
_COST = 400_000
# A request holds its bound for so long.
_LASTS_S = 1.0
_SHARE = 8
_IDLE_S = 5.0
_RECALL_EVERY_S = 1.0
# After a recall, what becomes free goes back at once for so long.
_WANTED_S = 3.0


@dataclasses.dataclass(slots=True)
class Lease:
    """One replica's part of the budget."""

    free: int = 0
    open: int = 0
    reserved: int = 0
    per_second: float = 0.0
    measured_at: float = 0.0
    last_at: float = 0.0
    recalled_at: float = -_RECALL_EVERY_S


@dataclasses.dataclass(slots=True)
class Spent:
    """The course of a budget's spending.

    Attributes:
        requests: that came while the budget had a request's cap left that no running request held.
        refused: of these, refused.
        writes: draws and returns, each one transaction.
        seconds: from the first request to the last of them.
    """

    requests: int = 0
    refused: int = 0
    writes: int = 0
    seconds: float = 0.0


def spend(*, per_second: float, budget: int, replicas: int, lease_s: float, seed: int, max_requests: int) -> Spent:
    """Spend a budget (nano-dollars) by requests at that rate, up to a maximum, and count its cost."""
    dice = random.Random(seed)
    leases: dict[int, Lease] = {}
    ends: deque[tuple[float, Lease]] = deque()
    idle: deque[tuple[float, int]] = deque()
    available, settled, held, now, wanted_until = budget, 0, 0, 0.0, 0.0
    done = Spent()
    while done.requests < max_requests:
        now += dice.expovariate(per_second)
        while ends and ends[0][0] <= now:
            _, ended = ends.popleft()
            ended.open -= 1
            if now < wanted_until:
                available += ended.free + CAP - _COST
                ended.free = 0
                done.writes += 1
            else:
                ended.free += CAP - _COST
            settled += _COST
            held -= CAP
        while idle and idle[0][0] <= now:
            at, number = idle.popleft()
            waiting = leases[number]
            if waiting.last_at + _IDLE_S > at:
                continue
            if waiting.free:
                available += waiting.free
                waiting.free = 0
                done.writes += 1
            if waiting.open:
                idle.append((now + _IDLE_S, number))
        if budget - settled - held < CAP:
            if not ends:
                break
            # Truly spent, until a running request turns out to cost less.
            continue
        done.requests += 1
        number = dice.randrange(replicas)
        lease = leases.setdefault(number, Lease(measured_at=now))
        _measure(lease, now)
        if lease.free < CAP:
            target = burst_target(nanos_per_second=lease.per_second, lease_s=lease_s, cap_nanos=CAP)
            available = _draw(lease, available, CAP - lease.free, target, done)
        if lease.free < CAP and now - lease.recalled_at >= _RECALL_EVERY_S:
            lease.recalled_at = now
            wanted_until = now + _WANTED_S
            for other in leases.values():
                if other.free:
                    available += other.free
                    other.free = 0
                    done.writes += 1
            available = _draw(lease, available, CAP, CAP, done)
        if lease.free < CAP:
            done.refused += 1
            continue
        lease.free -= CAP
        lease.open += 1
        lease.reserved += CAP
        lease.last_at = now
        held += CAP
        ends.append((now + _LASTS_S, lease))
        idle.append((now + _IDLE_S, number))
        if lease.per_second:
            wanted = refill_target(nanos_per_second=lease.per_second, lease_s=lease_s, free_nanos=lease.free)
            if wanted > 0:
                available = _draw(lease, available, 0, wanted, done)
    done.seconds = now
    return done


def _draw(lease: Lease, available: int, need: int, target: int, done: Spent) -> int:
    amount = granted(need_nanos=need, target_nanos=target, available_nanos=available, share=_SHARE)
    if amount > 0:
        lease.free += amount
        done.writes += 1
    return available - max(0, amount)


def _measure(lease: Lease, now: float) -> None:
    """The rate is measured every second, whether or not a request came."""
    while now - lease.measured_at >= 1.0:
        lease.measured_at += 1.0
        lease.per_second = rate(lease.per_second, reserved_nanos=lease.reserved, elapsed_s=1.0)
        lease.reserved = 0
        if not lease.per_second:
            lease.measured_at = now
