"""Step 6 against PostgreSQL: any number of claims in one transaction, each settled exactly once.

Rows are locked in one order everywhere (journal, windows, leases, each by key), so that replicas settling at the same
time wait for each other instead of deadlocking.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.router.alerts import Crossing, crossed, raise_alerts
from enginehouse.router.database import DriverConnection, driver_connection, driver_transaction, notify_by
from enginehouse.router.ledger._billing import Claim, Outcome, Verdict, settle
from enginehouse.router.ledger._settlement_rows import PLANNED, LockedRows, lock_rows, read_reported, write_rows

# Notified with the id of a replica when another has settled reservations that it holds.
SETTLED_CHANNEL = "enginehouse_settled"


@dataclasses.dataclass(frozen=True, slots=True)
class LeaseState:
    """A lease as a committed transaction left it."""

    lease_id: str
    remaining: int
    version: int


@dataclasses.dataclass(frozen=True, slots=True)
class Settled:
    """The result of a transaction: a verdict for each claim, in order, and the leases that it locked, changed or not.

    Another replica's settlement of the same grant may have changed a lease that this one left alone; its holder must
    know of that before it drops the reservation.
    """

    verdicts: list[Verdict]
    leases: list[LeaseState]
    unbilled_nanos: int


async def settle_claims(database: AsyncEngine, claims: Sequence[Claim], *, replica_id: str, now_ms: int) -> Settled:
    """Settle every claim and commit. Raises what the driver raises, and then nothing is settled."""
    async with driver_connection(database) as driver:
        try:
            async with driver_transaction(driver, planned=PLANNED):
                return await settle_within(driver, claims, replica_id=replica_id, now_ms=now_ms)
        except asyncpg.UniqueViolationError:
            # What was not there when the rows were locked is committed by now: a reservation's row, or the report of an
            # engine that had refused the grant.
            async with driver_transaction(driver, planned=PLANNED):
                return await settle_within(driver, claims, replica_id=replica_id, now_ms=now_ms, repeated=True)


async def settle_within(
    driver: DriverConnection, claims: Sequence[Claim], *, replica_id: str, now_ms: int, repeated: bool = False
) -> Settled:
    """The same in a transaction of the caller's.

    Args:
        driver: has begun a transaction.
        claims: what to settle.
        replica_id: the replica that settles; others are told of what they hold.
        now_ms: milliseconds since 1970 UTC.
        repeated: True to look for earlier reports of every grant. Without, it is looked where there may be any, and a
            report that an engine has made before of an open reservation raises UniqueViolationError.
    """
    rows = await lock_rows(driver, claims)
    # An open reservation has been reported by engines that refused it, if by any. How many have counts for the next
    # refusal alone.
    if repeated or rows.any_closed or any(claim.outcome is Outcome.REFUSED for claim in claims):
        rows.reported |= await read_reported(driver, list(rows.reservations))
    verdicts = [settle(claim, rows) for claim in claims]
    await _write(driver, rows, now_ms=now_ms)
    holders = {claim.grant.replica_id for claim in claims} - {replica_id, ""}
    for holder in sorted(holders):
        await notify_by(driver, SETTLED_CHANNEL, holder)
    return Settled(
        verdicts,
        [LeaseState(name, row.remaining, row.version) for name, row in rows.leases.items()],
        sum([row.unbilled_nanos for row in rows.inserts]),
    )


async def _write(driver: DriverConnection, rows: LockedRows, *, now_ms: int) -> None:
    await write_rows(driver, rows, now_ms=now_ms)
    await raise_alerts(
        driver,
        [
            Crossing(budget_id, start, percent, row.limit, row.settled)
            for (budget_id, start), row in rows.windows.items()
            if row.changed
            for percent in crossed(before=row.before, after=row.settled, limit=row.limit, percents=row.alerts)
        ],
        now_ms=now_ms,
    )
