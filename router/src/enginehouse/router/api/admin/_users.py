"""Users and their roles."""

from __future__ import annotations

import dataclasses

from sqlalchemy.ext.asyncio import AsyncConnection

from enginehouse.api.router.v1 import identity_pb2 as pb
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.validation import Checks
from enginehouse.router.api.access import Administrator
from enginehouse.router.api.admin._keys import KeyAdmin
from enginehouse.router.api.fields import PERSON, check_id
from enginehouse.router.api.paging import ordinal_start, page_size, page_token
from enginehouse.router.audit import AuditRecorder
from enginehouse.router.clock import Clock
from enginehouse.router.identity import ROLE_SCOPES, Key, KeyStore, Role, User, UserIndex, UserStore, user_id_of

_ROLES = {
    pb.ROLE_VIEWER: Role.VIEWER,
    pb.ROLE_DEVELOPER: Role.DEVELOPER,
    pb.ROLE_ADMIN: Role.ADMIN,
    pb.ROLE_OWNER: Role.OWNER,
}
_ROLE_NUMBERS = {role: number for number, role in _ROLES.items()}


class UserAdmin:
    """Makes users, changes their roles, shuts them out. Nobody makes or touches a user of a role above their own."""

    def __init__(
        self,
        *,
        users: UserStore,
        tenants: KeyStore,
        keys: KeyAdmin,
        user_index: UserIndex,
        recorder: AuditRecorder,
        clock: Clock,
    ) -> None:
        self._users = users
        self._tenants = tenants
        self._keys = keys
        self._user_index = user_index
        self._recorder = recorder
        self._clock = clock

    async def create(self, request: pb.CreateUserRequest, caller: Administrator) -> pb.CreateUserResponse:
        """Make a user. Raises INVALID_REQUEST, NOT_FOUND, ALREADY_EXISTS or SCOPE_DENIED."""
        checks = Checks()
        checks.matches("name", request.name, PERSON, "1-128 printable ASCII characters without spaces")
        checks.require(request.role in _ROLES, "role", "must be VIEWER, DEVELOPER, ADMIN or OWNER")
        checks.done()
        check_id("tenant_id", request.tenant_id)
        role = _ROLES[request.role]
        caller.require_scopes(ROLE_SCOPES[role], f"the role {role.value}")
        tenant_id = caller.tenant_of_change(request.tenant_id)
        if await self._tenants.get_tenant(tenant_id) is None:
            raise ServiceError(Reason.NOT_FOUND, f"no tenant {tenant_id!r}; list them with ListTenants")
        user = User(
            user_id=user_id_of(tenant_id, request.name),
            tenant_id=tenant_id,
            name=request.name,
            role=role,
            created_at_ms=self._clock(),
        )
        async with self._tenants.transaction() as connection:
            if not await self._users.insert(user, connection):
                raise ServiceError(
                    Reason.ALREADY_EXISTS,
                    f"the tenant has a user named {request.name!r}; change its role with SetUserRole",
                )
            # Its user may have come with tokens before, in a role that a provider gave.
            revoked = await self._revoke_beyond(user, connection)
            await self._record(connection, None, user)
        self._user_index.put_user(user)
        self._keys.drop(revoked)
        return pb.CreateUserResponse(user=_message(user))

    async def listed(self, request: pb.ListUsersRequest, caller: Administrator) -> pb.ListUsersResponse:
        """List users of one tenant or all."""
        size = page_size(request.page_size)
        tenant_id = caller.tenant_filter(request.tenant_id)
        check_id("tenant_id", tenant_id)
        listing = f"users/{tenant_id}"
        found = await self._users.listed(
            tenant_id=tenant_id, after=ordinal_start(request.page_token, listing), count=size + 1
        )
        more = len(found) > size
        found = found[:size]
        return pb.ListUsersResponse(
            users=[_message(user) for user in found],
            next_page_token=page_token(listing, str(found[-1].ordinal)) if more else "",
        )

    async def set_role(self, request: pb.SetUserRoleRequest, caller: Administrator) -> pb.SetUserRoleResponse:
        """Give a user another role. Raises INVALID_REQUEST, NOT_FOUND or SCOPE_DENIED."""
        checks = Checks()
        checks.require(request.role in _ROLES, "role", "must be VIEWER, DEVELOPER, ADMIN or OWNER")
        checks.done()
        role = _ROLES[request.role]
        caller.require_scopes(ROLE_SCOPES[role], f"the role {role.value}")
        async with self._tenants.transaction() as connection:
            user = await self._held(request.user_id, caller, connection)
            changed = dataclasses.replace(user, role=role)
            await self._users.change(changed, connection)
            revoked = await self._revoke_beyond(changed, connection)
            await self._record(connection, user, changed)
        self._user_index.put_user(changed)
        self._keys.drop(revoked)
        return pb.SetUserRoleResponse(user=_message(changed), revoked_key_ids=[key.key_id for key in revoked])

    async def disable(self, request: pb.DisableUserRequest, caller: Administrator) -> pb.DisableUserResponse:
        """Shut a user out. Raises NOT_FOUND or SCOPE_DENIED."""
        async with self._tenants.transaction() as connection:
            user = await self._held(request.user_id, caller, connection)
            changed = dataclasses.replace(user, disabled_at_ms=user.disabled_at_ms or self._clock())
            await self._users.change(changed, connection)
            keys = await self._tenants.keys_of_user(user.user_id, user.name, user.tenant_id, connection)
            revoked = await self._keys.revoke_all(keys, connection)
            await self._record(connection, user, changed)
        self._user_index.put_user(changed)
        self._keys.drop(revoked)
        return pb.DisableUserResponse(user=_message(changed), revoked_key_ids=[key.key_id for key in revoked])

    async def enable(self, request: pb.EnableUserRequest, caller: Administrator) -> pb.EnableUserResponse:
        """Let a user in again. Raises NOT_FOUND or SCOPE_DENIED."""
        async with self._tenants.transaction() as connection:
            user = await self._held(request.user_id, caller, connection)
            changed = dataclasses.replace(user, disabled_at_ms=0)
            await self._users.change(changed, connection)
            await self._record(connection, user, changed)
        self._user_index.put_user(changed)
        return pb.EnableUserResponse(user=_message(changed))

    async def _held(self, user_id: str, caller: Administrator, connection: AsyncConnection) -> User:
        check_id("user_id", user_id, required=True)
        user = await self._users.lock(user_id, connection)
        if user is None or not caller.sees(user.tenant_id):
            raise ServiceError(Reason.NOT_FOUND, f"no user {user_id!r}; list them with ListUsers")
        caller.require_scopes(ROLE_SCOPES[user.role], f"the role {user.role.value}")
        return user

    async def _revoke_beyond(self, user: User, connection: AsyncConnection) -> list[Key]:
        keys = await self._tenants.keys_of_user(user.user_id, user.name, user.tenant_id, connection)
        beyond = [key for key in keys if not set(key.scopes) <= set(ROLE_SCOPES[user.role])]
        return await self._keys.revoke_all(beyond, connection)

    async def _record(self, connection: AsyncConnection, before: User | None, after: User) -> None:
        await self._recorder.write(
            connection,
            tenant_id=after.tenant_id,
            target_id=after.user_id,
            before=None if before is None else _document(before),
            after=_document(after),
        )


def _message(user: User) -> pb.User:
    return pb.User(
        user_id=user.user_id,
        tenant_id=user.tenant_id,
        name=user.name,
        role=_ROLE_NUMBERS[user.role],
        created_at_ms=user.created_at_ms,
        disabled_at_ms=user.disabled_at_ms,
    )


def _document(user: User) -> dict[str, object]:
    return {"name": user.name, "role": user.role.value, "disabled_at_ms": user.disabled_at_ms}
