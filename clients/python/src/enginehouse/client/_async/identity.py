"""Users, roles, key rotation, run keys and the audit log. Responses are the contract's own messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from enginehouse.api.router.v1 import admin_pb2, identity_pb2, identity_pb2_grpc
from enginehouse.client._async.transport import AsyncTransport
from enginehouse.client.requests import identity as identity_requests


class AsyncIdentity:
    """Users and their roles, keys, and the audit log. The contract documents the permission that each method needs.

    Lists are fetched page by page as they are iterated. Every method raises EnginehouseError.
    """

    def __init__(self, *, transport: AsyncTransport) -> None:
        self._transport = transport
        self._stub = identity_pb2_grpc.IdentityServiceStub(transport.channel)

    async def caller(self) -> identity_pb2.GetCallerResponse:
        """Return the identity that this client calls with."""
        return await self._transport.unary(self._stub.GetCaller, identity_pb2.GetCallerRequest())

    async def create_user(self, name: str, *, role: str, tenant_id: str = "") -> identity_pb2.User:
        """Create a user. The role is viewer, developer, admin or owner; another one raises ValueError."""
        request = identity_pb2.CreateUserRequest(tenant_id=tenant_id, name=name, role=identity_requests.role(role))
        response = await self._transport.unary(self._stub.CreateUser, request)
        return response.user

    async def list_users(self, *, tenant_id: str = "") -> AsyncIterator[identity_pb2.User]:
        """List users, oldest first."""
        request = identity_pb2.ListUsersRequest(tenant_id=tenant_id, page_size=1000)
        async for page in self._transport.pages(self._stub.ListUsers, request):
            for user in page.users:
                yield user

    async def set_role(self, user_id: str, role: str) -> identity_pb2.SetUserRoleResponse:
        """Give a user another role. The response names the keys revoked with it. An unknown role raises ValueError."""
        request = identity_pb2.SetUserRoleRequest(user_id=user_id, role=identity_requests.role(role))
        return await self._transport.unary(self._stub.SetUserRole, request)

    async def disable_user(self, user_id: str) -> identity_pb2.DisableUserResponse:
        """Disable a user. The response names the keys revoked with it."""
        return await self._transport.unary(self._stub.DisableUser, identity_pb2.DisableUserRequest(user_id=user_id))

    async def enable_user(self, user_id: str) -> identity_pb2.User:
        """Enable a disabled user."""
        request = identity_pb2.EnableUserRequest(user_id=user_id)
        response = await self._transport.unary(self._stub.EnableUser, request)
        return response.user

    async def rotate_key(self, key_id: str, *, overlap_s: int | None = None) -> identity_pb2.RotateKeyResponse:
        """Give a key a new secret, shown this once. The old one works for `overlap_s` more seconds (None: a day)."""
        request = identity_pb2.RotateKeyRequest(key_id=key_id, overlap_seconds=overlap_s)
        return await self._transport.unary(self._stub.RotateKey, request)

    async def create_run_key(
        self,
        run_id: str,
        *,
        lifetime_s: int = 0,
        budget_nanos: int | None = None,
        allowed_models: Sequence[str] = (),
        limits: admin_pb2.Limits | None = None,
    ) -> identity_pb2.CreateRunKeyResponse:
        """Create a key for one run, valid for `lifetime_s` seconds (0: an hour), within the caller's own rights."""
        request = identity_pb2.CreateRunKeyRequest(
            run_id=run_id,
            lifetime_seconds=lifetime_s,
            budget_nanos=budget_nanos,
            allowed_models=allowed_models,
            limits=limits,
        )
        return await self._transport.unary(self._stub.CreateRunKey, request)

    async def audit(
        self,
        *,
        tenant_id: str = "",
        actor_id: str = "",
        action: str = "",
        target_id: str = "",
        outcome: str = "",
        from_ms: int = 0,
        until_ms: int = 0,
    ) -> AsyncIterator[identity_pb2.AuditEntry]:
        """List the audit log, newest first. The outcome is done, denied, failed or empty; another raises ValueError."""
        request = identity_pb2.ListAuditRequest(
            tenant_id=tenant_id,
            actor_id=actor_id,
            action=action,
            target_id=target_id,
            outcome=identity_requests.outcome(outcome),
            from_ms=from_ms,
            until_ms=until_ms,
            page_size=1000,
        )
        async for page in self._transport.pages(self._stub.ListAudit, request):
            for entry in page.entries:
                yield entry

    async def verify_audit(
        self, *, expected_sequence: int = 0, expected_seal: str = ""
    ) -> identity_pb2.VerifyAuditResponse:
        """Verify that the audit log is unchanged and still holds the entry noted earlier."""
        request = identity_pb2.VerifyAuditRequest(expected_sequence=expected_sequence, expected_seal=expected_seal)
        return await self._transport.unary(self._stub.VerifyAudit, request)
