"""The ledger's times and sizes, and the ways in which it can refuse."""

from __future__ import annotations

import dataclasses

from enginehouse.router.ledger._budgets import Budget
from enginehouse.router.ledger._sweep import SweepTerms


class LedgerUnavailable(Exception):
    """PostgreSQL is unavailable and the leases do not suffice."""


class InsufficientBudget(Exception):
    """A budget in scope can't pay.

    Attributes:
        budget: which.
        in_flight: it is not spent: what is reserved, here or by other replicas, may pay later.
        waited_ms: how long the request waited for that, in milliseconds.
        ahead: how many wait for it already, where those are as many as may.
    """

    def __init__(self, budget: Budget, *, in_flight: bool = False, waited_ms: int = 0, ahead: int = 0) -> None:
        super().__init__(budget.budget_id)
        self.budget = budget
        self.in_flight = in_flight
        self.waited_ms = waited_ms
        self.ahead = ahead


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LedgerTerms:
    """The ledger's times and sizes.

    Attributes:
        replica_ttl_s: how long a replica may go on without PostgreSQL, and how long its leases are held after its death
            where that can't be seen sooner; seconds.
        accept_window_s: how long after its issue an engine may start on a grant.
        skew_s: the difference between clocks that is allowed for.
        grace_s: how long after its expiry a grant's report may take before its cap is assumed.
        journal_s: how often reservations are written down.
        journal_age_s: how long a reservation is open before it is written down. One that settles sooner is written once
            instead of twice. A router that dies takes the knowledge of what was open for less with it, never the money.
        renew_s: how often the registration is renewed, the book compared with PostgreSQL, watermarks noted.
        lease_s: how many seconds of recent traffic a lease is drawn for.
        idle_s: after how long without reservations a lease's free money goes back.
        share: a lease is at most one share-th of what a window has free, unless one request needs more.
        recall_s: how long a request that would be refused waits for what other replicas hold idle.
        budget_wait_s: how long a request that a budget could pay from what is in flight waits for it; 0 turns it off.
        budget_waiters: how many requests may wait so at once.
        budget_waiters_per_account: how many of them for one budget.
        journal_backlog: how many reservations may wait for the journal before new ones are refused.
        settle_batch: how many reports share a transaction at most.
        settle_gather_s: how long a report may wait for others to share its transaction with, when they come often and
            nobody waits for the money.
    """

    replica_ttl_s: float = 60.0
    accept_window_s: float = 10.0
    skew_s: float = 1.0
    grace_s: float = 30.0
    journal_s: float = 0.05
    journal_age_s: float = 0.2
    renew_s: float = 1.0
    lease_s: float = 5.0
    idle_s: float = 5.0
    share: int = 8
    recall_s: float = 0.15
    budget_wait_s: float = 2.0
    budget_waiters: int = 4000
    budget_waiters_per_account: int = 1000
    journal_backlog: int = 100_000
    settle_batch: int = 500
    settle_gather_s: float = 0.05

    @property
    def sweep_terms(self) -> SweepTerms:
        """The same times as the sweep needs them."""
        return SweepTerms(
            accept_window_ms=int((self.accept_window_s + self.skew_s) * 1000),
            grace_ms=int(self.grace_s * 1000),
            unseen_ms=int((self.replica_ttl_s + self.skew_s + 5) * 1000),
        )
