"""Users, roles, rotation, keys of runs and the audit log, with asyncio. Answers are the contract's own messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc

from enginehouse.api.router.v1 import admin_pb2, identity_pb2, identity_pb2_grpc
from enginehouse.client.requests import identity as identity_requests


class AsyncIdentity:
    """Who may do what, and who did it. Each method says in the contract what it needs.

    Lists are fetched page by page as they are iterated. Every method raises EnginehouseError.
    """

    def __init__(self, channel: grpc.aio.Channel, unary: Callable[..., Awaitable[Any]]) -> None:
        self._stub = identity_pb2_grpc.IdentityServiceStub(channel)
        self._unary = unary

    async def caller(self) -> identity_pb2.GetCallerResponse:
        """Who this client calls as."""
        answer: identity_pb2.GetCallerResponse = await self._unary(
            self._stub.GetCaller, identity_pb2.GetCallerRequest()
        )
        return answer

    async def create_user(self, name: str, *, role: str, tenant_id: str = "") -> identity_pb2.User:
        """Makes a user; role is viewer, developer, admin or owner. Raises ValueError for another word."""
        request = identity_pb2.CreateUserRequest(tenant_id=tenant_id, name=name, role=identity_requests.role(role))
        answer: identity_pb2.CreateUserResponse = await self._unary(self._stub.CreateUser, request)
        return answer.user

    async def list_users(self, *, tenant_id: str = "") -> AsyncIterator[identity_pb2.User]:
        """Users, oldest first."""
        request = identity_pb2.ListUsersRequest(tenant_id=tenant_id, page_size=1000)
        async for page in self._pages(self._stub.ListUsers, request):
            for each in page.users:
                yield each

    async def set_role(self, user_id: str, role: str) -> identity_pb2.SetUserRoleResponse:
        """Gives a user another role; says which keys were revoked with it. Raises ValueError for another word."""
        request = identity_pb2.SetUserRoleRequest(user_id=user_id, role=identity_requests.role(role))
        answer: identity_pb2.SetUserRoleResponse = await self._unary(self._stub.SetUserRole, request)
        return answer

    async def disable_user(self, user_id: str) -> identity_pb2.DisableUserResponse:
        """Shuts a user out; says which keys were revoked with it."""
        answer: identity_pb2.DisableUserResponse = await self._unary(
            self._stub.DisableUser, identity_pb2.DisableUserRequest(user_id=user_id)
        )
        return answer

    async def enable_user(self, user_id: str) -> identity_pb2.User:
        """Lets a user in again."""
        answer: identity_pb2.EnableUserResponse = await self._unary(
            self._stub.EnableUser, identity_pb2.EnableUserRequest(user_id=user_id)
        )
        return answer.user

    async def rotate_key(self, key_id: str, *, overlap_s: int | None = None) -> identity_pb2.RotateKeyResponse:
        """Gives a key a new secret, shown this once; the old one works for `overlap_s` seconds more, else for a day."""
        request = identity_pb2.RotateKeyRequest(key_id=key_id, overlap_seconds=overlap_s)
        answer: identity_pb2.RotateKeyResponse = await self._unary(self._stub.RotateKey, request)
        return answer

    async def create_run_key(
        self,
        run_id: str,
        *,
        lifetime_s: int = 0,
        budget_nanos: int | None = None,
        allowed_models: Sequence[str] = (),
        limits: admin_pb2.Limits | None = None,
    ) -> identity_pb2.CreateRunKeyResponse:
        """Makes a key for one run, good for `lifetime_s` seconds (0: an hour), within what the caller may."""
        request = identity_pb2.CreateRunKeyRequest(
            run_id=run_id,
            lifetime_seconds=lifetime_s,
            budget_nanos=budget_nanos,
            allowed_models=allowed_models,
            limits=limits,
        )
        answer: identity_pb2.CreateRunKeyResponse = await self._unary(self._stub.CreateRunKey, request)
        return answer

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
        """The audit log, newest first; outcome is done, denied, failed or empty. Raises ValueError for another word."""
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
        async for page in self._pages(self._stub.ListAudit, request):
            for each in page.entries:
                yield each

    async def verify_audit(
        self, *, expected_sequence: int = 0, expected_seal: str = ""
    ) -> identity_pb2.VerifyAuditResponse:
        """Whether the audit log is as it was written, and still holds the entry noted earlier."""
        request = identity_pb2.VerifyAuditRequest(expected_sequence=expected_sequence, expected_seal=expected_seal)
        answer: identity_pb2.VerifyAuditResponse = await self._unary(self._stub.VerifyAudit, request)
        return answer

    async def _pages(self, method: Callable[..., Any], request: Any) -> AsyncIterator[Any]:
        while True:
            page = await self._unary(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
