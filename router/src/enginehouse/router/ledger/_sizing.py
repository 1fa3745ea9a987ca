"""The size of a lease: seconds of the budget's recent traffic here, and less as the budget empties. Pure arithmetic.

Large leases spare PostgreSQL; what lies in them idle, another replica may have to refuse for. `router/simulation` shows
the trade for a thousand replicas with these very functions.
"""

from __future__ import annotations

# A first draw is for so many requests like the one that needs it.
_FIRST_DRAW = 8
# The weight of the newest measurement in the rate: a burst is forgotten within some ten measurements.
_NEWEST = 0.3


def granted(*, need_nanos: int, target_nanos: int, available_nanos: int, share: int) -> int:
    """Return what a draw moves: at least the need if the window has it (else what it has), and up to the target while
    that is at most one `share`th of what is available. Never more than is available.
    """
    return max(min(need_nanos, available_nanos), min(target_nanos, available_nanos // share))


def burst_target(*, nanos_per_second: float, lease_s: float, cap_nanos: int) -> int:
    """Return what to draw when a request waits: seconds of traffic, or a few such requests where no rate is known."""
    return max(int(nanos_per_second * lease_s), cap_nanos * _FIRST_DRAW)


def refill_target(*, nanos_per_second: float, lease_s: float, free_nanos: int) -> int:
    """Return what to draw in the background: 0 until less than half of the seconds of traffic is free."""
    target = int(nanos_per_second * lease_s)
    return target - free_nanos if free_nanos * 2 < target else 0


def rate(previous: float, *, reserved_nanos: int, elapsed_s: float) -> float:
    """The recent rate in nano-dollars a second, after another measurement; less than one counts as none."""
    measured = previous + _NEWEST * (reserved_nanos / elapsed_s - previous)
    return measured if measured >= 1 else 0.0
