"""Steps 7 and 8: unreported reservations lapse, and dead replicas' leases are released."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from enginehouse.api.router.v1 import grant_pb2
from enginehouse.router.database import driver_of
from enginehouse.router.ledger._billing import Claim, Kind
from enginehouse.router.ledger._settlement import Settled, settle_within
from enginehouse.router.ledger._settlement_rows import PLANNED
from enginehouse.router.ledger._store import EngineMark, is_surely_gone

_log = logging.getLogger(__name__)

# Any constant: one replica sweeps at a time, the others find nothing to do.
_LOCK = 0x737765657
_BATCH = 500


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SweepTerms:
    """Times in milliseconds.

    `accept_window`: how long after its issue an engine may start on a grant, with the clock skew allowed. `grace`: how
    long after a grant's expiry its report may take. `unseen`: how long after an engine left the registry some replica,
    cut off from PostgreSQL, may still have sent it grants.
    """

    accept_window_ms: int
    grace_ms: int
    unseen_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class Swept:
    """The result of a sweep."""

    claims: list[Claim]
    settled: Settled
    released_nanos: int
    dead_replicas: int


async def sweep(
    database: AsyncEngine,
    *,
    replica_id: str,
    process: str,
    terms: SweepTerms,
    service_of: Callable[[grant_pb2.Grant], str],
    now_ms: int,
) -> Swept | None:
    """Run one pass; return None when another replica does."""
    async with database.begin() as connection:
        alone = await connection.execute(sa.text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        if not alone.scalar_one():
            return None
        await _declare_dead(connection, replica_id=replica_id, process=process, now_ms=now_ms)
        marks = [
            EngineMark(row.engine_id, row.watermark_ms, row.live_at_ms)
            for row in await connection.execute(sa.text("SELECT engine_id, watermark_ms, live_at_ms FROM engines"))
        ]
        claims = await _lapsed(connection, marks, terms=terms, service_of=service_of, now_ms=now_ms)
        settled = Settled([], [], 0)
        if claims:
            driver = await driver_of(connection)
            await driver.execute(PLANNED)
            settled = await settle_within(driver, claims, replica_id=replica_id, now_ms=now_ms, repeated=True)
        # A full batch may have left open reservations of a dead replica: what they hold is released next time.
        released, dead = (0, 0) if len(claims) >= _BATCH else await _release(connection, marks, terms, now_ms)
    return Swept(claims, settled, released, dead)


async def _declare_dead(connection: AsyncConnection, *, replica_id: str, process: str, now_ms: int) -> None:
    await connection.execute(
        sa.text(
            "UPDATE replicas SET state = 'dead', dead_at_ms = :now_ms WHERE state = 'live' AND renewed_until < now()"
        ),
        {"now_ms": now_ms},
    )
    # A process that is gone from this host can't be issuing grants: no need to wait for its registration to run out.
    others = await connection.execute(
        sa.text("SELECT replica_id, host FROM replicas WHERE state = 'live' AND replica_id <> :replica_id"),
        {"replica_id": replica_id},
    )
    gone = [row.replica_id for row in others if is_surely_gone(row.host, me=process)]
    if gone:
        await connection.execute(
            sa.text(
                "UPDATE replicas SET state = 'dead', dead_at_ms = :now_ms"
                " WHERE state = 'live' AND replica_id = ANY(CAST(:gone AS text[]))"
            ),
            {"now_ms": now_ms, "gone": gone},
        )


def nobody_has(marks: Sequence[EngineMark], *, first_ms: int, last_ms: int, terms: SweepTerms, now_ms: int) -> bool:
    """Return whether no engine can hold or still report a grant issued between these times."""
    if last_ms >= now_ms - terms.accept_window_ms:
        return False
    return all(mark.watermark_ms > last_ms or mark.live_at_ms + terms.unseen_ms < first_ms for mark in marks)


def what_becomes_of(
    state: str,
    *,
    issued_at_ms: int,
    expires_at_ms: int,
    marks: Sequence[EngineMark],
    terms: SweepTerms,
    now_ms: int,
) -> Kind | None:
    """Return how an open or assumed reservation without a report settles now; None while it stays as it is."""
    if nobody_has(marks, first_ms=issued_at_ms, last_ms=issued_at_ms, terms=terms, now_ms=now_ms):
        return Kind.LAPSE
    if state == "open" and expires_at_ms + terms.grace_ms < now_ms:
        return Kind.ASSUME
    return None


async def _lapsed(
    connection: AsyncConnection,
    marks: list[EngineMark],
    *,
    terms: SweepTerms,
    service_of: Callable[[grant_pb2.Grant], str],
    now_ms: int,
) -> list[Claim]:
    # What no engine is behind on comes first and what has expired next; the rest stays open.
    passed = min((mark.watermark_ms for mark in marks), default=now_ms)
    open_rows = await connection.execute(
        sa.text(
            """
            SELECT state, grant_bytes, issued_at_ms, expires_at_ms FROM reservations
            WHERE state IN ('open', 'assumed') AND issued_at_ms < :unaccepted
            ORDER BY (issued_at_ms < :passed) DESC, (state = 'open' AND expires_at_ms < :overdue) DESC, issued_at_ms
            LIMIT :batch
            """
        ),
        {
            "unaccepted": now_ms - terms.accept_window_ms,
            "passed": passed,
            "overdue": now_ms - terms.grace_ms,
            "batch": _BATCH,
        },
    )
    claims = []
    for row in open_rows:
        kind = what_becomes_of(
            row.state,
            issued_at_ms=row.issued_at_ms,
            expires_at_ms=row.expires_at_ms,
            marks=marks,
            terms=terms,
            now_ms=now_ms,
        )
        if kind is None:
            continue
        grant = grant_pb2.Grant.FromString(row.grant_bytes)
        model = grant.candidates[0].model if grant.candidates else ""
        claims.append(Claim(kind=kind, grant=grant, model=model, service=service_of(grant)))
        if kind is Kind.ASSUME:
            _log.warning(
                "no report of a request; its cap is billed until there is one",
                extra={"request_id": grant.request_id, "grant_id": grant.grant_id},
            )
    return claims


async def _release(
    connection: AsyncConnection, marks: list[EngineMark], terms: SweepTerms, now_ms: int
) -> tuple[int, int]:
    released = count = 0
    dead = await connection.execute(
        sa.text("SELECT replica_id, started_at_ms, dead_at_ms FROM replicas WHERE state = 'dead' ORDER BY 1")
    )
    for replica in dead.all():
        if not nobody_has(
            marks, first_ms=replica.started_at_ms, last_ms=replica.dead_at_ms, terms=terms, now_ms=now_ms
        ):
            continue
        windows = await connection.execute(
            sa.text(
                """
                SELECT w.budget_id, w.window_start_ms FROM budget_windows w
                WHERE EXISTS (SELECT 1 FROM leases l WHERE l.replica_id = :replica_id AND NOT l.released
                              AND l.budget_id = w.budget_id AND l.window_start_ms = w.window_start_ms)
                ORDER BY 1, 2 FOR UPDATE
                """
            ),
            {"replica_id": replica.replica_id},
        )
        windows.all()
        freed = await connection.execute(
            sa.text(
                """
                WITH held AS (
                    SELECT lease_id, budget_id, window_start_ms, remaining_nanos FROM leases
                    WHERE replica_id = :replica_id AND NOT released ORDER BY lease_id FOR UPDATE
                ), freed AS (
                    UPDATE leases l SET remaining_nanos = 0, version = l.version + 1, released = true
                    FROM held WHERE l.lease_id = held.lease_id
                ), sums AS (
                    SELECT budget_id, window_start_ms, sum(remaining_nanos)::bigint AS amount
                    FROM held GROUP BY 1, 2
                ), moved AS (
                    UPDATE budget_windows w SET leased_nanos = w.leased_nanos - sums.amount
                    FROM sums WHERE w.budget_id = sums.budget_id AND w.window_start_ms = sums.window_start_ms
                )
                SELECT coalesce(sum(amount), 0)::bigint FROM sums
                """
            ),
            {"replica_id": replica.replica_id},
        )
        released += int(freed.scalar_one())
        await connection.execute(
            sa.text("UPDATE replicas SET state = 'released' WHERE replica_id = :replica_id"),
            {"replica_id": replica.replica_id},
        )
        count += 1
    return released, count
