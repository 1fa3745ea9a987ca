"""Step 6 against PostgreSQL: any number of claims in one transaction, each settled exactly once.

Rows are locked in one order everywhere (journal, windows, leases, each by key), so that replicas settling at the same
time wait for each other instead of deadlocking.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from enginehouse.api.router.v1 import grant_pb2
from enginehouse.kit.pricing import unit_name
from enginehouse.router.alerts import Crossing, crossed, raise_alerts
from enginehouse.router.database._listen import notify
from enginehouse.router.database.tables import UNIT_COLUMNS, usage
from enginehouse.router.ledger._billing import (
    Claim,
    Kind,
    LeaseRow,
    ReservationRow,
    Rows,
    UsageRow,
    Verdict,
    WindowRow,
    settle,
)

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


_ENSURE_JOURNAL = sa.text(
    """
    INSERT INTO reservations (grant_id, replica_id, state, grant_bytes, cap_nanos, issued_at_ms, expires_at_ms)
    SELECT *
    FROM unnest(CAST(:grant_ids AS text[]), CAST(:replica_ids AS text[]), CAST(:states AS text[]),
                CAST(:grants AS bytea[]), CAST(:caps AS bigint[]), CAST(:issued AS bigint[]),
                CAST(:expires AS bigint[]))
    ON CONFLICT DO NOTHING
    """
)
_LOCK_JOURNAL = sa.text(
    """
    SELECT grant_id, state, cap_nanos, billed_nanos FROM reservations
    WHERE grant_id = ANY(CAST(:grant_ids AS text[])) ORDER BY grant_id FOR UPDATE
    """
)
_REPORTED = sa.text(
    "SELECT grant_id, engine_id FROM usage WHERE kind = 'report' AND grant_id = ANY(CAST(:grant_ids AS text[]))"
)
_LOCK_WINDOWS = sa.text(
    """
    SELECT w.budget_id, w.window_start_ms, w.limit_nanos, w.settled_nanos, w.leased_nanos, b.alert_percents
    FROM budget_windows w JOIN budgets b USING (budget_id)
    JOIN unnest(CAST(:budget_ids AS text[]), CAST(:starts AS bigint[])) AS named (budget_id, window_start_ms)
      USING (budget_id, window_start_ms)
    ORDER BY 1, 2 FOR UPDATE OF w
    """
)
_LOCK_LEASES = sa.text(
    """
    SELECT lease_id, remaining_nanos, version FROM leases
    WHERE lease_id = ANY(CAST(:lease_ids AS text[])) ORDER BY lease_id FOR UPDATE
    """
)
_WRITE_JOURNAL = sa.text(
    """
    UPDATE reservations r SET state = new.state, billed_nanos = new.billed_nanos
    FROM unnest(CAST(:grant_ids AS text[]), CAST(:states AS text[]), CAST(:billed AS bigint[]))
      AS new (grant_id, state, billed_nanos)
    WHERE r.grant_id = new.grant_id
    """
)
_WRITE_WINDOWS = sa.text(
    """
    UPDATE budget_windows w SET settled_nanos = new.settled_nanos, leased_nanos = new.leased_nanos
    FROM unnest(CAST(:budget_ids AS text[]), CAST(:starts AS bigint[]), CAST(:settled AS bigint[]),
                CAST(:leased AS bigint[])) AS new (budget_id, window_start_ms, settled_nanos, leased_nanos)
    WHERE w.budget_id = new.budget_id AND w.window_start_ms = new.window_start_ms
    """
)
_WRITE_LEASES = sa.text(
    """
    UPDATE leases l SET remaining_nanos = new.remaining_nanos, version = new.version
    FROM unnest(CAST(:lease_ids AS text[]), CAST(:remaining AS bigint[]), CAST(:versions AS bigint[]))
      AS new (lease_id, remaining_nanos, version)
    WHERE l.lease_id = new.lease_id
    """
)


async def settle_claims(database: AsyncEngine, claims: Sequence[Claim], *, replica_id: str, now_ms: int) -> Settled:
    """Settle every claim and commit. Raises what the driver raises, and then nothing is settled."""
    async with database.begin() as connection:
        return await settle_within(connection, claims, replica_id=replica_id, now_ms=now_ms)


async def settle_within(
    connection: AsyncConnection, claims: Sequence[Claim], *, replica_id: str, now_ms: int
) -> Settled:
    """The same in a transaction of the caller's."""
    rows = await _lock(connection, claims)
    verdicts = [settle(claim, rows) for claim in claims]
    await _write(connection, rows, now_ms=now_ms)
    holders = {claim.grant.replica_id for claim in claims} - {replica_id, ""}
    for holder in sorted(holders):
        await notify(connection, SETTLED_CHANNEL, holder)
    return Settled(
        verdicts,
        [LeaseState(name, row.remaining, row.version) for name, row in rows.leases.items()],
        sum(row.unbilled_nanos for row in rows.inserts),
    )


