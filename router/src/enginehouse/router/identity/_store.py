"""Tenants and keys in PostgreSQL."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from enginehouse.router.database._listen import notify
from enginehouse.router.database.tables import api_keys, tenants
from enginehouse.router.limits import Allowance

# The channel that carries the id of each key that is created or changed.
KEYS_CHANNEL = "enginehouse_keys"
# The channel that carries the id of each tenant or user that is created or changed.
USERS_CHANNEL = "enginehouse_users"

_UNBOUNDED = Allowance()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A tenant, which is the party that is billed."""

    tenant_id: str
    name: str
    tier: str
    created_at_ms: int
    ordinal: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An API key without its secret. Times are milliseconds since 1970 UTC, 0 for never; limits are 0 for none.

    `max_request_nanos` bounds one request; `run_cap_nanos` is the lifetime budget of each of its runs. `user_id` is the
    name of the user that it acts for, `run_id` the run that it is bound to, `parent_id` the key or the user that it is
    revoked with; each may be empty. The secret before the last rotation works until `previous_until_ms`. `user_limits`
    apply to each user that its requests name, `route_limits` to routes.
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
    user_id: str = ""
    run_id: str = ""
    parent_id: str = ""
    rotated_at_ms: int = 0
    previous_digest: bytes | None = dataclasses.field(default=None, repr=False)
    previous_until_ms: int = 0
    user_limits: Allowance = _UNBOUNDED
    route_limits: Mapping[str, Allowance] = dataclasses.field(default_factory=dict)
    ordinal: int = 0


