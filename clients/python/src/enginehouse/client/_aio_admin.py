"""Administration, with asyncio. Requests and answers are the contract's own messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc

from enginehouse.api.router.v1 import admin_pb2, admin_pb2_grpc
from enginehouse.client.requests import admin as admin_requests


class AsyncAdmin:
    """Tenants, keys, budgets, the catalog, decisions explained and money spent; the key needs the scope `admin`.

    Lists are fetched page by page as they are iterated. Every method raises EnginehouseError.
    """

    def __init__(self, channel: grpc.aio.Channel, unary: Callable[..., Awaitable[Any]]) -> None:
        self._stub = admin_pb2_grpc.AdminServiceStub(channel)
        self._unary = unary

    async def create_tenant(self, name: str, *, tier: str = "free") -> admin_pb2.Tenant:
        """Makes a tenant; tier is free, starter, pro or enterprise."""
        answer: admin_pb2.CreateTenantResponse = await self._unary(
            self._stub.CreateTenant, admin_pb2.CreateTenantRequest(name=name, tier=tier)
        )
        return answer.tenant

    async def list_tenants(self) -> AsyncIterator[admin_pb2.Tenant]:
        """Every tenant, oldest first."""
        async for page in self._pages(self._stub.ListTenants, admin_pb2.ListTenantsRequest(page_size=1000)):
            for each in page.tenants:
                yield each

    async def create_key(
        self,
        name: str,
        *,
        tenant_id: str = "",
        scopes: Sequence[str] = (),
        budget_nanos: int | None = None,
        limits: admin_pb2.Limits | None = None,
        allowed_models: Sequence[str] = (),
        expires_at_ms: int = 0,
        max_request_nanos: int = 0,
        run_cap_nanos: int = 0,
        role: str = "",
        user_id: str = "",
        user_limits: admin_pb2.Limits | None = None,
        route_limits: Sequence[admin_pb2.RouteLimits] = (),
    ) -> admin_pb2.CreateKeyResponse:
        """Makes a key. The answer's `secret` is the key itself, shown this once; `budget_nanos` bounds its lifetime,
        `max_request_nanos` each of its requests, and `run_cap_nanos` each of its runs (0: unbounded). `role` stands
        for scopes; `user_id` is the name of the user that it acts for, `user_limits` bound each user that its requests
        name.
        """
        request = admin_pb2.CreateKeyRequest(
            name=name,
            tenant_id=tenant_id,
            scopes=scopes,
            limits=limits,
            allowed_models=allowed_models,
            expires_at_ms=expires_at_ms,
            budget_nanos=budget_nanos,
            max_request_nanos=max_request_nanos,
            run_cap_nanos=run_cap_nanos,
            role=role,
            user_id=user_id,
            user_limits=user_limits,
            route_limits=route_limits,
        )
        answer: admin_pb2.CreateKeyResponse = await self._unary(self._stub.CreateKey, request)
        return answer

    async def list_keys(self, *, tenant_id: str = "") -> AsyncIterator[admin_pb2.Key]:
        """Keys, oldest first, without the keys themselves."""
        request = admin_pb2.ListKeysRequest(tenant_id=tenant_id, page_size=1000)
        async for page in self._pages(self._stub.ListKeys, request):
            for each in page.keys:
                yield each

    async def revoke_key(self, key_id: str) -> admin_pb2.Key:
        """Revokes a key everywhere within a second."""
        answer: admin_pb2.RevokeKeyResponse = await self._unary(
            self._stub.RevokeKey, admin_pb2.RevokeKeyRequest(key_id=key_id)
        )
        return answer.key

    async def set_budget(
        self,
        *,
        scope: str,
        scope_id: str,
        limit_nanos: int,
        window: str = "lifetime",
        alert_percents: Sequence[int] = (),
    ) -> admin_pb2.Budget:
        """Makes or changes a budget: scope tenant, key, user or run; window lifetime, day or month (UTC).

        `alert_percents` of the limit raise an alert; empty leaves them as they are.

        Raises:
            ValueError: scope or window is none of these words.
        """
        request = admin_requests.set_budget(
            scope=scope, scope_id=scope_id, limit_nanos=limit_nanos, window=window, alert_percents=alert_percents
        )
        answer: admin_pb2.SetBudgetResponse = await self._unary(self._stub.SetBudget, request)
        return answer.budget

    async def list_budgets(self, *, scope_id: str = "") -> AsyncIterator[admin_pb2.Budget]:
        """Budgets with what is spent and held of them now; of one tenant, key, user or run, or all."""
        request = admin_pb2.ListBudgetsRequest(scope_id=scope_id, page_size=1000)
        async for page in self._pages(self._stub.ListBudgets, request):
            for each in page.budgets:
                yield each

    async def delete_budget(self, budget_id: str) -> None:
        """Removes a budget; what was spent stays on record."""
        await self._unary(self._stub.DeleteBudget, admin_pb2.DeleteBudgetRequest(budget_id=budget_id))

    async def list_models(self) -> AsyncIterator[admin_pb2.CatalogModel]:
        """The catalog with prices and live endpoints, by name."""
        async for page in self._pages(self._stub.ListModels, admin_pb2.ListModelsRequest(page_size=1000)):
            for each in page.models:
                yield each

    async def explain(
        self,
        prompt: str,
        *,
        model: str = "auto",
        key_id: str = "",
        method: str = "",
        max_output_tokens: int = 0,
        task: str = "",
        subject: str = "",
    ) -> admin_pb2.ExplainResponse:
        """What the router would decide for a request, and why; reserves nothing."""
        request = admin_pb2.ExplainRequest(
            key_id=key_id,
            method=method,
            model=model,
            prompt=prompt,
            max_output_tokens=max_output_tokens,
            task=task,
            subject=subject,
        )
        answer: admin_pb2.ExplainResponse = await self._unary(self._stub.Explain, request)
        return answer

    async def spend(
        self,
        *,
        tenant_id: str = "",
        key_id: str = "",
        user_id: str = "",
        run_id: str = "",
        model: str = "",
        service: str = "",
        from_ms: int = 0,
        until_ms: int = 0,
        group_by: str = "",
    ) -> admin_pb2.QuerySpendResponse:
        """What was settled, exact to the nano-dollar; group_by is tenant, key, user, run, model, service, day, hour
        or empty.

        Raises:
            ValueError: group_by is none of these words.
        """
        request = admin_requests.query_spend(
            tenant_id=tenant_id,
            key_id=key_id,
            user_id=user_id,
            run_id=run_id,
            model=model,
            service=service,
            from_ms=from_ms,
            until_ms=until_ms,
            group_by=group_by,
        )
        request.page_size = 10_000
        whole = admin_pb2.QuerySpendResponse()
        async for page in self._pages(self._stub.QuerySpend, request):
            whole.rows.extend(page.rows)
            whole.total_nanos = page.total_nanos
        return whole

    async def _pages(self, method: Callable[..., Any], request: Any) -> AsyncIterator[Any]:
        while True:
            page = await self._unary(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
