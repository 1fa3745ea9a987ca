"""Serves IdentityService: who calls, then the part that knows."""

from __future__ import annotations

import contextlib
from typing import Any

from enginehouse.api.router.v1 import identity_pb2 as pb
from enginehouse.api.router.v1 import identity_pb2_grpc
from enginehouse.router.api.access import Access, Administrator
from enginehouse.router.api.admin._audit import AuditAdmin
from enginehouse.router.api.admin._authorized_call import authorized_call
from enginehouse.router.api.admin._keys import KeyAdmin
from enginehouse.router.api.admin._users import UserAdmin
from enginehouse.router.identity import Authenticator

_PREFIX = "/enginehouse.api.router.v1.IdentityService/"


class IdentityServicer(identity_pb2_grpc.IdentityServiceServicer):
    """Every method raises LEDGER_UNAVAILABLE while PostgreSQL is away."""

    def __init__(
        self, *, access: Access, callers: Authenticator, users: UserAdmin, keys: KeyAdmin, audit: AuditAdmin
    ) -> None:
        self._access = access
        self._callers = callers
        self._users = users
        self._keys = keys
        self._audit = audit

    async def GetCaller(self, request: pb.GetCallerRequest, context: Any) -> pb.GetCallerResponse:
        """Return who calls."""
        with self._caller(context, "GetCaller") as caller:
            known = self._callers.get(caller.key_id)
            return pb.GetCallerResponse(
                tenant_id=caller.tenant_id,
                key_id=caller.key_id,
                user_id=caller.user,
                run_id=known.key.run_id if known is not None else "",
                scopes=sorted(caller.scopes),
            )

    async def CreateUser(self, request: pb.CreateUserRequest, context: Any) -> pb.CreateUserResponse:
        """Make a user."""
        with self._caller(context, "CreateUser") as caller:
            return await self._users.create(request, caller)

    async def ListUsers(self, request: pb.ListUsersRequest, context: Any) -> pb.ListUsersResponse:
        """List users."""
        with self._caller(context, "ListUsers") as caller:
            return await self._users.listed(request, caller)

    async def SetUserRole(self, request: pb.SetUserRoleRequest, context: Any) -> pb.SetUserRoleResponse:
        """Change a role."""
        with self._caller(context, "SetUserRole") as caller:
            return await self._users.set_role(request, caller)

    async def DisableUser(self, request: pb.DisableUserRequest, context: Any) -> pb.DisableUserResponse:
        """Shut a user out."""
        with self._caller(context, "DisableUser") as caller:
            return await self._users.disable(request, caller)

    async def EnableUser(self, request: pb.EnableUserRequest, context: Any) -> pb.EnableUserResponse:
        """Let a user in again."""
        with self._caller(context, "EnableUser") as caller:
            return await self._users.enable(request, caller)

    async def RotateKey(self, request: pb.RotateKeyRequest, context: Any) -> pb.RotateKeyResponse:
        """Give a key a new secret."""
        with self._caller(context, "RotateKey") as caller:
            return await self._keys.rotate(request, caller)

    async def CreateRunKey(self, request: pb.CreateRunKeyRequest, context: Any) -> pb.CreateRunKeyResponse:
        """Make a key for a run."""
        with self._caller(context, "CreateRunKey") as caller:
            return await self._keys.create_for_run(request, caller)

    async def ListAudit(self, request: pb.ListAuditRequest, context: Any) -> pb.ListAuditResponse:
        """List the audit log."""
        with self._caller(context, "ListAudit") as caller:
            return await self._audit.listed(request, caller)

    async def VerifyAudit(self, request: pb.VerifyAuditRequest, context: Any) -> pb.VerifyAuditResponse:
        """Verify the audit log."""
        with self._caller(context, "VerifyAudit"):
            return await self._audit.verify(request)

    def _caller(self, context: Any, method: str) -> contextlib.AbstractContextManager[Administrator]:
        return authorized_call(self._access, context, _PREFIX + method)
