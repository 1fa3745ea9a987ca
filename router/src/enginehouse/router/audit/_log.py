"""The log itself. Appends are put in line by a lock that ends with their transaction: each seals the one before.

A trigger refuses changes and removals. Who gets around the trigger still lacks the key of the seals (it comes from the
key pepper, which is not in the database), so what was changed, removed or put in between no longer fits. One thing the
seals cannot show: entries cut off at the end, as if they had never been written. Against that, `verify` takes a
sequence and seal noted earlier in a place of its own; every append is also logged with its seal.
"""

from __future__ import annotations

import dataclasses
import enum
import hmac
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from enginehouse.router.clock import Clock
from enginehouse.router.database.tables import audit_log

_log = logging.getLogger(__name__)

# Any number that no other lock of ours uses.
_LOCK = 0x656E_6769_6E65_0001
_FIRST_SEAL = bytes(32)
_PAGE = 2000


class AuditOutcome(enum.StrEnum):
    """The outcome of an attempt."""

    DONE = "done"
    DENIED = "denied"
    FAILED = "failed"


@dataclasses.dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: tenant, key or user id, and the user's name where there is one; all empty for somebody unknown."""

    tenant_id: str = ""
    actor_id: str = ""
    user: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One entry; the documents are JSON without secrets, or empty."""

    sequence: int = 0
    at_ms: int = 0
    tenant_id: str
    actor_tenant_id: str
    actor_id: str
    actor_user: str
    request_id: str
    action: str
    target_id: str
    outcome: AuditOutcome
    reason: str = ""
    before_json: str = ""
    after_json: str = ""
    seal: bytes = dataclasses.field(default=b"", repr=False)

    def sealed(self, previous: bytes, key: bytes) -> bytes:
        """The seal: HMAC-SHA256 over the seal before and every field, each with its length."""
        parts = [previous]
        for field in dataclasses.fields(self):
            if field.name != "seal":
                text = str(getattr(self, field.name)).encode("utf-8", "surrogateescape")
                parts.append(len(text).to_bytes(8, "big") + text)
        return hmac.digest(key, b"".join(parts), "sha256")


@dataclasses.dataclass(frozen=True, slots=True)
class AuditVerdict:
    """The result of checking the seals. `problem` is empty when all is well."""

    entries: int
    head_sequence: int
    head_seal: bytes
    problem: str


class AuditLog:
    """Appends, lists and verifies.

    Args:
        database: where it lies.
        seal_keys: the first seals, every one verifies; at least one.
        clock: milliseconds since 1970 UTC.
    """

    def __init__(self, *, database: AsyncEngine, seal_keys: Sequence[bytes], clock: Clock) -> None:
        self._database = database
        self._seal_keys = tuple(seal_keys)
        self._clock = clock

    async def append(self, entries: Sequence[AuditEntry], connection: AsyncConnection | None = None) -> None:
        """Write entries, in the transaction given or one of their own.

        In a transaction given, call it last: others wait in line from here until it ends.
        """
        if connection is None:
            async with self._database.begin() as own:
                await self.append(entries, own)
            return
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        newest = sa.select(audit_log.c.sequence, audit_log.c.seal).order_by(audit_log.c.sequence.desc()).limit(1)
        head = (await connection.execute(newest)).first()
        sequence, seal = (0, _FIRST_SEAL) if head is None else (head.sequence, head.seal)
        rows = []
        for entry in entries:
            sequence += 1
            entry = dataclasses.replace(_storable(entry), sequence=sequence, at_ms=entry.at_ms or self._clock())
            seal = entry.sealed(seal, self._seal_keys[0])
            rows.append(dataclasses.asdict(entry) | {"outcome": entry.outcome.value, "seal": seal})
        await connection.execute(audit_log.insert(), rows)
        _log.info(
            "audit",
            extra={"audit_sequence": sequence, "audit_seal": seal.hex(), "action": entries[-1].action},
        )

    async def listed(
        self,
        *,
        tenant_id: str,
        equal: dict[str, str],
        from_ms: int,
        until_ms: int,
        before: int,
        count: int,
    ) -> list[AuditEntry]:
        """Entries, newest first, before that sequence (0 for all).

        With `tenant_id`, those of the tenant's things or by its people; `equal` maps columns to what they must be.
        """
        query = sa.select(audit_log).order_by(audit_log.c.sequence.desc()).limit(count)
        if tenant_id:
            query = query.where(sa.or_(audit_log.c.tenant_id == tenant_id, audit_log.c.actor_tenant_id == tenant_id))
        for column, wanted in equal.items():
            if wanted:
                query = query.where(audit_log.c[column] == wanted)
        if from_ms:
            query = query.where(audit_log.c.at_ms >= from_ms)
        if until_ms:
            query = query.where(audit_log.c.at_ms < until_ms)
        if before:
            query = query.where(audit_log.c.sequence < before)
        async with self._database.connect() as connection:
            return [_entry(row) for row in await connection.execute(query)]

    async def verify(self, *, expected_sequence: int = 0, expected_seal: bytes = b"") -> AuditVerdict:
        """Read the whole log and return the first fault, if there is one."""
        seal, sequence, found_expected = _FIRST_SEAL, 0, not expected_sequence
        async for entry in self._all():
            if entry.sequence != sequence + 1:
                missing = f"entries {sequence + 1} to {entry.sequence - 1} are missing"
                return AuditVerdict(sequence, sequence, seal, missing)
            if not any(hmac.compare_digest(entry.sealed(seal, key), entry.seal) for key in self._seal_keys):
                changed = f"entry {entry.sequence} is not as it was written, or the one before it was replaced"
                return AuditVerdict(sequence, sequence, seal, changed)
            sequence, seal = entry.sequence, entry.seal
            if sequence == expected_sequence:
                if not hmac.compare_digest(seal, expected_seal):
                    return AuditVerdict(sequence, sequence, seal, f"entry {sequence} has another seal than expected")
                found_expected = True
        problem = (
            "" if found_expected else f"the log ends at entry {sequence}, and entry {expected_sequence} is expected"
        )
        return AuditVerdict(sequence, sequence, seal, problem)

    async def _all(self) -> AsyncIterator[AuditEntry]:
        after = 0
        while True:
            query = sa.select(audit_log).where(audit_log.c.sequence > after).order_by(audit_log.c.sequence).limit(_PAGE)
            async with self._database.connect() as connection:
                page = [_entry(row) for row in await connection.execute(query)]
            for entry in page:
                yield entry
            if len(page) < _PAGE:
                return
            after = page[-1].sequence


def _entry(row: sa.Row[tuple[object, ...]]) -> AuditEntry:
    values = dict(row._mapping)
    values["outcome"] = AuditOutcome(values["outcome"])
    return AuditEntry(**values)


def _storable(entry: AuditEntry) -> AuditEntry:
    """The entry without NULs, which requests that are refused may hold and PostgreSQL's text may not."""
    texts: dict[str, Any] = {
        field.name: value.replace("\0", "\N{REPLACEMENT CHARACTER}")
        for field in dataclasses.fields(entry)
        if isinstance(value := getattr(entry, field.name), str) and "\0" in value
    }
    return dataclasses.replace(entry, **texts) if texts else entry
