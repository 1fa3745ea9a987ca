"""The thin servicer: who calls, then the part that knows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from enginehouse.api.router.v1 import admin_pb2 as pb
from enginehouse.api.router.v1 import admin_pb2_grpc
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.admin._access import Access, Administrator
from enginehouse.router.admin._accounts import AccountAdmin
from enginehouse.router.admin._budgets import BudgetAdmin
from enginehouse.router.admin._catalog import CatalogAdmin
from enginehouse.router.admin._spend import SpendAdmin
from enginehouse.router.database import DatabaseAway, answering

# Names and types of methods are the generated base's, which is written for synchronous servers.
_PREFIX = "/enginehouse.api.router.v1.AdminService/"


class AdminServicer(admin_pb2_grpc.AdminServiceServicer):
    """Serves AdminService. Every method raises LEDGER_UNAVAILABLE while PostgreSQL is away."""

    def __init__(
        self,
        *,
        access: Access,
        accounts: AccountAdmin,
        budgets: BudgetAdmin,
        catalog: CatalogAdmin,
        spend: SpendAdmin,
    ) -> None:
        self._access = access
        self._accounts = accounts
        self._budgets = budgets
        self._catalog = catalog
        self._spend = spend

    async def CreateTenant(self, request: pb.CreateTenantRequest, context: Any) -> pb.CreateTenantResponse:
        """Makes a tenant."""
        with self._caller(context, "CreateTenant"):
            return await self._accounts.create_tenant(request)

    async def ListTenants(self, request: pb.ListTenantsRequest, context: Any) -> pb.ListTenantsResponse:
        """Lists tenants."""
        with self._caller(context, "ListTenants", reads=True) as caller:
            return await self._accounts.list_tenants(request, caller)

    async def CreateKey(self, request: pb.CreateKeyRequest, context: Any) -> pb.CreateKeyResponse:
        """Makes a key."""
        with self._caller(context, "CreateKey") as caller:
            return await self._accounts.create_key(request, caller)

    async def ListKeys(self, request: pb.ListKeysRequest, context: Any) -> pb.ListKeysResponse:
        """Lists keys."""
        with self._caller(context, "ListKeys", reads=True) as caller:
            return await self._accounts.list_keys(request, caller)

    async def RevokeKey(self, request: pb.RevokeKeyRequest, context: Any) -> pb.RevokeKeyResponse:
        """Revokes a key."""
        with self._caller(context, "RevokeKey"):
            return await self._accounts.revoke_key(request)

    async def SetBudget(self, request: pb.SetBudgetRequest, context: Any) -> pb.SetBudgetResponse:
        """Makes or changes a budget."""
        with self._caller(context, "SetBudget") as caller:
            return await self._budgets.set_budget(request, caller)

    async def ListBudgets(self, request: pb.ListBudgetsRequest, context: Any) -> pb.ListBudgetsResponse:
        """Lists budgets."""
        with self._caller(context, "ListBudgets", reads=True) as caller:
            return await self._budgets.list_budgets(request, caller)

    async def DeleteBudget(self, request: pb.DeleteBudgetRequest, context: Any) -> pb.DeleteBudgetResponse:
        """Removes a budget."""
        with self._caller(context, "DeleteBudget"):
            return await self._budgets.delete_budget(request)

    async def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:
        """Lists the catalog."""
        with self._caller(context, "ListModels", reads=True):
            return self._catalog.list_models(request)

    async def Explain(self, request: pb.ExplainRequest, context: Any) -> pb.ExplainResponse:
        """Explains a decision."""
        with self._caller(context, "Explain", reads=True) as caller:
            return self._catalog.explain(request, caller)

    async def QuerySpend(self, request: pb.QuerySpendRequest, context: Any) -> pb.QuerySpendResponse:
        """Sums spend."""
        with self._caller(context, "QuerySpend", reads=True) as caller:
            return await self._spend.query(request, caller)

    @contextlib.contextmanager
    def _caller(self, context: Any, method: str, *, reads: bool = False) -> Iterator[Administrator]:
        caller = self._access.of(context, method=_PREFIX + method, reads=reads)
        try:
            with answering():
                yield caller
        except DatabaseAway:
            raise ServiceError(
                Reason.LEDGER_UNAVAILABLE, "the ledger's database does not answer; retry shortly", retry_after_s=1.0
            ) from None
