# Generated from _async/admin.py by clients/python/unasync.py (`make client`). Do not edit.
"""Administration of tenants, keys, budgets and the catalog. Responses are the contract's own messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from enginehouse.api.router.v1 import admin_pb2, admin_pb2_grpc
from enginehouse.client._sync.transport import Transport
from enginehouse.client.requests import admin as admin_requests


class Admin:
    """Tenants, keys, budgets, the catalog, routing decisions and spend; the key needs the scope `admin`.

    Lists are fetched page by page as they are iterated. Every method raises EnginehouseError.
    """

    def __init__(self, *, transport: Transport) -> None:
        self._transport = transport
        self._stub = admin_pb2_grpc.AdminServiceStub(transport.channel)

    def create_tenant(self, name: str, *, tier: str = "free") -> admin_pb2.Tenant:
        """Create a tenant. The tier is free, starter, pro or enterprise."""
        request = admin_pb2.CreateTenantRequest(name=name, tier=tier)
        response = self._transport.unary(self._stub.CreateTenant, request)
        return response.tenant

    def list_tenants(self) -> Iterator[admin_pb2.Tenant]:
        """List all tenants, oldest first."""
        for page in self._transport.pages(self._stub.ListTenants, admin_pb2.ListTenantsRequest(page_size=1000)):
            yield from page.tenants

    def create_key(
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
        """Create a key. The response's `secret` is the key itself, shown this once.

        Args:
            name: the key's name, for people; 1-64 characters.
            tenant_id: the tenant that pays; empty for the caller's.
            scopes: the key's scopes, within the caller's; empty for inference and spend.
            budget_nanos: the budget for the key's lifetime, where 0 is a budget of nothing; None for no budget.
            limits: the rate limits of the key.
            allowed_models: the models that it may use; empty for those of the tier.
            expires_at_ms: the end of its validity, in milliseconds since 1970 UTC; 0 for none.
            max_request_nanos: the most that each of its requests may cost; 0 for no cap.
            run_cap_nanos: the budget of each of its runs; 0 for none.
            role: a role whose scopes it gets, instead of `scopes`: viewer, developer, admin or owner.
            user_id: the name of the user that the key acts for, within the user's role.
            user_limits: the rate limits of each user that its requests name.
            route_limits: its rate limits by route; at most 32.
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
        return self._transport.unary(self._stub.CreateKey, request)

    def list_keys(self, *, tenant_id: str = "") -> Iterator[admin_pb2.Key]:
        """List keys, oldest first, without their secrets."""
        request = admin_pb2.ListKeysRequest(tenant_id=tenant_id, page_size=1000)
        for page in self._transport.pages(self._stub.ListKeys, request):
            yield from page.keys

    def revoke_key(self, key_id: str) -> admin_pb2.Key:
        """Revoke a key everywhere within a second."""
        response = self._transport.unary(self._stub.RevokeKey, admin_pb2.RevokeKeyRequest(key_id=key_id))
        return response.key

    def set_budget(
        self,
        *,
        scope: str,
        scope_id: str,
        limit_nanos: int,
        window: str = "lifetime",
        alert_percents: Sequence[int] = (),
    ) -> admin_pb2.Budget:
        """Create or change a budget.

        Args:
            scope: tenant, key, user or run.
            scope_id: the tenant, key, user or run.
            limit_nanos: the limit in nano-dollars.
            window: lifetime, day or month (UTC).
            alert_percents: the percentages of the limit that raise an alert; empty leaves them as they are.

        Raises:
            ValueError: the scope or the window is unknown.
        """
        request = admin_requests.set_budget(
            scope=scope, scope_id=scope_id, limit_nanos=limit_nanos, window=window, alert_percents=alert_percents
        )
        response = self._transport.unary(self._stub.SetBudget, request)
        return response.budget

    def list_budgets(self, *, scope_id: str = "") -> Iterator[admin_pb2.Budget]:
        """List the budgets of one tenant, key, user or run, or all, with the amounts spent and held now."""
        request = admin_pb2.ListBudgetsRequest(scope_id=scope_id, page_size=1000)
        for page in self._transport.pages(self._stub.ListBudgets, request):
            yield from page.budgets

    def delete_budget(self, budget_id: str) -> None:
        """Delete a budget. Its spend stays on record."""
        self._transport.unary(self._stub.DeleteBudget, admin_pb2.DeleteBudgetRequest(budget_id=budget_id))

    def list_models(self) -> Iterator[admin_pb2.CatalogModel]:
        """List the catalog with prices and live endpoints, by name."""
        for page in self._transport.pages(self._stub.ListModels, admin_pb2.ListModelsRequest(page_size=1000)):
            yield from page.models

    def explain(
        self,
        prompt: str,
        *,
        model: str = "auto",
        key_id: str = "",
        method: str = "",
        max_output_tokens: int = 0,
        task: str = "",
        subject: str = "",
        language: str = "",
        voice: str = "",
    ) -> admin_pb2.ExplainResponse:
        """Return the router's decision for a request, with its reasons. Nothing is reserved."""
        request = admin_pb2.ExplainRequest(
            key_id=key_id,
            method=method,
            model=model,
            prompt=prompt,
            max_output_tokens=max_output_tokens,
            task=task,
            subject=subject,
            language=language,
            voice=voice,
        )
        return self._transport.unary(self._stub.Explain, request)

    def spend(
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
        """Return the settled spend, exact to the nano-dollar, with all its rows.

        Args:
            tenant_id: only this tenant's spend.
            key_id, user_id, run_id, model, service: likewise.
            from_ms: only spend settled from this time on, in milliseconds since 1970 UTC; 0 for the beginning.
            until_ms: only spend settled before this time; 0 for now.
            group_by: tenant, key, user, run, model, service, day, hour or empty.

        Raises:
            ValueError: `group_by` is unknown.
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
        spend = admin_pb2.QuerySpendResponse()
        for page in self._transport.pages(self._stub.QuerySpend, request):
            spend.rows.extend(page.rows)
            spend.total_nanos = page.total_nanos
        return spend
