"""Prices, discounts, alerts and exported spend. Responses are the contract's own messages."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc

from enginehouse.api.router.v1 import admin_pb2_grpc, alerts_pb2, prices_pb2
from enginehouse.client._async.transport import AsyncTransport
from enginehouse.client._connection import new_request_id
from enginehouse.client.errors import from_rpc_error
from enginehouse.client.requests import billing as billing_requests


class AsyncBilling:
    """Prices, discounts, budget alerts and exported spend; setting needs the scope `admin`, reading `spend`.

    Lists are fetched page by page as they are iterated. Every method raises EnginehouseError.
    """

    def __init__(self, *, transport: AsyncTransport) -> None:
        self._transport = transport
        self._stub = admin_pb2_grpc.AdminServiceStub(transport.channel)

    async def set_price(
        self, model: str, unit: str, nanos_per_million: int | None, *, from_ms: int = 0
    ) -> prices_pb2.Price:
        """Set the price of a million of a unit from a time on (0: now). None restores the catalog's price.

        Raises:
            ValueError: the unit is unknown.
        """
        request = billing_requests.set_price(
            model=model, unit=unit, nanos_per_million=nanos_per_million, from_ms=from_ms
        )
        response = await self._transport.unary(self._stub.SetPrice, request)
        return response.price

    async def list_prices(self, *, model: str = "", holding_only: bool = False) -> AsyncIterator[prices_pb2.Price]:
        """List prices by model, unit and start: the catalog's and those set over them, past, present and future.

        `holding_only` leaves only those in force now.
        """
        request = prices_pb2.ListPricesRequest(model=model, holding_only=holding_only, page_size=1000)
        async for page in self._transport.pages(self._stub.ListPrices, request):
            for price in page.prices:
                yield price

    async def delete_price(self, price_id: str) -> prices_pb2.Price:
        """Delete a price that is not in force yet."""
        request = prices_pb2.DeletePriceRequest(price_id=price_id)
        response = await self._transport.unary(self._stub.DeletePrice, request)
        return response.price

    async def set_discount(
        self, subject: str, subject_id: str, basis_points: int | None, *, model: str = "", from_ms: int = 0
    ) -> prices_pb2.Discount:
        """Set a discount in hundredths of a percent for a key, tenant or tier from a time on (0: now). None ends it.

        Raises:
            ValueError: the subject is not `key`, `tenant` or `tier`.
        """
        request = billing_requests.set_discount(
            subject=subject, subject_id=subject_id, model=model, basis_points=basis_points, from_ms=from_ms
        )
        response = await self._transport.unary(self._stub.SetDiscount, request)
        return response.discount

    async def list_discounts(
        self, *, subject_id: str = "", holding_only: bool = False
    ) -> AsyncIterator[prices_pb2.Discount]:
        """List discounts in the order in which they were set. `holding_only` leaves only those in force now."""
        request = prices_pb2.ListDiscountsRequest(subject_id=subject_id, holding_only=holding_only, page_size=1000)
        async for page in self._transport.pages(self._stub.ListDiscounts, request):
            for discount in page.discounts:
                yield discount

    async def delete_discount(self, discount_id: str) -> prices_pb2.Discount:
        """Delete a discount that is not in force yet."""
        request = prices_pb2.DeleteDiscountRequest(discount_id=discount_id)
        response = await self._transport.unary(self._stub.DeleteDiscount, request)
        return response.discount

    async def list_alerts(self, *, budget_id: str = "", scope_id: str = "") -> AsyncIterator[alerts_pb2.Alert]:
        """List the alerts that budgets raised, newest first."""
        request = alerts_pb2.ListAlertsRequest(budget_id=budget_id, scope_id=scope_id, page_size=1000)
        async for page in self._transport.pages(self._stub.ListAlerts, request):
            for alert in page.alerts:
                yield alert

    async def export_spend(
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
        timeout_s: float | None = None,
    ) -> AsyncIterator[bytes]:
        """Yield usage records as CSV, piece by piece. An error may come after some pieces."""
        request = billing_requests.export_spend(
            tenant_id=tenant_id,
            key_id=key_id,
            user_id=user_id,
            run_id=run_id,
            model=model,
            service=service,
            from_ms=from_ms,
            until_ms=until_ms,
        )
        request_id = new_request_id()
        metadata = self._transport.metadata(request_id)
        try:
            async for part in self._stub.ExportSpend(request, metadata=metadata, timeout=timeout_s):
                yield part.data
        except grpc.RpcError as raised:
            raise from_rpc_error(raised, request_id=request_id) from raised
