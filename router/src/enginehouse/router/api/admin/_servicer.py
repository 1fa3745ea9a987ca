"""The thin servicer: who calls, then the part that knows."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from google.api import httpbody_pb2

from enginehouse.api.router.v1 import admin_pb2 as pb
from enginehouse.api.router.v1 import admin_pb2_grpc, alerts_pb2, prices_pb2
from enginehouse.router.api.access import Access, Administrator
from enginehouse.router.api.admin._accounts import AccountAdmin
from enginehouse.router.api.admin._alerts import AlertAdmin
from enginehouse.router.api.admin._authorized_call import authorized_call
from enginehouse.router.api.admin._budgets import BudgetAdmin
from enginehouse.router.api.admin._catalog import CatalogAdmin
from enginehouse.router.api.admin._prices import PriceAdmin
from enginehouse.router.api.admin._spend import SpendAdmin

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
        prices: PriceAdmin,
        alerts: AlertAdmin,
    ) -> None:
        self._access = access
        self._accounts = accounts
        self._budgets = budgets
        self._catalog = catalog
        self._spend = spend
        self._prices = prices
        self._alerts = alerts

    async def CreateTenant(self, request: pb.CreateTenantRequest, context: Any) -> pb.CreateTenantResponse:
        """Make a tenant."""
        with self._caller(context, "CreateTenant"):
            return await self._accounts.create_tenant(request)

    async def ListTenants(self, request: pb.ListTenantsRequest, context: Any) -> pb.ListTenantsResponse:
        """List tenants."""
        with self._caller(context, "ListTenants", reads=True) as caller:
            return await self._accounts.list_tenants(request, caller)

    async def CreateKey(self, request: pb.CreateKeyRequest, context: Any) -> pb.CreateKeyResponse:
        """Make a key."""
        with self._caller(context, "CreateKey") as caller:
            return await self._accounts.keys.create(request, caller)

    async def ListKeys(self, request: pb.ListKeysRequest, context: Any) -> pb.ListKeysResponse:
        """List keys."""
        with self._caller(context, "ListKeys", reads=True) as caller:
            return await self._accounts.list_keys(request, caller)

    async def RevokeKey(self, request: pb.RevokeKeyRequest, context: Any) -> pb.RevokeKeyResponse:
        """Revoke a key."""
        with self._caller(context, "RevokeKey") as caller:
            return await self._accounts.keys.revoke(request, caller)

    async def SetBudget(self, request: pb.SetBudgetRequest, context: Any) -> pb.SetBudgetResponse:
        """Make or change a budget."""
        with self._caller(context, "SetBudget") as caller:
            return await self._budgets.set_budget(request, caller)

    async def ListBudgets(self, request: pb.ListBudgetsRequest, context: Any) -> pb.ListBudgetsResponse:
        """List budgets."""
        with self._caller(context, "ListBudgets", reads=True) as caller:
            return await self._budgets.list_budgets(request, caller)

    async def DeleteBudget(self, request: pb.DeleteBudgetRequest, context: Any) -> pb.DeleteBudgetResponse:
        """Remove a budget."""
        with self._caller(context, "DeleteBudget") as caller:
            return await self._budgets.delete_budget(request, caller)

    async def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:
        """List the catalog."""
        with self._caller(context, "ListModels", reads=True):
            return self._catalog.list_models(request)

    async def Explain(self, request: pb.ExplainRequest, context: Any) -> pb.ExplainResponse:
        """Explain a decision."""
        with self._caller(context, "Explain", reads=True) as caller:
            return self._catalog.explain(request, caller)

    async def QuerySpend(self, request: pb.QuerySpendRequest, context: Any) -> pb.QuerySpendResponse:
        """Sums spend."""
        with self._caller(context, "QuerySpend", reads=True) as caller:
            return await self._spend.query(request, caller)

    async def ExportSpend(self, request: pb.ExportSpendRequest, context: Any) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """Yield usage as CSV."""
        with self._caller(context, "ExportSpend", reads=True) as caller:
            async for part in self._spend.export(request, caller):
                yield part

    async def ListAlerts(self, request: alerts_pb2.ListAlertsRequest, context: Any) -> alerts_pb2.ListAlertsResponse:
        """List alerts."""
        with self._caller(context, "ListAlerts", reads=True) as caller:
            return await self._alerts.list_alerts(request, caller)

    async def SetPrice(self, request: prices_pb2.SetPriceRequest, context: Any) -> prices_pb2.SetPriceResponse:
        """Set a price."""
        with self._caller(context, "SetPrice") as caller:
            return await self._prices.set_price(request, caller)

    async def ListPrices(self, request: prices_pb2.ListPricesRequest, context: Any) -> prices_pb2.ListPricesResponse:
        """List prices."""
        with self._caller(context, "ListPrices", reads=True):
            return await self._prices.list_prices(request)

    async def DeletePrice(self, request: prices_pb2.DeletePriceRequest, context: Any) -> prices_pb2.DeletePriceResponse:
        """Take back a price."""
        with self._caller(context, "DeletePrice"):
            return await self._prices.delete_price(request)

    async def SetDiscount(self, request: prices_pb2.SetDiscountRequest, context: Any) -> prices_pb2.SetDiscountResponse:
        """Set a discount."""
        with self._caller(context, "SetDiscount") as caller:
            return await self._prices.set_discount(request, caller)

    async def ListDiscounts(
        self, request: prices_pb2.ListDiscountsRequest, context: Any
    ) -> prices_pb2.ListDiscountsResponse:
        """List discounts; they are between the house and each tenant, so that a key with `spend` alone may not."""
        with self._caller(context, "ListDiscounts"):
            return await self._prices.list_discounts(request)

    async def DeleteDiscount(
        self, request: prices_pb2.DeleteDiscountRequest, context: Any
    ) -> prices_pb2.DeleteDiscountResponse:
        """Take back a discount."""
        with self._caller(context, "DeleteDiscount"):
            return await self._prices.delete_discount(request)

    def _caller(
        self, context: Any, method: str, *, reads: bool = False
    ) -> contextlib.AbstractContextManager[Administrator]:
        return authorized_call(self._access, context, _PREFIX + method, reads=reads)
