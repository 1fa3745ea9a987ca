"""The leases and open reservations of this replica, in memory. No I/O and no await here.

The holder's knowledge of a lease row is (remaining, version), applied only when the version is newer, so that the
results of transactions may arrive in any order. An open reservation counts at its cap until its settlement is known,
so `free` is never more than the truth.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable, Sequence

from enginehouse.router.ids import new_id
from enginehouse.router.ledger._budgets import Budget
from enginehouse.router.ledger._queue import AccountQueue


@dataclasses.dataclass(slots=True, eq=False)
class Account:
    """A budget in one window, as this replica holds it. Amounts are nano-dollars."""

    budget: Budget
    window_start_ms: int
    lease_id: str = dataclasses.field(default_factory=lambda: new_id("lea"))
    # As in the lease's row.
    remaining: int = 0
    version: int = 0
    # Caps of open reservations.
    reserved: int = 0
    # On its way back to the window, perhaps already taken off the row.
    returning: int = 0
    # A transaction's outcome is unknown: the row must be read.
    stale: bool = False
    # What was ever reserved, and how much of it a second, lately.
    reserved_total: int = 0
    counted_total: int = 0
    nanos_per_second: float = 0.0
    last_reserved_ms: int = 0
    # Wanted by requests that wait for a draw, and the draw under way.
    wanted: int = 0
    drawing: asyncio.Task[int] | None = None
    # The window had nothing at this time: no background draws for a while.
    refused_at_ms: int = 0
    # When other replicas were last asked to give back what they hold idle, and the wait for it; when they asked.
    recalled_at_ms: int = 0
    recalling: asyncio.Task[None] | None = None
    wanted_elsewhere_ms: int = 0
    # Who waits for money of it, if anybody does.
    queue: AccountQueue | None = None
    # As the last draw that brought nothing found the window: what is not spent of it, and what other replicas hold.
    # None: the budget is gone.
    unspent: int | None = 0
    held_elsewhere: int = 0

    @property
    def free(self) -> int:
        """The amount that a new reservation may take."""
        return self.remaining - self.reserved - self.returning

    @property
    def is_kept(self) -> bool:
        """True if somebody here waits for what becomes free of it."""
        return self.queue is not None and self.queue.keeps(self.budget.budget_id)


@dataclasses.dataclass(slots=True, eq=False)
class Reservation:
    """A request's upper bound, held from every account in scope until its settlement is known."""

    grant_id: str
    cap_nanos: int
    accounts: tuple[Account, ...]
    issued_at_ms: int
    expires_at_ms: int
    # The signed grant, once it is signed.
    token: str = ""
    # Called once with the tokens used (None if unknown), when it settles, lapses or expires.
    on_close: Callable[[int | None], None] | None = None
    # How long the request waited for it while its budgets' money was in flight.
    waited_ms: int = 0

    def release(self, tokens: int | None) -> None:
        """Free what is held besides money."""
        if self.on_close is not None:
            self.on_close(tokens)
            self.on_close = None


class Payer:
    """The budgets that a request is charged to: pairs of a `Scope` and an id, and the accounts last found for them."""

    __slots__ = ("accounts", "book", "scopes", "until_ms", "version")

    def __init__(self, scopes: Sequence[tuple[str, str]]) -> None:
        self.scopes = scopes
        self.accounts: tuple[Account, ...] = ()
        # What the accounts were found in, and up to when they are the current ones.
        self.book: Book | None = None
        self.version = -1
        self.until_ms = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Shortfall:
    """The first account that could not pay."""

    account: Account


class Book:
    """Accounts by budget and window, and open reservations by grant."""

    def __init__(self) -> None:
        self._accounts: dict[tuple[str, int], Account] = {}
        self._by_lease: dict[str, Account] = {}
        self._open: dict[str, Reservation] = {}

    def account(self, budget: Budget, *, now_ms: int) -> Account:
        """The account of a budget in the window that holds this moment."""
        start = budget.period.window_start_ms(now_ms)
        account = self._accounts.get((budget.budget_id, start))
        if account is None:
            account = Account(budget, start)
            self._accounts[budget.budget_id, start] = account
            self._by_lease[account.lease_id] = account
        return account

    def accounts(self) -> list[Account]:
        """Every account held."""
        return list(self._accounts.values())

    def holds(self, account: Account) -> bool:
        """Return whether an account is one of this book, which learns of its lease's row."""
        return self._by_lease.get(account.lease_id) is account

    def drop(self, account: Account) -> None:
        """Forget an account that holds nothing."""
        self._accounts.pop((account.budget.budget_id, account.window_start_ms), None)
        self._by_lease.pop(account.lease_id, None)

    def reserve(
        self,
        accounts: tuple[Account, ...],
        *,
        grant_id: str,
        cap_nanos: int,
        now_ms: int,
        expires_at_ms: int,
        is_next: bool = False,
    ) -> Reservation | Shortfall:
        """Take the cap from every account, or from none and return the account that could not pay.

        What others wait for is not taken, unless it is this request's turn.
        """
        for account in accounts:
            free = account.remaining - account.reserved - account.returning
            if free < cap_nanos:
                return Shortfall(account)
            if account.queue is not None and not is_next and 0 < cap_nanos > free - account.queue.asked:
                return Shortfall(account)
        for account in accounts:
            account.reserved += cap_nanos
            account.reserved_total += cap_nanos
            account.last_reserved_ms = now_ms
        reservation = Reservation(grant_id, cap_nanos, accounts, now_ms, expires_at_ms)
        self._open[grant_id] = reservation
        return reservation

    def extend(
        self, reservation: Reservation, more_nanos: int, *, now_ms: int, is_next: bool = False
    ) -> Shortfall | None:
        """Take more for an open reservation from every account, or from none and return the one that could not pay.

        What other open reservations wait for is not taken, unless it is this one's turn.
        """
        for account in reservation.accounts:
            if account.free < more_nanos:
                return Shortfall(account)
            if (
                account.queue is not None
                and not is_next
                and 0 < more_nanos > account.free - account.queue.asked_urgently
            ):
                return Shortfall(account)
        for account in reservation.accounts:
            account.reserved += more_nanos
            account.reserved_total += more_nanos
            account.last_reserved_ms = now_ms
        reservation.cap_nanos += more_nanos
        return None

    def get(self, grant_id: str) -> Reservation | None:
        """An open reservation."""
        return self._open.get(grant_id)

    def open_reservations(self) -> list[Reservation]:
        """Every open reservation."""
        return list(self._open.values())

    def observe(self, lease_id: str, *, remaining: int, version: int) -> None:
        """Take in a lease's row, unless something newer is known."""
        account = self._by_lease.get(lease_id)
        if account is not None and version > account.version:
            account.remaining = remaining
            account.version = version
            if account.queue is not None:
                account.queue.serve(account.free)

    def close(self, grant_ids: Iterable[str], *, tokens: dict[str, int] | None = None) -> Sequence[Reservation]:
        """Drop reservations whose settlement is committed, after `observe` of the leases that it touched."""
        closed = []
        for grant_id in grant_ids:
            reservation = self._open.pop(grant_id, None)
            if reservation is None:
                continue
            for account in reservation.accounts:
                account.reserved -= reservation.cap_nanos
                if account.queue is not None:
                    account.queue.serve(account.free)
            reservation.release(None if tokens is None else tokens.get(grant_id))
            closed.append(reservation)
        return closed

    def cancel(self, reservation: Reservation) -> None:
        """Take back a reservation whose grant was never given out."""
        self.close([reservation.grant_id])

    def __len__(self) -> int:
        return len(self._open)