async def _lock(connection: AsyncConnection, claims: Sequence[Claim]) -> Rows:
    grants: dict[str, grant_pb2.Grant] = {}
    for claim in claims:
        known = grants.get(claim.grant.grant_id)
        # An engine that refused it has the grant of before it was extended.
        if known is None or _cap(claim.grant) > _cap(known):
            grants[claim.grant.grant_id] = claim.grant
    grant_ids = sorted(grants)
    ordered = [grants[grant_id] for grant_id in grant_ids]
    if any(claim.kind is Kind.REPORT for claim in claims):
        # A report may come before the journal's batch, or from a replica that died before it wrote one.
        await connection.execute(
            _ENSURE_JOURNAL,
            {
                "grant_ids": grant_ids,
                "replica_ids": [grant.replica_id for grant in ordered],
                "states": ["open"] * len(ordered),
                "grants": [grant.SerializeToString() for grant in ordered],
                "caps": [_cap(grant) for grant in ordered],
                "issued": [grant.issued_at_ms for grant in ordered],
                "expires": [grant.expires_at_ms for grant in ordered],
            },
        )
    journal = await connection.execute(_LOCK_JOURNAL, {"grant_ids": grant_ids})
    reservations = {row.grant_id: ReservationRow(row.state, row.cap_nanos, row.billed_nanos) for row in journal}
    reported = {(row.grant_id, row.engine_id) for row in await connection.execute(_REPORTED, {"grant_ids": grant_ids})}
    fundings = [funding for grant in ordered for funding in grant.funding]
    windows: dict[tuple[str, int], WindowRow] = {}
    leases: dict[str, LeaseRow] = {}
    if fundings:
        named = sorted({(funding.budget_id, funding.window_start_ms) for funding in fundings})
        found = await connection.execute(
            _LOCK_WINDOWS, {"budget_ids": [window[0] for window in named], "starts": [window[1] for window in named]}
        )
        windows = {
            (row.budget_id, row.window_start_ms): WindowRow(
                row.limit_nanos,
                row.settled_nanos,
                row.leased_nanos,
                before=row.settled_nanos,
                alerts=row.alert_percents,
            )
            for row in found
        }
        held = await connection.execute(_LOCK_LEASES, {"lease_ids": sorted({funding.lease_id for funding in fundings})})
        leases = {row.lease_id: LeaseRow(row.remaining_nanos, row.version) for row in held}
    return Rows(reservations, windows, leases, reported)


def _cap(grant: grant_pb2.Grant) -> int:
    return max((candidate.cap_nanos for candidate in grant.candidates), default=0)


async def _write(connection: AsyncConnection, rows: Rows, *, now_ms: int) -> None:
    if rows.inserts:
        await connection.execute(usage.insert(), [_usage_values(row, now_ms) for row in rows.inserts])
    journal = [(name, row) for name, row in rows.reservations.items() if row.changed]
    if journal:
        await connection.execute(
            _WRITE_JOURNAL,
            {
                "grant_ids": [name for name, _ in journal],
                "states": [row.state for _, row in journal],
                "billed": [row.billed_nanos for _, row in journal],
            },
        )
    windows = [(name, row) for name, row in rows.windows.items() if row.changed]
    if windows:
        await connection.execute(
            _WRITE_WINDOWS,
            {
                "budget_ids": [name[0] for name, _ in windows],
                "starts": [name[1] for name, _ in windows],
                "settled": [row.settled for _, row in windows],
                "leased": [row.leased for _, row in windows],
            },
        )
        await raise_alerts(
            connection,
            [
                Crossing(budget_id, start, percent, row.limit, row.settled)
                for (budget_id, start), row in windows
                for percent in crossed(before=row.before, after=row.settled, limit=row.limit, percents=row.alerts)
            ],
            now_ms=now_ms,
        )
    leases = [(name, row) for name, row in rows.leases.items() if row.changed]
    if leases:
        await connection.execute(
            _WRITE_LEASES,
            {
                "lease_ids": [name for name, _ in leases],
                "remaining": [row.remaining for _, row in leases],
                "versions": [row.version for _, row in leases],
            },
        )


def _usage_values(row: UsageRow, now_ms: int) -> dict[str, object]:
    claim, principal = row.claim, row.claim.grant.principal
    return {
        "grant_id": claim.grant.grant_id,
        "engine_id": claim.engine_id,
        "kind": row.kind,
        "request_id": claim.grant.request_id,
        "attempt": claim.grant.attempt,
        "tenant_id": principal.tenant_id,
        "key_id": principal.key_id,
        "user_id": principal.user_id,
        "run_id": principal.run_id,
        "model": claim.model,
        "service": claim.service,
        **{column: claim.amounts.get(unit, 0) for unit, column in UNIT_COLUMNS.items()},
        "other_units": {
            unit_name(unit): amount for unit, amount in claim.amounts.items() if amount and unit not in UNIT_COLUMNS
        },
        "cost_nanos": row.cost_nanos,
        "unbilled_nanos": row.unbilled_nanos,
        "outcome": str(claim.outcome),
        "started_at_ms": claim.started_at_ms,
        "ended_at_ms": claim.ended_at_ms,
        "time_to_first_token_ms": claim.time_to_first_token_ms,
        "settled_at_ms": now_ms,
    }
