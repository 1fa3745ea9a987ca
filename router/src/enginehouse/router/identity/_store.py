"""Tenants and keys in PostgreSQL."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from enginehouse.router.database._listen import notify
from enginehouse.router.database.tables import api_keys, tenants

# Notified with the key's id when a key is made or revoked.
KEYS_CHANNEL = "enginehouse_keys"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Who is billed."""

    tenant_id: str
    name: str
    tier: str
    created_at_ms: int
    ordinal: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An API key without the key. Times are milliseconds since 1970 UTC, 0 for never; limits are 0 for none.

    `max_request_nanos` bounds one request; `run_cap_nanos` is the lifetime budget that each of its runs gets.
    """

    key_id: str
    tenant_id: str
    name: str
    digest: bytes = dataclasses.field(repr=False)
    hint: str
    scopes: tuple[str, ...]
    allowed_models: tuple[str, ...]
    requests_per_minute: int
    tokens_per_minute: int
    concurrency: int
    created_at_ms: int
    expires_at_ms: int
    revoked_at_ms: int
    max_request_nanos: int = 0
    run_cap_nanos: int = 0
    ordinal: int = 0


class KeyStore:
    """Reads and writes tenants and keys. Domain rules are the caller's."""

    def __init__(self, *, database: AsyncEngine) -> None:
        self._database = database

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that several stores can write in."""
        async with self._database.begin() as connection:
            yield connection

    async def insert_tenant(self, tenant: Tenant) -> bool:
        """Writes a new tenant; False when the name is taken."""
        values = dataclasses.asdict(tenant)
        del values["ordinal"]
        async with self._database.begin() as connection:
            return await _inserted(connection, tenants, values)

    async def list_tenants(self, *, after: int, count: int) -> list[Tenant]:
        """Tenants made after that ordinal, oldest first."""
        query = sa.select(tenants).where(tenants.c.ordinal > after).order_by(tenants.c.ordinal).limit(count)
        async with self._database.connect() as connection:
            return [Tenant(**row._mapping) for row in await connection.execute(query)]

    async def get_tenant(self, tenant_id: str) -> Tenant | None:
        """One tenant."""
        async with self._database.connect() as connection:
            row = (await connection.execute(sa.select(tenants).where(tenants.c.tenant_id == tenant_id))).first()
        return None if row is None else Tenant(**row._mapping)

    async def find_tenant(self, name: str) -> Tenant | None:
        """The tenant of that name."""
        async with self._database.connect() as connection:
            row = (await connection.execute(sa.select(tenants).where(tenants.c.name == name))).first()
        return None if row is None else Tenant(**row._mapping)

    async def insert_key(self, key: Key, *, connection: AsyncConnection | None = None) -> None:
        """Writes a new key and tells every replica, in the transaction given or one of its own."""
        if connection is None:
            async with self._database.begin() as own:
                await self.insert_key(key, connection=own)
            return
        values = dataclasses.asdict(key)
        del values["ordinal"]
        values["scopes"], values["allowed_models"] = list(key.scopes), list(key.allowed_models)
        await connection.execute(api_keys.insert().values(values))
        await notify(connection, KEYS_CHANNEL, key.key_id)

    async def list_keys(self, *, tenant_id: str, after: int, count: int) -> list[Key]:
        """Keys made after that ordinal, oldest first; of every tenant when `tenant_id` is empty."""
        query = sa.select(api_keys).where(api_keys.c.ordinal > after).order_by(api_keys.c.ordinal).limit(count)
        if tenant_id:
            query = query.where(api_keys.c.tenant_id == tenant_id)
        async with self._database.connect() as connection:
            return [_key(row) for row in await connection.execute(query)]

    async def get_keys(self, key_ids: Sequence[str]) -> list[Key]:
        """The keys of those ids that exist."""
        query = sa.select(api_keys).where(api_keys.c.key_id.in_(key_ids))
        async with self._database.connect() as connection:
            return [_key(row) for row in await connection.execute(query)]

    async def revoke_key(self, key_id: str, *, now_ms: int) -> Key | None:
        """Marks a key revoked (the first time stays) and tells every replica; None when there is no such key."""
        statement = (
            api_keys.update()
            .where(api_keys.c.key_id == key_id)
            .values(revoked_at_ms=sa.case((api_keys.c.revoked_at_ms == 0, now_ms), else_=api_keys.c.revoked_at_ms))
            .returning(*api_keys.c)
        )
        async with self._database.begin() as connection:
            row = (await connection.execute(statement)).first()
            if row is None:
                return None
            await notify(connection, KEYS_CHANNEL, key_id)
        return _key(row)

    async def all_usable(self, *, now_ms: int) -> tuple[list[Key], list[Tenant]]:
        """Every key that is not revoked or expired, and every tenant."""
        usable = sa.and_(
            api_keys.c.revoked_at_ms == 0, sa.or_(api_keys.c.expires_at_ms == 0, api_keys.c.expires_at_ms > now_ms)
        )
        async with self._database.connect() as connection:
            keys = [_key(row) for row in await connection.execute(sa.select(api_keys).where(usable))]
            owners = [Tenant(**row._mapping) for row in await connection.execute(sa.select(tenants))]
        return keys, owners


def _key(row: sa.Row[tuple[object, ...]]) -> Key:
    values = dict(row._mapping)
    values["scopes"], values["allowed_models"] = tuple(values["scopes"]), tuple(values["allowed_models"])
    return Key(**values)


async def _inserted(connection: AsyncConnection, table: sa.Table, values: dict[str, object]) -> bool:
    result = await connection.execute(insert(table).values(values).on_conflict_do_nothing())
    return result.rowcount == 1
