"""The rows that a settlement locks, in one statement, and writes, in one more.

The statements are the driver's own, with an argument for each column, so that what a report costs PostgreSQL and the
router depends little on how many share the transaction.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterable, Sequence

from enginehouse.api.router.v1 import grant_pb2
from enginehouse.kit.pricing import unit_name
from enginehouse.router.database import DriverConnection
from enginehouse.router.database.tables import UNIT_COLUMNS
from enginehouse.router.ledger._billing import Claim, LeaseRow, ReservationRow, Rows, UsageRow, WindowRow
from enginehouse.router.ledger._columns import integers, join_integers, join_texts, texts

PLANNED = "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"
"""Settings for the transactions of a settlement. Its plans are made once for each connection, perhaps while the tables
are still empty, and must find rows by their keys when there are many."""

# The parts run in this order, so the locks are taken in it. A row that somebody else changes meanwhile is read as that
# leaves it, whatever the statement's snapshot says.
_LOCK = """
    WITH journal AS (
        SELECT grant_id, state, cap_nanos, billed_nanos FROM reservations
        WHERE grant_id = ANY($1::text[]) ORDER BY grant_id FOR UPDATE
    ), windows AS (
        SELECT w.budget_id, w.window_start_ms, w.limit_nanos, w.settled_nanos, w.leased_nanos, b.alert_percents
        FROM budget_windows w JOIN budgets b USING (budget_id)
        JOIN unnest($2::text[], $3::bigint[]) AS named (budget_id, window_start_ms) USING (budget_id, window_start_ms)
        ORDER BY 1, 2 FOR UPDATE OF w
    ), held AS (
        SELECT lease_id, remaining_nanos, version FROM leases
        WHERE lease_id = ANY($4::text[]) ORDER BY lease_id FOR UPDATE
    )
    SELECT 1, grant_id, state, cap_nanos, billed_nanos, 0::bigint, 0::bigint, NULL::int[] FROM journal
    UNION ALL
    SELECT 2, budget_id, '', limit_nanos, settled_nanos, leased_nanos, window_start_ms, alert_percents FROM windows
    UNION ALL
    SELECT 3, lease_id, '', remaining_nanos, version, 0, 0, NULL FROM held
    """
_REPORTED = "SELECT grant_id, engine_id FROM usage WHERE kind = 'report' AND grant_id = ANY($1::text[])"

_UNITS = tuple(UNIT_COLUMNS)
_JOURNAL_TEXTS = ("grant_id", "replica_id", "state")
_JOURNAL_INTEGERS = ("cap_nanos", "billed_nanos", "issued_at_ms", "expires_at_ms")
_USAGE_TEXTS = (
    "grant_id", "engine_id", "kind", "request_id", "tenant_id", "key_id", "user_id", "run_id", "model", "service",
    "outcome",
)  # fmt: skip
_USAGE_INTEGERS = (
    "cost_nanos", "unbilled_nanos", "started_at_ms", "ended_at_ms", *UNIT_COLUMNS.values(), "attempt",
    "time_to_first_token_ms",
)  # fmt: skip
# The last two are 32 bits wide.
_USAGE_KINDS = (*["bigint"] * (len(_USAGE_INTEGERS) - 2), "int", "int")

# The arguments after the first twelve.
_JOURNAL_AT = 13
_USAGE_AT = _JOURNAL_AT + len(_JOURNAL_TEXTS) + len(_JOURNAL_INTEGERS)
_NUMBERS_AT = _USAGE_AT + len(_USAGE_TEXTS)


def _walked(arrays: Iterable[str]) -> str:
    # In the select list arrays are walked together, without a copy of each on the side.
    return ", ".join([f"unnest({array})" for array in arrays])


_JOURNAL_VALUES = _walked(
    [texts(_JOURNAL_AT + place, separator=1) for place in range(len(_JOURNAL_TEXTS))]
    + [integers(_JOURNAL_AT + len(_JOURNAL_TEXTS) + place) for place in range(len(_JOURNAL_INTEGERS))]
)
_USAGE_VALUES = _walked(
    [texts(_USAGE_AT + place, separator=1) for place in range(len(_USAGE_TEXTS))]
    + [integers(_NUMBERS_AT + place, kind) for place, kind in enumerate(_USAGE_KINDS)]
)
_WRITE = f"""
    WITH windows AS (
        UPDATE budget_windows w SET settled_nanos = new.settled_nanos, leased_nanos = new.leased_nanos
        FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
          AS new (budget_id, window_start_ms, settled_nanos, leased_nanos)
        WHERE w.budget_id = new.budget_id AND w.window_start_ms = new.window_start_ms
    ), held AS (
        UPDATE leases l SET remaining_nanos = new.remaining_nanos, version = new.version
        FROM unnest($6::text[], $7::bigint[], $8::bigint[]) AS new (lease_id, remaining_nanos, version)
        WHERE l.lease_id = new.lease_id
    ), closed AS (
        UPDATE reservations r SET state = new.state, billed_nanos = new.billed_nanos
        FROM unnest({texts(9, separator=1)}, {texts(10, separator=1)}, {integers(11)})
          AS new (grant_id, state, billed_nanos)
        WHERE r.grant_id = new.grant_id
    ), journal AS (
        INSERT INTO reservations (grant_bytes, {", ".join([*_JOURNAL_TEXTS, *_JOURNAL_INTEGERS])})
        SELECT unnest($12::bytea[]), {_JOURNAL_VALUES}
    )
    INSERT INTO usage ({", ".join([*_USAGE_TEXTS, *_USAGE_INTEGERS])}, other_units, settled_at_ms)
    SELECT {_USAGE_VALUES}, unnest(${_NUMBERS_AT + len(_USAGE_INTEGERS)}::text[])::jsonb,
           ${_NUMBERS_AT + len(_USAGE_INTEGERS) + 1}::bigint
    """


@dataclasses.dataclass(slots=True)
class LockedRows(Rows):
    """Rows that are locked, and the grants whose reservation is not written down yet.

    A report may come before the journal's batch, or from a replica that died before it wrote one.
    """

    unwritten: dict[str, grant_pb2.Grant] = dataclasses.field(default_factory=dict)
    any_closed: bool = False
    """True if a reservation is not open any more."""


async def lock_rows(driver: DriverConnection, claims: Sequence[Claim]) -> LockedRows:
    """Lock what the claims are of, and what pays for them."""
    grants: dict[str, grant_pb2.Grant] = {}
    windows: set[tuple[str, int]] = set()
    leases: set[str] = set()
    for claim in claims:
        grant = claim.grant
        known = grants.get(grant.grant_id)
        # An engine that refused it has the grant of before it was extended.
        if known is None or cap_of(grant) > cap_of(known):
            grants[grant.grant_id] = grant
        for funding in grant.funding:
            windows.add((funding.budget_id, funding.window_start_ms))
            leases.add(funding.lease_id)
    found = await driver.fetch(
        _LOCK, list(grants), [window[0] for window in windows], [window[1] for window in windows], list(leases)
    )
    rows = LockedRows({}, {}, {}, set())
    for table, name, state, first, second, third, start, alerts in found:
        if table == 1:
            rows.reservations[name] = ReservationRow(state, first, second)
            rows.any_closed = rows.any_closed or state != "open"
        elif table == 2:
            rows.windows[name, start] = WindowRow(first, second, third, before=second, alerts=alerts)
        else:
            rows.leases[name] = LeaseRow(first, second)
    for grant_id, grant in grants.items():
        if grant_id not in rows.reservations:
            rows.reservations[grant_id] = ReservationRow("open", cap_of(grant), 0)
            rows.unwritten[grant_id] = grant
    return rows


async def read_reported(driver: DriverConnection, grant_ids: Collection[str]) -> set[tuple[str, str]]:
    """Pairs of grant and engine that have reported. Asked once the reservations are locked, so that it stays so."""
    return {(grant_id, engine_id) for grant_id, engine_id in await driver.fetch(_REPORTED, list(grant_ids))}


async def write_rows(driver: DriverConnection, rows: LockedRows, *, now_ms: int) -> None:
    """Write what changed. Raises UniqueViolationError where somebody wrote one of the new rows since."""
    unwritten = rows.unwritten
    closed = [
        (grant_id, row) for grant_id, row in rows.reservations.items() if row.changed and grant_id not in unwritten
    ]
    windows = [(name, row) for name, row in rows.windows.items() if row.changed]
    leases = [(name, row) for name, row in rows.leases.items() if row.changed]
    if not (closed or unwritten or windows or leases or rows.inserts):
        return
    grants = [unwritten[grant_id] for grant_id in sorted(unwritten)]
    opened = [rows.reservations[grant.grant_id] for grant in grants]
    # In one order for everybody who writes the same rows at once.
    inserts = sorted(rows.inserts, key=lambda row: row.claim.grant.grant_id)
    separator, columns = join_texts(
        [
            [grant_id for grant_id, _ in closed],
            [row.state for _, row in closed],
            [grant.grant_id for grant in grants],
            [grant.replica_id for grant in grants],
            [row.state for row in opened],
            *_usage_texts(inserts),
        ]
    )
    await driver.execute(
        _WRITE,
        separator,
        [name[0] for name, _ in windows],
        [name[1] for name, _ in windows],
        [row.settled for _, row in windows],
        [row.leased for _, row in windows],
        [name for name, _ in leases],
        [row.remaining for _, row in leases],
        [row.version for _, row in leases],
        columns[0],
        columns[1],
        join_integers([row.billed_nanos for _, row in closed]),
        [grant.SerializeToString() for grant in grants],
        *columns[2:5],
        join_integers([row.cap_nanos for row in opened]),
        join_integers([row.billed_nanos for row in opened]),
        join_integers([grant.issued_at_ms for grant in grants]),
        join_integers([grant.expires_at_ms for grant in grants]),
        *columns[5:],
        *_usage_integers(inserts),
        [_other_units(row.claim) for row in inserts],
        now_ms,
    )


def cap_of(grant: grant_pb2.Grant) -> int:
    """The most that any model of a grant may cost, in nano-dollars."""
    return max([candidate.cap_nanos for candidate in grant.candidates], default=0)


def _usage_texts(inserts: Sequence[UsageRow]) -> list[list[str]]:
    claims = [row.claim for row in inserts]
    grants = [claim.grant for claim in claims]
    principals = [grant.principal for grant in grants]
    return [
        [grant.grant_id for grant in grants],
        [claim.engine_id for claim in claims],
        [row.kind for row in inserts],
        [grant.request_id for grant in grants],
        [principal.tenant_id for principal in principals],
        [principal.key_id for principal in principals],
        [principal.user_id for principal in principals],
        [principal.run_id for principal in principals],
        [claim.model for claim in claims],
        [claim.service for claim in claims],
        [claim.outcome.value for claim in claims],
    ]


def _usage_integers(inserts: Sequence[UsageRow]) -> list[str]:
    claims = [row.claim for row in inserts]
    amounts = [claim.amounts for claim in claims]
    return [
        join_integers([row.cost_nanos for row in inserts]),
        join_integers([row.unbilled_nanos for row in inserts]),
        join_integers([claim.started_at_ms for claim in claims]),
        join_integers([claim.ended_at_ms for claim in claims]),
        *[join_integers([counted.get(unit, 0) for counted in amounts]) for unit in _UNITS],
        join_integers([claim.grant.attempt for claim in claims]),
        join_integers([claim.time_to_first_token_ms for claim in claims]),
    ]


def _other_units(claim: Claim) -> str:
    others = {unit_name(unit): amount for unit, amount in claim.amounts.items() if amount and unit not in UNIT_COLUMNS}
    return json.dumps(others) if others else "{}"
