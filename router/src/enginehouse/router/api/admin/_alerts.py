"""Alerts as administration sees them."""

from __future__ import annotations

from enginehouse.api.router.v1 import alerts_pb2
from enginehouse.router.alerts import Alert, AlertStore
from enginehouse.router.api.access import Administrator
from enginehouse.router.api.fields import check_id
from enginehouse.router.api.paging import ordinal_start, page_size, page_token

_CAUSES = {"spend": alerts_pb2.ALERT_CAUSE_SPEND, "refusal": alerts_pb2.ALERT_CAUSE_REFUSAL}
_DELIVERIES = {
    "pending": alerts_pb2.ALERT_DELIVERY_PENDING,
    "delivered": alerts_pb2.ALERT_DELIVERY_DELIVERED,
    "failed": alerts_pb2.ALERT_DELIVERY_FAILED,
    "kept": alerts_pb2.ALERT_DELIVERY_KEPT,
}


class AlertAdmin:
    """Lists alerts."""

    def __init__(self, *, store: AlertStore) -> None:
        self._store = store

    async def list_alerts(
        self, request: alerts_pb2.ListAlertsRequest, caller: Administrator
    ) -> alerts_pb2.ListAlertsResponse:
        """List alerts, newest first; without the scope "admin", those of one's own tenant."""
        size = page_size(request.page_size)
        check_id("budget_id", request.budget_id)
        check_id("scope_id", request.scope_id)
        listing = f"alerts/{request.budget_id}/{request.scope_id}"
        found = await self._store.page(
            tenant_id=caller.tenant_filter(""),
            budget_id=request.budget_id,
            scope_ids=[request.scope_id, f"{caller.tenant_id}/{request.scope_id}"] if request.scope_id else [],
            before=ordinal_start(request.page_token, listing),
            count=size + 1,
        )
        more = len(found) > size
        found = found[:size]
        return alerts_pb2.ListAlertsResponse(
            alerts=[_message(alert) for alert in found],
            next_page_token=page_token(listing, str(found[-1].ordinal)) if more else "",
        )


def _message(alert: Alert) -> alerts_pb2.Alert:
    return alerts_pb2.Alert(
        alert_id=alert.alert_id,
        budget_id=alert.budget_id,
        scope=alert.scope,
        scope_id=alert.scope_id,
        window=alert.period,
        window_start_ms=alert.window_start_ms,
        percent=alert.percent,
        limit_nanos=alert.limit_nanos,
        settled_nanos=alert.settled_nanos,
        cause=_CAUSES[alert.cause],
        raised_at_ms=alert.raised_at_ms,
        delivery=_DELIVERIES[alert.delivery],
        attempts=alert.attempts,
        delivered_at_ms=alert.delivered_at_ms,
    )
