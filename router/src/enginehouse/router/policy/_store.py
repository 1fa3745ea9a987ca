"""Policy documents in PostgreSQL, every version of each."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import sqlalchemy as sa
from google.protobuf import json_format
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from enginehouse.api.router.v1 import policy_pb2
from enginehouse.router.database._listen import notify
from enginehouse.router.database.tables import policies

POLICIES_CHANNEL = "enginehouse_policies"
"""The channel that carries the name of each document that changes."""

# An advisory lock's number: any that nothing else in the database locks. One change is made at a time, so that its
# tenants can be compared with those of all other documents.
_LOCK = 0x504F4C49


@dataclasses.dataclass(frozen=True, slots=True)
class PolicyVersion:
    """The newest version of a document, which may be its deletion."""

    version: int
    policy: policy_pb2.Policy | None


class PolicyStore:
    """Reads and writes documents. The caller validates them."""

    def __init__(self, *, database: AsyncEngine) -> None:
        self._database = database

    @contextlib.asynccontextmanager
    async def changing(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction in which nobody else changes a document."""
        async with self._database.begin() as connection:
            await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            yield connection

    async def active(self, connection: AsyncConnection | None = None) -> list[policy_pb2.Policy]:
        """Return the documents in force, by name."""
        if connection is None:
            async with self._database.connect() as own:
                return await self.active(own)
        rows = await connection.execute(
            sa.select(policies).ext(distinct_on(policies.c.name)).order_by(policies.c.name, policies.c.version.desc())
        )
        return [_policy(row) for row in rows if not row.deleted]

    async def newest(self, name: str, connection: AsyncConnection) -> PolicyVersion:
        """Return the newest version of a document; version 0 without a document if there never was one."""
        query = sa.select(policies).where(policies.c.name == name).order_by(policies.c.version.desc()).limit(1)
        row = (await connection.execute(query)).first()
        if row is None:
            return PolicyVersion(0, None)
        return PolicyVersion(row.version, None if row.deleted else _policy(row))

    async def get(self, name: str, version: int) -> policy_pb2.Policy | None:
        """Return a document in a version; for version 0 the one in force."""
        async with self._database.connect() as connection:
            if not version:
                return (await self.newest(name, connection)).policy
            query = sa.select(policies).where(policies.c.name == name, policies.c.version == version)
            row = (await connection.execute(query)).first()
        return None if row is None or row.deleted else _policy(row)

    async def write(
        self,
        name: str,
        document: policy_pb2.Policy | None,
        *,
        version: int,
        now_ms: int,
        key_id: str,
        connection: AsyncConnection,
    ) -> None:
        """Write the next version of a document, or for None its deletion, and tell every replica."""
        values = {
            "name": name,
            "version": version,
            "deleted": document is None,
            "document": {} if document is None else _stored(document),
            "created_at_ms": now_ms,
            "created_by": key_id,
        }
        await connection.execute(policies.insert().values(values))
        await notify(connection, POLICIES_CHANNEL, name)


def _stored(document: policy_pb2.Policy) -> dict[str, Any]:
    return json_format.MessageToDict(document, preserving_proto_field_name=True)


def _policy(row: Any) -> policy_pb2.Policy:
    # Ignore fields that only a newer replica knows.
    document = json_format.ParseDict(row.document, policy_pb2.Policy(), ignore_unknown_fields=True)
    document.name, document.version = row.name, row.version
    document.updated_at_ms, document.updated_by = row.created_at_ms, row.created_by
    return document
