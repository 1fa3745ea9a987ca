"""Steps 1, 8 and the journal against PostgreSQL: registrations, draws, returns, and what is compared with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.kit.grants import payload_of
from enginehouse.router.database import driver_connection
from enginehouse.router.database._listen import notify
from enginehouse.router.database.tables import engines
from enginehouse.router.ledger._book import Reservation
from enginehouse.router.ledger._columns import integers, join_integers, join_texts, texts
from enginehouse.router.ledger._settlement import LeaseState
from enginehouse.router.ledger._sizing import granted

# Notified with a budget's id when somebody needs what lies idle of it.
RETURN_CHANNEL = "enginehouse_return"


class DeclaredDead(Exception):
    """This replica's registration ran out, so its leases are no longer its own."""


@dataclasses.dataclass(frozen=True, slots=True)
class Drawn:
    """A draw's outcome: what was added to the lease (0: too little was free), and the lease as it is now.

    Where nothing was added, also the window as it is: what of it is not spent (None: the budget is gone), and what is
    leased.
    """

    granted_nanos: int
    lease: LeaseState | None
    unspent_nanos: int | None = None
    leased_nanos: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class JournalEntry:
    """A reservation as the journal keeps it."""

    grant_id: str
    grant_bytes: bytes
    cap_nanos: int
    issued_at_ms: int
    expires_at_ms: int


