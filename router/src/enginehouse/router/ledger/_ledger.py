"""One replica's ledger: the book in memory, and the tasks that keep it and PostgreSQL in step.

Each task's single step is a public method, so that tests can interleave them at will; `start` runs them by the clock.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.api.router.v1 import grant_pb2
from enginehouse.kit.tasks import BackgroundTask, TaskSet
from enginehouse.router.clock import Clock
from enginehouse.router.database import DatabaseUnavailable, translate_db_errors
from enginehouse.router.ids import new_id
from enginehouse.router.ledger._billing import Claim, Verdict
from enginehouse.router.ledger._book import Account, Book, Payer, Reservation, Shortfall
from enginehouse.router.ledger._budget_index import BudgetIndex
from enginehouse.router.ledger._draws import LeaseDraws, wait_for_draws
from enginehouse.router.ledger._returns import LeaseReturns
from enginehouse.router.ledger._settle_queue import SettleQueue
from enginehouse.router.ledger._settlement import Settled, settle_claims
from enginehouse.router.ledger._sizing import rate
from enginehouse.router.ledger._store import DeclaredDead, LedgerStore, Watermark, journal_entry, this_process
from enginehouse.router.ledger._sweep import Swept, sweep
from enginehouse.router.ledger._terms import LedgerTerms, LedgerUnavailable
from enginehouse.router.ledger._waits import WANTED_MS, BudgetWaits
from enginehouse.router.ledger._watermarks import WatermarkQueue

_log = logging.getLogger(__name__)


# How long news gathers before it is acted on.
_GATHER_S = 0.02


class Ledger:
    """The ledger of one replica: it reserves, settles and lapses."""

    def __init__(
        self,
        *,
        store: LedgerStore,
        budgets: BudgetIndex,
        terms: LedgerTerms,
        clock: Clock,
        live_engines: Callable[[], Sequence[str]],
        service_of: Callable[[grant_pb2.Grant], str],
        monotonic: Callable[[], float] = time.monotonic,
        process: str | None = None,
        wait_ended: Callable[[float, bool], None] = lambda _seconds, _served: None,
    ) -> None:
        self._store = store
        self._budgets = budgets
        self._terms = terms
        self._clock = clock
        self._live_engines = live_engines
        self._service_of = service_of
        self._monotonic = monotonic
        self._process = this_process() if process is None else process
        self._replica_id = ""
        self._valid_until = 0.0
        self._book = Book()
        self._draws = LeaseDraws(
            store=store,
            terms=terms,
            clock=clock,
            replica_id=lambda: self._replica_id,
            book=lambda: self._book,
            declared_dead=self._lose_registration,
        )
        self._settling = SettleQueue(
            settle=self.settle_now, most=terms.settle_batch, gather_s=terms.settle_gather_s, monotonic=monotonic
        )
        self._marks = WatermarkQueue(note=self.note_watermarks, gather_s=terms.renew_s, monotonic=monotonic)
        self._background = TaskSet()
        self._returns = LeaseReturns(
            store=store, budgets=budgets, terms=terms, clock=clock, book=lambda: self._book, spawn=self._spawn
        )
        self._waits = BudgetWaits(
            draws=self._draws,
            exists=budgets.__contains__,
            give_back=self._returns.give_back,
            catch_up=functools.partial(self.compare, youngest_ms=0),
            hurry=self._settling.hurry,
            # What was kept from others for those who waited here is of use to the others alone.
            unawaited=lambda account: self._returns.return_freed((account,)),
            terms=terms,
            clock=clock,
            monotonic=monotonic,
            ended=wait_ended,
        )
        self._journal: list[Reservation] = []
        # The grants that are being written down, and their writing.
        self._writing: set[str] = set()
        self._journalling = asyncio.Lock()
        self._tasks = (
            BackgroundTask(self._settling.run, name="ledger-settle"),
            BackgroundTask(self._marks.run, name="ledger-watermarks"),
            BackgroundTask(lambda: self._every(terms.journal_s, self._journal_old), name="ledger-journal"),
            BackgroundTask(lambda: self._every(terms.renew_s, self._keep), name="ledger-keep"),
            BackgroundTask(lambda: self._every(terms.renew_s, self.sweep), name="ledger-sweep"),
        )
        # A comparison is about to run.
        self._comparing = False
        self.unbilled_nanos = 0
        """What was served and billed to nobody since this replica started."""
        self.settled_claims = 0
        self.settle_transactions = 0

    @property
    def replica_id(self) -> str:
        """This replica's id; empty until it is registered."""
        return self._replica_id

    @property
    def draws(self) -> int:
        """The number of draws so far."""
        return self._draws.count

    @property
    def book(self) -> Book:
        """The leases and reservations of this replica."""
        return self._book

    @property
    def database(self) -> AsyncEngine:
        """The connections that it uses."""
        return self._store.database

    @property
    def usable(self) -> bool:
        """True if this replica is registered, so that it may reserve."""
        return self._monotonic() < self._valid_until

    @property
    def journal_backlog(self) -> int:
        """The number of reservations that wait for the journal."""
        return len(self._journal)

    @property
    def waiting(self) -> int:
        """The number of requests that wait for money in flight."""
        return self._waits.waiting

    @property
    def budget_wait_s(self) -> float:
        """The seconds that a request may wait for a budget; 0 if none may."""
        return self._terms.budget_wait_s

    # Reserve and draw.

    def accounts(self, payer: Payer, *, now_ms: int) -> tuple[Account, ...]:
        """The accounts of every budget that bounds the payer."""
        budgets = self._budgets
        if payer.version != budgets.version or payer.book is not self._book or now_ms >= payer.until_ms:
            found = [budget for scope, scope_id in payer.scopes for budget in budgets.of(scope, scope_id)]
            payer.accounts = tuple([self._book.account(budget, now_ms=now_ms) for budget in found])
            payer.until_ms = min((budget.period.window_end_ms(now_ms) for budget in found), default=2**63 - 1)
            payer.version, payer.book = budgets.version, self._book
        return payer.accounts

    def try_reserve(
        self,
        payer: Payer,
        *,
        grant_id: str,
        cap_nanos: int,
        now_ms: int,
        expires_at_ms: int,
        is_next: bool = False,
    ) -> Reservation | Shortfall:
        """Reserve without waiting (step 2), at this request's turn if others wait. Raises LedgerUnavailable."""
        if not self.usable:
            raise LedgerUnavailable("this replica is not registered with the ledger's database")
        if len(self._journal) >= self._terms.journal_backlog:
            raise LedgerUnavailable(f"{len(self._journal)} reservations wait to be written down")
        accounts = self.accounts(payer, now_ms=now_ms)
        reserved = self._book.reserve(
            accounts,
            grant_id=grant_id,
            cap_nanos=cap_nanos,
            now_ms=now_ms,
            expires_at_ms=expires_at_ms,
            is_next=is_next,
        )
        if isinstance(reserved, Reservation):
            self._journal.append(reserved)
            for account in accounts:
                if account.nanos_per_second and account.drawing is None:
                    self._draws.refill(account, now_ms)
        return reserved

    async def reserve(
        self,
        payer: Payer,
        *,
        grant_id: str,
        cap_nanos: int,
        now_ms: int,
        expires_at_ms: int,
        wait_s: float = 0.0,
        lower: Callable[[int | None], Awaitable[int]] | None = None,
    ) -> Reservation:
        """Reserve, after a draw if need be (steps 1 and 2); wait so long at most for what is in flight.

        The reservation begins, and expires, as much later as it took. Before it waits or is refused, `lower` is called
        with what is not spent of the budget (None if it is not known), and may return a lower cap.

        Raises:
            InsufficientBudget: the budget cannot pay now, or could not in time.
            LedgerUnavailable: nothing can be reserved.
        """
        lasting_ms = expires_at_ms - now_ms

        def take(is_next: bool, asks_nanos: int) -> Reservation | Shortfall:
            now = self._clock()
            return self.try_reserve(
                payer,
                grant_id=grant_id,
                cap_nanos=asks_nanos,
                now_ms=now,
                expires_at_ms=now + lasting_ms,
                is_next=is_next,
            )

        reserved, waited_ms = await self._waits.obtain(
            accounts=lambda: self.accounts(payer, now_ms=self._clock()),
            take=take,
            asks_nanos=cap_nanos,
            limit_s=wait_s,
            lower=lower,
        )
        reserved.waited_ms = waited_ms
        return reserved

    async def extend(
        self, grant_id: str, *, cap_nanos: int, now_ms: int, sign: Callable[[], str], wait_s: float = 0.0
    ) -> str:
        """Raise an open reservation to a cap, after draws if need be: every account pays the difference, or none.

        The new cap is written down before its grant is given out: a reservation that is assumed to be spent is billed
        at what may have been spent.

        Args:
            grant_id: the reservation.
            cap_nanos: the new cap.
            now_ms: milliseconds since 1970 UTC.
            sign: returns the token of the grant with the new cap, once the money is reserved.
            wait_s: how long to wait for what is in flight, before any request that is not served yet.

        Raises:
            InsufficientBudget, LedgerUnavailable: the reservation is as before, or holds more than its grant says.
        """
        reservation = await self._extended(grant_id, cap_nanos=cap_nanos, now_ms=now_ms, wait_s=wait_s)
        token = reservation.token = sign()
        try:
            with translate_db_errors():
                still_open = await self._store.raise_cap(self._replica_id, journal_entry(reservation))
        except DatabaseUnavailable as error:
            raise LedgerUnavailable("the ledger's database does not answer") from error
        if not still_open:
            # It settled or lapsed elsewhere: the next comparison drops it, and what it holds.
            raise LedgerUnavailable("the request's reservation has been settled")
        return token

    async def _extended(self, grant_id: str, *, cap_nanos: int, now_ms: int, wait_s: float) -> Reservation:
        def take(is_next: bool, _: int) -> Reservation | Shortfall:
            found = self._open_reservation(grant_id)
            more = max(0, cap_nanos - found.cap_nanos)
            short = self._book.extend(found, more, now_ms=self._clock() if is_next else now_ms, is_next=is_next)
            if short is not None and short.account.budget.budget_id not in self._budgets:
                raise LedgerUnavailable("a budget that pays for the request was removed while it ran")
            return found if short is None else short

        extended, _ = await self._waits.obtain(
            accounts=lambda: self._open_reservation(grant_id).accounts,
            take=take,
            asks_nanos=max(0, cap_nanos - self._open_reservation(grant_id).cap_nanos),
            limit_s=wait_s,
            urgent=True,
        )
        return extended

    def _open_reservation(self, grant_id: str) -> Reservation:
        """An open reservation of this replica. Raises LedgerUnavailable."""
        reservation = self._book.get(grant_id)
        if reservation is None or not self.usable:
            raise LedgerUnavailable("this router does not hold the request's reservation any more")
        return reservation

    def _lose_registration(self) -> None:
        self._valid_until = 0.0

    def cancel(self, reservation: Reservation) -> None:
        """Take back a reservation whose grant was never given out."""
        self._book.cancel(reservation)

    # Settle.

    def submit(self, claims: Sequence[Claim]) -> asyncio.Future[list[Verdict]]:
        """Settle claims soon; the future has their verdicts once they are committed (steps 5 and 6).

        It fails with LedgerUnavailable. What their reservations hold besides money is free at once: the answers have
        ended, and their readers may ask again.
        """
        awaited = False
        wanted_since = self._clock() - WANTED_MS
        for claim in claims:
            reservation = self._book.get(claim.grant.grant_id)
            if reservation is not None:
                reservation.release(claim.tokens)
                for account in reservation.accounts:
                    awaited = (
                        awaited
                        or account.queue is not None
                        or account.wanted > 0
                        or account.wanted_elsewhere_ms > wanted_since
                    )
        settled = self._settling.put(claims)
        if awaited:
            self._settling.hurry()
        return settled

    async def settle_now(self, claims: Sequence[Claim]) -> list[Verdict]:
        """Settle claims in one transaction, and take the outcome into the book."""
        if not self._writing.isdisjoint([claim.grant.grant_id for claim in claims]):
            # A transaction that finds no row yet would insert it too, and have to begin again.
            async with self._journalling:
                pass
        try:
            with translate_db_errors():
                done = await settle_claims(
                    self._store.database, claims, replica_id=self._replica_id, now_ms=self._clock()
                )
        except DatabaseUnavailable as error:
            raise LedgerUnavailable("the ledger's database does not answer") from error
        self._take_in(claims, done)
        self.settle_transactions += 1
        self.settled_claims += len(claims)
        return done.verdicts

    def _take_in(self, claims: Sequence[Claim], done: Settled) -> None:
        for lease in done.leases:
            self._book.observe(lease.lease_id, remaining=lease.remaining, version=lease.version)
        tokens: dict[str, int] = {}
        repeated = []
        for claim, verdict in zip(claims, done.verdicts, strict=True):
            if verdict is Verdict.ALREADY:
                repeated.append(claim.grant.grant_id)
            elif verdict is Verdict.SETTLED:
                tokens[claim.grant.grant_id] = claim.tokens
        for grant_id in repeated:
            reservation = self._book.get(grant_id)
            if reservation is not None and grant_id not in tokens:
                # It settled at another replica, or in a transaction whose outcome we missed: `compare` drops it, once
                # the leases' rows have been read.
                for account in reservation.accounts:
                    account.stale = True
        self._close_reservations(tokens, tokens=tokens)
        if done.unbilled_nanos:
            self.unbilled_nanos += done.unbilled_nanos
            _log.error(
                "served more than could be billed; the difference is unbilled", extra={"nanos": done.unbilled_nanos}
            )

    def submit_watermark(self, mark: Watermark) -> asyncio.Future[None]:
        """Note an engine's watermark soon: the future is done once it is committed, or fails with LedgerUnavailable."""
        return self._marks.put(mark)

    async def note_watermarks(self, marks: Sequence[Watermark]) -> None:
        """Store watermarks, at most one of each engine. Raises LedgerUnavailable."""
        try:
            with translate_db_errors():
                await self._store.note_watermarks(marks)
        except DatabaseUnavailable as error:
            raise LedgerUnavailable("the ledger's database does not answer") from error

    # The steps of the tasks.

    async def register(self) -> None:
        """Register this replica under a new id, with an empty book."""
        replica_id = new_id("rtr")
        began = self._monotonic()
        await self._store.register(replica_id, host=self._process, now_ms=self._clock())
        before = self._book
        for reservation in before.open_reservations():
            reservation.release(None)
        self._book = Book()
        self._replica_id = replica_id
        self._valid_until = began + self._terms.replica_ttl_s - self._terms.skew_s
        for account in before.accounts():
            if account.queue is not None:
                account.queue.wake_all()

    async def renew(self) -> None:
        """Renew the registration; register anew if it had run out."""
        began = self._monotonic()
        try:
            await self._store.renew(self._replica_id, live_engines=self._live_engines(), now_ms=self._clock())
        except DeclaredDead:
            _log.error("the registration ran out; this replica starts anew", extra={"replica_id": self._replica_id})
            await self.flush_journal()
            await self.register()
            return
        self._valid_until = began + self._terms.replica_ttl_s - self._terms.skew_s

    async def flush_journal(self, *, older_than_ms: int = 0) -> None:
        """Write down the reservations made since the last time that are still open and at least so old."""
        async with self._journalling:
            before = self._clock() - older_than_ms
            later: list[Reservation] = []
            written: list[Reservation] = []
            for reservation in self._journal:
                if self._book.get(reservation.grant_id) is not reservation:
                    continue
                # One without a token was cancelled before it was signed, or is being signed by a caller that we
                # interrupt.
                due = reservation.token and reservation.issued_at_ms <= before
                (written if due else later).append(reservation)
            self._journal = later
            if not written:
                return
            self._writing = {reservation.grant_id for reservation in written}
            try:
                await self._store.journal(self._replica_id, [journal_entry(reservation) for reservation in written])
            except BaseException:
                self._journal = written + self._journal
                raise
            finally:
                self._writing = set()

    async def _journal_old(self) -> None:
        """Write down what has been open for a while: most of what is open for less is settled before it is needed."""
        await self.flush_journal(older_than_ms=int(self._terms.journal_age_s * 1000))

    async def compare(self, *, youngest_ms: int | None = None) -> Sequence[Account]:
        """Take in what other replicas settled, and the rows of leases whose state is unknown.

        Returns the accounts that a draw under way kept from being read: what they paid for stays until the next time.

        Looks at reservations that are at least so old, unless told otherwise as old as a renewal: of what has settled
        elsewhere there is news by then, and a request lasts some time.
        """
        before = self._clock() - (int(self._terms.renew_s * 1000) if youngest_ms is None else youngest_ms)
        # One at a time: another's rows may be older than what this one finds closed.
        async with self._returns.lock:
            waiting = [found for found in self._book.open_reservations() if found.issued_at_ms <= before]
            closed = await self._store.closed_of([reservation.grant_id for reservation in waiting]) if waiting else []
            gone = [found for grant_id in closed if (found := self._book.get(grant_id)) is not None]
            # A free request took nothing from its leases, which may not even have a row.
            paid = [reservation for reservation in gone if reservation.cap_nanos]
            for reservation in paid:
                for account in reservation.accounts:
                    account.stale = True
            drawn_on = await self._read_stale()
            unread = {
                reservation.grant_id for reservation in paid if any(account.stale for account in reservation.accounts)
            }
            known = [reservation.grant_id for reservation in gone if reservation.grant_id not in unread]
            self._close_reservations(known)
            return drawn_on

    async def _read_stale(self) -> Sequence[Account]:
        """Read the leases whose rows may have changed unseen; what was set aside for lost returns is free then.

        Whatever makes an account stale while its row is read makes it be read again. Returns those that are not read,
        since a draw is under way.
        """
        unknown = [account for account in self._book.accounts() if account.stale]
        drawn_on = [account for account in unknown if account.drawing is not None]
        stale = {account.lease_id: account for account in unknown if account.drawing is None}
        if not stale:
            return drawn_on
        for account in stale.values():
            account.stale = False
        try:
            found = await self._store.leases(list(stale))
        except BaseException:
            for account in stale.values():
                account.stale = True
            raise
        for lease in found:
            account = stale.pop(lease.lease_id)
            account.returning = 0
            self._book.observe(lease.lease_id, remaining=lease.remaining, version=lease.version)
            if account.queue is not None:
                account.queue.serve(account.free)
        for account in stale.values():
            # No row: a first draw of unknown end may yet commit one.
            account.stale = True
        return drawn_on

    def measure(self, *, elapsed_s: float) -> None:
        """Update each account's recent rate."""
        for account in self._book.accounts():
            added = account.reserved_total - account.counted_total
            account.counted_total = account.reserved_total
            account.nanos_per_second = rate(account.nanos_per_second, reserved_nanos=added, elapsed_s=elapsed_s)

    async def return_idle(self, *, budget_id: str = "") -> None:
        """Give back what no longer has a use; with a budget named, whatever is free of it."""
        await self._returns.return_idle(budget_id=budget_id)

    async def request_return(self, budget_id: str) -> None:
        """Have every replica, this one included, give back what lies free of a budget."""
        await self.return_idle(budget_id=budget_id)
        await self._store.request_return(budget_id)

    def return_requested(self, budget_id: str) -> None:
        """Handle another replica's request to give back what lies free of a budget."""
        self._returns.return_requested(budget_id)

    def _close_reservations(self, grant_ids: Iterable[str], *, tokens: dict[str, int] | None = None) -> None:
        closed = self._book.close(grant_ids, tokens=tokens)
        self._returns.return_freed(account for reservation in closed for account in reservation.accounts)

    def settled_elsewhere(self, replica_id: str) -> None:
        """Take note of reservations that another replica settled."""
        if replica_id == self._replica_id:
            self._compare_soon()

    def _compare_soon(self) -> None:
        if not self._comparing:
            self._comparing = True
            self._spawn(self._compare_gathered())

    async def _compare_gathered(self) -> None:
        try:
            # The news of other settlements that comes within this time is looked at together.
            await asyncio.sleep(_GATHER_S)
        finally:
            self._comparing = False
        if unread := await self.compare(youngest_ms=0):
            # The news of what a draw kept from being read does not come again.
            await wait_for_draws(unread)
            self._compare_soon()

    async def sweep(self) -> Swept | None:
        """Run steps 7 and 8, unless another replica does."""
        swept = await sweep(
            self._store.database,
            replica_id=self._replica_id,
            process=self._process,
            terms=self._terms.sweep_terms,
            service_of=self._service_of,
            now_ms=self._clock(),
        )
        if swept is not None:
            self._take_in(swept.claims, swept.settled)
            if swept.released_nanos:
                _log.info(
                    "released leases of dead replicas",
                    extra={"nanos": swept.released_nanos, "replicas": swept.dead_replicas},
                )
        return swept

    def expire_slots(self) -> None:
        """Free what reservations past their expiry hold besides money, whether or not PostgreSQL answers."""
        now = self._clock()
        for reservation in self._book.open_reservations():
            if reservation.expires_at_ms < now:
                reservation.release(None)

    # The tasks.

    def start(self) -> None:
        """Run every step by the clock, and register as soon as PostgreSQL lets it."""
        for task in self._tasks:
            task.start()

    async def close(self) -> None:
        """Stop the tasks, settle what is queued, write down what is open, give back what is free, and retire."""
        await asyncio.gather(*[task.close() for task in self._tasks], self._background.close(), self._waits.close())
        self._valid_until = 0.0
        await self._end(self._settling.drain)
        if self._replica_id:
            await self._end(self.flush_journal)
            for account in self._book.accounts():
                if account.drawing is None:
                    await self._end(functools.partial(self._returns.give_back, account))
            await self._end(lambda: self._store.retire(self._replica_id, now_ms=self._clock()))

    async def _end(self, step: Callable[[], Awaitable[object]]) -> None:
        """Run a step of the end, which must not keep the others from theirs."""
        try:
            with translate_db_errors():
                await step()
        except DatabaseUnavailable as error:
            _log.warning("the ledger's database does not answer", extra={"error": type(error).__name__})
        except Exception:
            _log.exception("a step of the ledger's end failed")

    async def _keep(self) -> None:
        if not self._replica_id:
            await self.register()
        self.expire_slots()
        self.measure(elapsed_s=self._terms.renew_s)
        await self.renew()
        await self.compare()
        await self.return_idle()

    async def _every(self, period_s: float, step: Callable[[], Awaitable[object]]) -> None:
        failing = False
        while True:
            try:
                with translate_db_errors():
                    await step()
                failing = False
            except DatabaseUnavailable as error:
                if not failing:
                    _log.warning(
                        "the ledger's database does not answer; going on from what is leased",
                        extra={"error": type(error).__name__},
                    )
                failing = True
            except Exception:
                _log.exception("a step of the ledger failed")
            await asyncio.sleep(period_s if not failing else max(period_s, 0.25))

    def _spawn(self, step: Coroutine[Any, Any, object]) -> None:
        async def run() -> None:
            try:
                with translate_db_errors():
                    await step
            except DatabaseUnavailable as error:
                _log.warning("the ledger's database does not answer", extra={"error": type(error).__name__})

        self._background.spawn(run(), name="ledger-recalled")