class KeyStore:
    """Reads and writes tenants and keys. The caller checks the domain's rules."""

    def __init__(self, *, database: AsyncEngine) -> None:
        self._database = database

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that several stores can write in."""
        async with self._database.begin() as connection:
            yield connection

    async def insert_tenant(self, tenant: Tenant, *, connection: AsyncConnection | None = None) -> bool:
        """Write a new tenant and notify every replica. Returns False if the name is taken."""
        if connection is None:
            async with self._database.begin() as own:
                return await self.insert_tenant(tenant, connection=own)
        values = dataclasses.asdict(tenant)
        del values["ordinal"]
        result = await connection.execute(insert(tenants).values(values).on_conflict_do_nothing())
        if result.rowcount != 1:
            return False
        await notify(connection, USERS_CHANNEL, tenant.tenant_id)
        return True

    async def all_tenants(self) -> list[Tenant]:
        """Return all tenants."""
        async with self._database.connect() as connection:
            return [Tenant(**row._mapping) for row in await connection.execute(sa.select(tenants))]

    async def list_tenants(self, *, after: int, count: int) -> list[Tenant]:
        """Return the tenants with an ordinal above `after`, oldest first."""
        query = sa.select(tenants).where(tenants.c.ordinal > after).order_by(tenants.c.ordinal).limit(count)
        async with self._database.connect() as connection:
            return [Tenant(**row._mapping) for row in await connection.execute(query)]

    async def get_tenant(self, tenant_id: str) -> Tenant | None:
        """Return a tenant; None if there is no such one."""
        async with self._database.connect() as connection:
            row = (await connection.execute(sa.select(tenants).where(tenants.c.tenant_id == tenant_id))).first()
        return None if row is None else Tenant(**row._mapping)

    async def find_tenant(self, name: str) -> Tenant | None:
        """Return the tenant of that name; None if there is no such one."""
        async with self._database.connect() as connection:
            row = (await connection.execute(sa.select(tenants).where(tenants.c.name == name))).first()
        return None if row is None else Tenant(**row._mapping)

    async def insert_key(self, key: Key, *, connection: AsyncConnection | None = None) -> None:
        """Write a new key and notify every replica, in the given transaction or one of its own."""
        if connection is None:
            async with self._database.begin() as own:
                await self.insert_key(key, connection=own)
            return
        await connection.execute(api_keys.insert().values(_columns(key)))
        await notify(connection, KEYS_CHANNEL, key.key_id)

    async def list_keys(self, *, tenant_id: str, after: int, count: int) -> list[Key]:
        """Return the keys with an ordinal above `after`, oldest first; of every tenant if `tenant_id` is empty."""
        query = sa.select(api_keys).where(api_keys.c.ordinal > after).order_by(api_keys.c.ordinal).limit(count)
        if tenant_id:
            query = query.where(api_keys.c.tenant_id == tenant_id)
        async with self._database.connect() as connection:
            return [_key(row) for row in await connection.execute(query)]

    async def get_keys(self, key_ids: Sequence[str]) -> list[Key]:
        """Return those of the keys that exist."""
        query = sa.select(api_keys).where(api_keys.c.key_id.in_(key_ids))
        async with self._database.connect() as connection:
            return [_key(row) for row in await connection.execute(query)]

    async def find_keys(self, digests: Sequence[bytes]) -> list[Key]:
        """Return the keys of whose secrets, the present and the previous one, one has one of these hashes."""
        query = sa.select(api_keys).where(
            sa.or_(api_keys.c.digest.in_(digests), api_keys.c.previous_digest.in_(digests))
        )
        async with self._database.connect() as connection:
            return [_key(row) for row in await connection.execute(query)]

    async def lock_key(self, key_id: str, connection: AsyncConnection) -> Key | None:
        """Return the key, locked until the transaction ends."""
        query = sa.select(api_keys).where(api_keys.c.key_id == key_id).with_for_update()
        row = (await connection.execute(query)).first()
        return None if row is None else _key(row)

    async def revoke_keys(self, key_ids: Sequence[str], *, now_ms: int, connection: AsyncConnection) -> list[Key]:
        """Revoke these keys and all that were made with them, and notify every replica.

        Returns the keys that were not revoked before.
        """
        below = (
            sa.select(api_keys.c.key_id)
            .where(api_keys.c.key_id.in_(key_ids))
            .cte("below", recursive=True, nesting=True)
        )
        below = below.union(sa.select(api_keys.c.key_id).where(api_keys.c.parent_id == below.c.key_id))
        statement = (
            api_keys.update()
            .where(api_keys.c.key_id.in_(sa.select(below.c.key_id)), api_keys.c.revoked_at_ms == 0)
            .values(revoked_at_ms=now_ms)
            .returning(*api_keys.c)
        )
        revoked = [_key(row) for row in await connection.execute(statement)]
        for key in revoked:
            await notify(connection, KEYS_CHANNEL, key.key_id)
        return revoked

    async def keys_of_user(self, user_id: str, name: str, tenant_id: str, connection: AsyncConnection) -> list[Key]:
        """Return the keys that a user made or that act for the user, without revoked ones."""
        acts = sa.and_(api_keys.c.tenant_id == tenant_id, api_keys.c.user_id == name)
        query = sa.select(api_keys).where(sa.or_(api_keys.c.parent_id == user_id, acts), api_keys.c.revoked_at_ms == 0)
        return [_key(row) for row in await connection.execute(query)]

    async def rotate_key(
        self, key: Key, digest: bytes, hint: str, *, now_ms: int, previous_until_ms: int, connection: AsyncConnection
    ) -> Key:
        """Replace the key's secret, keep the previous one until `previous_until_ms`, and notify every replica."""
        statement = (
            api_keys.update()
            .where(api_keys.c.key_id == key.key_id)
            .values(
                digest=digest,
                hint=hint,
                rotated_at_ms=now_ms,
                previous_digest=key.digest if previous_until_ms > now_ms else None,
                previous_until_ms=previous_until_ms if previous_until_ms > now_ms else 0,
            )
            .returning(*api_keys.c)
        )
        row = (await connection.execute(statement)).one()
        await notify(connection, KEYS_CHANNEL, key.key_id)
        return _key(row)

    async def rehash_keys(self, changes: Iterable[tuple[str, bytes, bytes]]) -> None:
        """Replace the hashes of keys, given as (key id, old, new), unless a key's hash is no longer the old one."""
        async with self._database.begin() as connection:
            for key_id, old, new in changes:
                statement = (
                    api_keys.update().where(api_keys.c.key_id == key_id, api_keys.c.digest == old).values(digest=new)
                )
                if (await connection.execute(statement)).rowcount:
                    await notify(connection, KEYS_CHANNEL, key_id)

    async def all_usable(self, *, now_ms: int) -> tuple[list[Key], list[Tenant]]:
        """Return all keys that are not revoked or expired, and all tenants."""
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
    more = values.pop("more_limits")
    values["user_limits"] = Allowance.read(more.get("user", {}))
    values["route_limits"] = {route: Allowance.read(one) for route, one in more.get("routes", {}).items()}
    return Key(**values)


def _columns(key: Key) -> dict[str, object]:
    values: dict[str, object] = {
        field.name: getattr(key, field.name)
        for field in dataclasses.fields(key)
        if field.name not in ("ordinal", "user_limits", "route_limits")
    }
    values["scopes"], values["allowed_models"] = list(key.scopes), list(key.allowed_models)
    values["more_limits"] = {
        "user": key.user_limits.document(),
        "routes": {route: one.document() for route, one in key.route_limits.items()},
    }
    return values
