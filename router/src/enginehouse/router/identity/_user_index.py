"""Tenants and users in memory, and the callers that represent users who come with tokens."""

from __future__ import annotations

import dataclasses

from enginehouse.api.router.v1 import grant_pb2
from enginehouse.router.database import ChangeReader, Changes
from enginehouse.router.identity._index import Caller
from enginehouse.router.identity._roles import ROLE_SCOPES, Role
from enginehouse.router.identity._store import Key, KeyStore, Tenant
from enginehouse.router.identity._users import User, UserStore, user_id_of

# The most callers that are kept, so that each user stays one object; beyond it the oldest is dropped.
_MAX_CALLERS = 100_000


@dataclasses.dataclass(frozen=True, slots=True)
class TokenUser:
    """The user of a token: a tenant's name or id, a user's name, and the role that the token gives, if any."""

    tenant: str
    name: str
    role: Role | None


class UserIndex:
    """All tenants and users. `changed` fetches one again on a notification; `reload` replaces everything."""

    def __init__(self, *, tenants: KeyStore, users: UserStore) -> None:
        self._tenant_store = tenants
        self._user_store = users
        self._tenants: dict[str, Tenant] = {}
        self._tenant_ids: dict[str, str] = {}
        self._users: dict[str, User] = {}
        self._callers: dict[str, tuple[Role, Caller]] = {}
        self._changes = Changes()
        self._reader = ChangeReader(read=self._take, what="user")

    def tenant(self, tenant_id: str) -> Tenant | None:
        """Return the tenant with that id."""
        return self._tenants.get(tenant_id)

    def user(self, user_id: str) -> User | None:
        """Return the user with that id, if it was created."""
        return self._users.get(user_id)

    def caller(self, token: TokenUser) -> Caller | None:
        """Return the caller for a token's user. A role that was set here takes precedence over the token's.

        None if there is no such tenant, or the user is disabled or has no role.
        """
        tenant = self._tenants.get(self._tenant_ids.get(token.tenant, token.tenant))
        if tenant is None:
            return None
        user_id = user_id_of(tenant.tenant_id, token.name)
        user = self._users.get(user_id)
        role = token.role if user is None else user.role
        if role is None or (user is not None and user.disabled_at_ms):
            return None
        known = self._callers.get(user_id)
        if known is not None and known[0] is role:
            return known[1]
        if len(self._callers) >= _MAX_CALLERS and user_id not in self._callers:
            del self._callers[next(iter(self._callers))]
        caller = Caller(_key_of(user_id, tenant, token.name, ROLE_SCOPES[role]), tenant)
        self._callers[user_id] = role, caller
        return caller

    def get(self, user_id: str) -> Caller | None:
        """Return the caller for a user who was created, or who has come with a token."""
        user = self._users.get(user_id)
        if user is not None:
            return self.caller(TokenUser(user.tenant_id, user.name, None))
        known = self._callers.get(user_id)
        return known[1] if known is not None else None

    def of_principal(self, principal: grant_pb2.Principal) -> Caller | None:
        """Return the caller for a token's user as the replica that verified the token made it."""
        tenant = self._tenants.get(principal.tenant_id)
        if tenant is None:
            return None
        return Caller(_key_of(principal.key_id, tenant, principal.user_id, tuple(principal.scopes)), tenant)

    async def reload(self) -> None:
        """Read everything again."""
        (tenants, users), changed = await self._changes.whole(self._read_all)
        kept_tenants = [tenant for tenant in self._tenants.values() if tenant.tenant_id in changed]
        kept_users = [user for user in self._users.values() if user.user_id in changed]
        tenants = [*(tenant for tenant in tenants if tenant.tenant_id not in changed), *kept_tenants]
        users = [*(user for user in users if user.user_id not in changed), *kept_users]
        self._tenants = {tenant.tenant_id: tenant for tenant in tenants}
        self._tenant_ids = {tenant.name: tenant.tenant_id for tenant in tenants}
        self._users = {user.user_id: user for user in users}
        self._callers = {}

    def changed(self, changed_id: str) -> None:
        """Read a tenant or user in the background, because it was created or changed."""
        self._changes.note(changed_id)
        self._reader.changed(changed_id)

    def put_user(self, user: User) -> None:
        """Add or replace a user."""
        self._changes.note(user.user_id)
        self._users[user.user_id] = user
        self._callers.pop(user.user_id, None)

    def put_tenant(self, tenant: Tenant) -> None:
        """Add or replace a tenant."""
        self._changes.note(tenant.tenant_id)
        self._tenants[tenant.tenant_id] = tenant
        self._tenant_ids[tenant.name] = tenant.tenant_id

    async def close(self) -> None:
        """Cancel the reads that are in progress."""
        await self._reader.close()

    async def _take(self, changed_id: str) -> None:
        """Read a tenant or user and put it in its place."""
        if changed_id.startswith("user_"):
            user = await self._changes.latest(changed_id, lambda: self._user_store.get(changed_id))
            if user is not None:
                self.put_user(user)
            return
        tenant = await self._changes.latest(changed_id, lambda: self._tenant_store.get_tenant(changed_id))
        if tenant is not None:
            self.put_tenant(tenant)

    async def _read_all(self) -> tuple[list[Tenant], list[User]]:
        return await self._tenant_store.all_tenants(), await self._user_store.all()


def _key_of(user_id: str, tenant: Tenant, name: str, scopes: tuple[str, ...]) -> Key:
    return Key(
        key_id=user_id,
        tenant_id=tenant.tenant_id,
        name=name,
        digest=b"",
        hint="",
        scopes=scopes,
        allowed_models=(),
        requests_per_minute=0,
        tokens_per_minute=0,
        concurrency=0,
        created_at_ms=0,
        expires_at_ms=0,
        revoked_at_ms=0,
        user_id=name,
    )
