"""Prices, discounts, alerts and exported spend, synchronously. Answers are the contract's own messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc

from enginehouse.api.router.v1 import admin_pb2_grpc, alerts_pb2, prices_pb2
from enginehouse.client import _connection
from enginehouse.client.errors import from_rpc_error
from enginehouse.client.requests import billing as billing_requests


class Billing:
    """What things cost and what budgets say; setting needs the scope `admin`, reading `spend`.

    Lists are fetched page by page as they are iterated. Every method raises EnginehouseError.
    """

    def __init__(self, channel: grpc.Channel, unary: Callable[..., Any], *, api_key: str) -> None:
        self._stub = admin_pb2_grpc.AdminServiceStub(channel)
        self._unary = unary
        self._api_key = api_key

    def set_price(self, model: str, unit: str, nanos_per_million: int | None, *, from_ms: int = 0) -> prices_pb2.Price:
        """Sets what a million of a unit costs from a time on (0: now); None lets the catalog's price hold again.

        Raises:
            ValueError: there is no such unit.
        """
        request = billing_requests.set_price(
            model=model, unit=unit, nanos_per_million=nanos_per_million, from_ms=from_ms
        )
        answer: prices_pb2.SetPriceResponse = self._unary(self._stub.SetPrice, request)
        return answer.price

    def list_prices(self, *, model: str = "", holding_only: bool = False) -> Iterator[prices_pb2.Price]:
        """List prices by model, unit and start: the catalog's, and those set over them, past, present and to come."""
        request = prices_pb2.ListPricesRequest(model=model, holding_only=holding_only, page_size=1000)
        for page in self._pages(self._stub.ListPrices, request):
            yield from page.prices

    def delete_price(self, price_id: str) -> prices_pb2.Price:
        """Takes back a price that has not begun."""
        answer: prices_pb2.DeletePriceResponse = self._unary(
            self._stub.DeletePrice, prices_pb2.DeletePriceRequest(price_id=price_id)
        )
        return answer.price

    def set_discount(
        self, subject: str, subject_id: str, basis_points: int | None, *, model: str = "", from_ms: int = 0
    ) -> prices_pb2.Discount:
        """Takes hundredths of a percent off for a key, tenant or tier, from a time on (0: now); None ends it.

        Raises:
            ValueError: subject is none of these words.
        """
        request = billing_requests.set_discount(
            subject=subject, subject_id=subject_id, model=model, basis_points=basis_points, from_ms=from_ms
        )
        answer: prices_pb2.SetDiscountResponse = self._unary(self._stub.SetDiscount, request)
        return answer.discount

    def list_discounts(self, *, subject_id: str = "", holding_only: bool = False) -> Iterator[prices_pb2.Discount]:
        """Discounts in the order in which they were set."""
        request = prices_pb2.ListDiscountsRequest(subject_id=subject_id, holding_only=holding_only, page_size=1000)
        for page in self._pages(self._stub.ListDiscounts, request):
            yield from page.discounts

    def delete_discount(self, discount_id: str) -> prices_pb2.Discount:
        """Takes back a discount that has not begun."""
        answer: prices_pb2.DeleteDiscountResponse = self._unary(
            self._stub.DeleteDiscount, prices_pb2.DeleteDiscountRequest(discount_id=discount_id)
        )
        return answer.discount

    def list_alerts(self, *, budget_id: str = "", scope_id: str = "") -> Iterator[alerts_pb2.Alert]:
        """The alerts that budgets raised, newest first."""
        request = alerts_pb2.ListAlertsRequest(budget_id=budget_id, scope_id=scope_id, page_size=1000)
        for page in self._pages(self._stub.ListAlerts, request):
            yield from page.alerts

    def export_spend(
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
    ) -> Iterator[bytes]:
        """Usage records as CSV, piece by piece; the pieces together are the file. An error may come after some."""
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
        request_id = _connection.new_request_id()
        metadata = _connection.call_metadata(self._api_key, request_id)
        try:
            for part in self._stub.ExportSpend(request, metadata=metadata, timeout=timeout_s):
                yield part.data
        except grpc.RpcError as raised:
            raise from_rpc_error(raised, request_id=request_id) from raised

    def _pages(self, method: Callable[..., Any], request: Any) -> Iterator[Any]:
        while True:
            page = self._unary(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
