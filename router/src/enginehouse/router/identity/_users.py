"""Users in PostgreSQL."""

from __future__ import annotations

import dataclasses
import hashlib

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from enginehouse.router.database._listen import notify
from enginehouse.router.database.tables import users
from enginehouse.router.identity._roles import Role
from enginehouse.router.identity._store import USERS_CHANNEL


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person, or a program that an identity provider authenticates. Times are milliseconds since 1970 UTC."""

    user_id: str
    tenant_id: str
    name: str
    role: Role
    created_at_ms: int
    disabled_at_ms: int = 0
    ordinal: int = 0


def user_id_of(tenant_id: str, name: str) -> str:
    """Return the id of a user's name in a tenant, whether the user was created or only came with a token."""
    return "user_" + hashlib.sha256(f"{tenant_id}\n{name}".encode()).hexdigest()[:32]


class UserStore:
    """Reads and writes users. The caller checks the domain's rules."""

    def __init__(self, *, database: AsyncEngine) -> None:
        self._database = database

    async def insert(self, user: User, connection: AsyncConnection) -> bool:
        """Write a new user and notify every replica. Returns False if the tenant has a user of that name."""
        values = dataclasses.asdict(user)
        del values["ordinal"]
        result = await connection.execute(insert(users).values(values).on_conflict_do_nothing())
        if result.rowcount != 1:
            return False
        await notify(connection, USERS_CHANNEL, user.user_id)
        return True

    async def lock(self, user_id: str, connection: AsyncConnection) -> User | None:
        """Return the user, locked until the transaction ends."""
        query = sa.select(users).where(users.c.user_id == user_id).with_for_update()
        row = (await connection.execute(query)).first()
        return None if row is None else _user(row)

    async def change(self, user: User, connection: AsyncConnection) -> None:
        """Write the user's role and whether it is disabled, and notify every replica."""
        statement = (
            users.update()
            .where(users.c.user_id == user.user_id)
            .values(role=user.role.value, disabled_at_ms=user.disabled_at_ms)
        )
        await connection.execute(statement)
        await notify(connection, USERS_CHANNEL, user.user_id)

    async def listed(self, *, tenant_id: str, after: int, count: int) -> list[User]:
        """Return the users with an ordinal above `after`, oldest first; of every tenant if `tenant_id` is empty."""
        query = sa.select(users).where(users.c.ordinal > after).order_by(users.c.ordinal).limit(count)
        if tenant_id:
            query = query.where(users.c.tenant_id == tenant_id)
        async with self._database.connect() as connection:
            return [_user(row) for row in await connection.execute(query)]

    async def get(self, user_id: str) -> User | None:
        """Return a user; None if there is no such one."""
        async with self._database.connect() as connection:
            row = (await connection.execute(sa.select(users).where(users.c.user_id == user_id))).first()
        return None if row is None else _user(row)

    async def all(self) -> list[User]:
        """Return all users."""
        async with self._database.connect() as connection:
            return [_user(row) for row in await connection.execute(sa.select(users))]


def _user(row: sa.Row[tuple[object, ...]]) -> User:
    values = dict(row._mapping)
    values["role"] = Role(values["role"])
    return User(**values)