def journal_entry(reservation: Reservation) -> JournalEntry:
    """Return a reservation, whose grant is signed, for the journal."""
    return JournalEntry(
        reservation.grant_id,
        payload_of(reservation.token),
        reservation.cap_nanos,
        reservation.issued_at_ms,
        reservation.expires_at_ms,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class EngineMark:
    """The watermark of an engine, and when a router last saw it live; milliseconds since 1970 UTC."""

    engine_id: str
    watermark_ms: int
    live_at_ms: int


class Watermark(NamedTuple):
    """An engine's word that it spends, and has unacknowledged, nothing of grants that are older; both in milliseconds
    since 1970 UTC.
    """

    engine_id: str
    watermark_ms: int
    engine_time_ms: int


_WINDOW = sa.text(
    """
    INSERT INTO budget_windows (budget_id, window_start_ms, limit_nanos)
    SELECT budget_id, :start, limit_nanos FROM budgets WHERE budget_id = :budget_id AND deleted_at_ms = 0
    ON CONFLICT DO NOTHING
    """
)
_LOCK_WINDOW = sa.text(
    """
    SELECT w.limit_nanos - w.settled_nanos - w.leased_nanos AS available, w.leased_nanos, b.deleted_at_ms
    FROM budget_windows w JOIN budgets b USING (budget_id)
    WHERE w.budget_id = :budget_id AND w.window_start_ms = :start FOR UPDATE OF w
    """
)
_MOVE_LEASED = sa.text(
    """
    UPDATE budget_windows SET leased_nanos = leased_nanos + :amount
    WHERE budget_id = :budget_id AND window_start_ms = :start
    """
)
_ADD_TO_LEASE = sa.text(
    """
    INSERT INTO leases AS held (lease_id, budget_id, window_start_ms, replica_id, remaining_nanos, version)
    VALUES (:lease_id, :budget_id, :start, :replica_id, :amount, 1)
    ON CONFLICT (lease_id) DO UPDATE
      SET remaining_nanos = held.remaining_nanos + :amount, version = held.version + 1
      WHERE NOT held.released
    RETURNING remaining_nanos, version
    """
)
_TAKE_FROM_LEASE = sa.text(
    """
    UPDATE leases SET remaining_nanos = remaining_nanos - :amount, version = version + 1
    WHERE lease_id = :lease_id AND NOT released AND remaining_nanos >= :amount
    RETURNING remaining_nanos, version
    """
)
_JOURNAL = f"""
    INSERT INTO reservations (grant_id, replica_id, state, grant_bytes, cap_nanos, issued_at_ms, expires_at_ms)
    SELECT unnest({texts(2, separator=1)}), $7::text, 'open', unnest($3::bytea[]), unnest({integers(4)}),
           unnest({integers(5)}), unnest({integers(6)})
    ON CONFLICT DO NOTHING
    """
# One statement commits by itself, all of it or nothing. Engines are locked in one order.
_RENEW = """
    WITH renewed AS (
      UPDATE replicas SET renewed_until = now() + make_interval(secs => $2::float8)
      WHERE replica_id = $1 AND state = 'live'
      RETURNING 1
    ), live AS (
      INSERT INTO engines (engine_id, live_at_ms)
      SELECT engine_id, $4::bigint FROM unnest($3::text[]) AS live (engine_id)
      WHERE EXISTS (SELECT FROM renewed)
      ORDER BY 1
      ON CONFLICT (engine_id) DO UPDATE SET live_at_ms = greatest(engines.live_at_ms, excluded.live_at_ms)
    )
    SELECT count(*) FROM renewed
    """
_WATERMARKS = """
    INSERT INTO engines (engine_id, watermark_ms, engine_time_ms)
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[]) ORDER BY 1
    ON CONFLICT (engine_id) DO UPDATE
      SET watermark_ms = CASE WHEN engines.watermark_ms > excluded.engine_time_ms THEN excluded.watermark_ms
                              ELSE greatest(engines.watermark_ms, excluded.watermark_ms) END,
          engine_time_ms = excluded.engine_time_ms
    """
_CLOSED = "SELECT grant_id FROM reservations WHERE grant_id = ANY($1::text[]) AND state <> 'open'"
_RAISE_CAP = sa.text(
    """
    INSERT INTO reservations (grant_id, replica_id, state, grant_bytes, cap_nanos, issued_at_ms, expires_at_ms)
    VALUES (:grant_id, :replica_id, 'open', :grant_bytes, :cap, :issued, :expires)
    ON CONFLICT (grant_id) DO UPDATE
      SET cap_nanos = greatest(reservations.cap_nanos, excluded.cap_nanos),
          grant_bytes = CASE WHEN excluded.cap_nanos >= reservations.cap_nanos THEN excluded.grant_bytes
                             ELSE reservations.grant_bytes END
      WHERE reservations.state = 'open'
    RETURNING 1
    """
)
_ALIVE = sa.text("SELECT 1 FROM replicas WHERE replica_id = :replica_id AND state = 'live' FOR SHARE")


class LedgerStore:
    """One replica's statements. Every method raises what the driver raises when PostgreSQL is away."""

    def __init__(self, *, database: AsyncEngine, ttl_s: float) -> None:
        self._database = database
        self._ttl_s = ttl_s

    @property
    def database(self) -> AsyncEngine:
        """The connections that it uses."""
        return self._database

    async def register(self, replica_id: str, *, host: str, now_ms: int) -> None:
        """Make this replica known, alive for the time to live."""
        async with self._database.begin() as connection:
            await connection.execute(
                sa.text(
                    """
                    INSERT INTO replicas (replica_id, state, host, started_at_ms, renewed_until)
                    VALUES (:replica_id, 'live', :host, :now_ms, now() + make_interval(secs => :ttl))
                    """
                ),
                {"replica_id": replica_id, "host": host, "now_ms": now_ms, "ttl": self._ttl_s},
            )

    async def renew(self, replica_id: str, *, live_engines: Sequence[str], now_ms: int) -> None:
        """Renew the registration, and note which engines can be sent grants. Raises DeclaredDead."""
        async with driver_connection(self._database) as driver:
            renewed = await driver.fetchval(_RENEW, replica_id, self._ttl_s, sorted(live_engines), now_ms)
        if not renewed:
            raise DeclaredDead(replica_id)

    async def retire(self, replica_id: str, *, now_ms: int) -> None:
        """End this replica's registration: it makes no grants after this."""
        async with self._database.begin() as connection:
            await connection.execute(
                sa.text(
                    "UPDATE replicas SET state = 'dead', dead_at_ms = :now_ms"
                    " WHERE replica_id = :replica_id AND state = 'live'"
                ),
                {"replica_id": replica_id, "now_ms": now_ms},
            )

    async def draw(
        self,
        *,
        replica_id: str,
        lease_id: str,
        budget_id: str,
        window_start_ms: int,
        need_nanos: int,
        target_nanos: int,
        share: int,
        least_nanos: int = 1,
    ) -> Drawn:
        """Step 1. Moves what `granted` says from the window to the lease, unless that is less than the least.

        Raises DeclaredDead.
        """
        where = {"budget_id": budget_id, "start": window_start_ms}
        async with self._database.begin() as connection:
            if (await connection.execute(_ALIVE, {"replica_id": replica_id})).first() is None:
                raise DeclaredDead(replica_id)
            await connection.execute(_WINDOW, where)
            window = (await connection.execute(_LOCK_WINDOW, where)).first()
            if window is None or window.deleted_at_ms:
                return Drawn(0, None)
            amount = granted(
                need_nanos=need_nanos, target_nanos=target_nanos, available_nanos=window.available, share=share
            )
            if amount < least_nanos:
                return Drawn(0, None, window.available + window.leased_nanos, window.leased_nanos)
            await connection.execute(_MOVE_LEASED, {**where, "amount": amount})
            added = await connection.execute(
                _ADD_TO_LEASE, {**where, "lease_id": lease_id, "replica_id": replica_id, "amount": amount}
            )
            lease = added.first()
            if lease is None:
                raise DeclaredDead(replica_id)
        return Drawn(amount, LeaseState(lease_id, lease.remaining_nanos, lease.version))

    async def give_back(
        self, *, lease_id: str, budget_id: str, window_start_ms: int, amount_nanos: int
    ) -> LeaseState | None:
        """Move money from a lease back to its window; None when the lease has been released."""
        where = {"budget_id": budget_id, "start": window_start_ms}
        async with self._database.begin() as connection:
            await connection.execute(_LOCK_WINDOW, where)
            taken = (await connection.execute(_TAKE_FROM_LEASE, {"lease_id": lease_id, "amount": amount_nanos})).first()
            if taken is None:
                return None
            await connection.execute(_MOVE_LEASED, {**where, "amount": -amount_nanos})
        return LeaseState(lease_id, taken.remaining_nanos, taken.version)

    async def journal(self, replica_id: str, entries: Sequence[JournalEntry]) -> None:
        """Write reservations down, except those that are already, because they were extended or have settled."""
        ordered = sorted(entries, key=lambda entry: entry.grant_id)
        separator, (grant_ids,) = join_texts([[entry.grant_id for entry in ordered]])
        async with driver_connection(self._database) as driver:
            await driver.execute(
                _JOURNAL,
                separator,
                grant_ids,
                [entry.grant_bytes for entry in ordered],
                join_integers([entry.cap_nanos for entry in ordered]),
                join_integers([entry.issued_at_ms for entry in ordered]),
                join_integers([entry.expires_at_ms for entry in ordered]),
                replica_id,
            )

    async def raise_cap(self, replica_id: str, entry: JournalEntry) -> bool:
        """Write down a reservation's higher cap; False, and nothing is written, where it is not open any more."""
        async with self._database.begin() as connection:
            raised = await connection.execute(
                _RAISE_CAP,
                {
                    "grant_id": entry.grant_id,
                    "replica_id": replica_id,
                    "grant_bytes": entry.grant_bytes,
                    "cap": entry.cap_nanos,
                    "issued": entry.issued_at_ms,
                    "expires": entry.expires_at_ms,
                },
            )
            return raised.first() is not None

    async def closed_of(self, grant_ids: Sequence[str]) -> list[str]:
        """Return those of these grants that are no longer open."""
        async with driver_connection(self._database) as driver:
            return [row[0] for row in await driver.fetch(_CLOSED, list(grant_ids))]

    async def leases(self, lease_ids: Sequence[str]) -> list[LeaseState]:
        """These leases as they are once every transaction that has changed them has ended, also one that its sender has
        given up: it may be committing still.
        """
        async with self._database.begin() as connection:
            rows = await connection.execute(
                sa.text(
                    "SELECT lease_id, remaining_nanos, version FROM leases"
                    " WHERE lease_id = ANY(CAST(:lease_ids AS text[])) AND NOT released ORDER BY lease_id FOR SHARE"
                ),
                {"lease_ids": sorted(lease_ids)},
            )
            return [LeaseState(row.lease_id, row.remaining_nanos, row.version) for row in rows]

    async def request_return(self, budget_id: str) -> None:
        """Ask every replica to give back what it holds idle of a budget."""
        async with self._database.begin() as connection:
            await notify(connection, RETURN_CHANNEL, budget_id)

    async def note_watermarks(self, marks: Sequence[Watermark]) -> None:
        """Store watermarks, at most one of each engine. One never goes back, unless the engine's clock was put back
        behind it: then it is of a time to come, and would pass grants that are not given out yet.
        """
        async with driver_connection(self._database) as driver:
            await driver.execute(
                _WATERMARKS,
                [mark.engine_id for mark in marks],
                [mark.watermark_ms for mark in marks],
                [mark.engine_time_ms for mark in marks],
            )

    async def forget_engine(self, engine_id: str) -> bool:
        """Declare an engine lost with its disk: it blocks nothing any more."""
        async with self._database.begin() as connection:
            gone = await connection.execute(engines.delete().where(engines.c.engine_id == engine_id))
            return gone.rowcount == 1


def this_process() -> str:
    """Return a name of this process by which another on the same host can tell for certain whether it still lives.

    `boot id:pid namespace:pid:start time` on Linux, empty elsewhere.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").readlink()
        stat = Path("/proc/self/stat").read_text()
    except OSError:
        return ""
    return f"{boot}|{namespace}|{stat.split(' ', 1)[0]}|{_start_time(stat)}"


def is_surely_gone(process: str, *, me: str) -> bool:
    """Return whether a process, as `this_process` named it, ran on this host and runs no more."""
    parts, mine = process.split("|"), me.split("|")
    if len(parts) != 4 or len(mine) != 4 or parts[1] != mine[1]:
        return False
    if parts[0] != mine[0]:
        # The same namespace number after a reboot proves nothing about another machine.
        return False
    try:
        stat = Path(f"/proc/{parts[2]}/stat").read_text()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    # A zombie has let go of everything but its number.
    return _start_time(stat) != parts[3] or _state(stat) in {"Z", "X"}


def _start_time(stat: str) -> str:
    # The command may hold spaces and parentheses; the numbers come after the last one. Start time is field 22.
    return stat.rpartition(")")[2].split()[19]


def _state(stat: str) -> str:
    return stat.rpartition(")")[2].split()[0]
