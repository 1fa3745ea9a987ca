"""The values that a router's metrics read when they are scraped."""

from __future__ import annotations

from collections.abc import Callable

from enginehouse.router.clock import SteadyClock
from enginehouse.router.metrics import Readings
from enginehouse.router.wiring._domains import RouterParts


def build_readings(router: RouterParts, *, clock: SteadyClock, ready: Callable[[], bool]) -> Readings:
    """Return the values of one router.

    Args:
        router: its domains.
        clock: the clock that they share.
        ready: returns whether decisions can be made.
    """
    ledger, keys, fleet, watch = router.ledger.ledger, router.identity.keys, router.fleet.fleet, router.fleet.watch
    return Readings(
        gauges={
            ("enginehouse_router_ready", "1 when decisions can be made."): lambda: float(ready()),
            ("enginehouse_router_keys", "Usable API keys in memory."): lambda: len(keys),
            ("enginehouse_router_engines", "Live engines that serve models."): lambda: len(fleet),
            ("enginehouse_router_open_reservations", "Reservations not settled yet."): lambda: len(ledger.book),
            (
                "enginehouse_router_budget_waiters",
                "Requests that wait for a budget that running requests hold.",
            ): lambda: ledger.waiting,
            (
                "enginehouse_router_journal_backlog",
                "Reservations not written down yet.",
            ): lambda: ledger.journal_backlog,
            (
                "enginehouse_router_leased_nanos",
                "Nano-dollars that this replica holds of budgets, reserved or free.",
            ): lambda: sum(account.remaining for account in ledger.book.accounts()),
            (
                "enginehouse_router_clock_ahead_seconds",
                "Seconds that this replica is ahead of its machine's clock, after that was put back.",
            ): lambda: clock.ahead_s,
            (
                "enginehouse_router_registry_connected",
                "1 while the gateway's registry is followed.",
            ): lambda: float(watch.connected),
        },
        counters={
            ("enginehouse_router_draws", "Draws on budgets."): lambda: ledger.draws,
            ("enginehouse_router_settled_claims", "Reports settled here."): lambda: ledger.settled_claims,
            (
                "enginehouse_router_settle_transactions",
                "Transactions that settled them.",
            ): lambda: ledger.settle_transactions,
            (
                "enginehouse_router_unbilled_nanos",
                "Nano-dollars served over what could be billed.",
            ): lambda: ledger.unbilled_nanos,
        },
    )
