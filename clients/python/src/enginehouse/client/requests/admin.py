"""Administrative requests, whose words become the contract's enumerations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from enginehouse.api.router.v1 import admin_pb2

BUDGET_SCOPES: Mapping[str, admin_pb2.BudgetScope.ValueType] = {
    "tenant": admin_pb2.BUDGET_SCOPE_TENANT,
    "key": admin_pb2.BUDGET_SCOPE_KEY,
    "user": admin_pb2.BUDGET_SCOPE_USER,
    "run": admin_pb2.BUDGET_SCOPE_RUN,
}
"""The scopes of a budget."""

BUDGET_WINDOWS: Mapping[str, admin_pb2.BudgetWindow.ValueType] = {
    "lifetime": admin_pb2.BUDGET_WINDOW_LIFETIME,
    "day": admin_pb2.BUDGET_WINDOW_DAY,
    "month": admin_pb2.BUDGET_WINDOW_MONTH,
}
"""The time windows of a budget."""

SPEND_GROUPS: Mapping[str, admin_pb2.SpendGroup.ValueType] = {
    "": admin_pb2.SPEND_GROUP_UNSPECIFIED,
    "tenant": admin_pb2.SPEND_GROUP_TENANT,
    "key": admin_pb2.SPEND_GROUP_KEY,
    "model": admin_pb2.SPEND_GROUP_MODEL,
    "service": admin_pb2.SPEND_GROUP_SERVICE,
    "day": admin_pb2.SPEND_GROUP_DAY,
    "hour": admin_pb2.SPEND_GROUP_HOUR,
    "user": admin_pb2.SPEND_GROUP_USER,
    "run": admin_pb2.SPEND_GROUP_RUN,
}
"""The dimensions by which spend can be grouped."""


def set_budget(
    *, scope: str, scope_id: str, limit_nanos: int, window: str, alert_percents: Sequence[int]
) -> admin_pb2.SetBudgetRequest:
    """Return the request to create or change a budget. Raise ValueError for an unknown scope or window."""
    if scope not in BUDGET_SCOPES:
        raise ValueError(f"unknown scope {scope!r}: expected one of {', '.join(BUDGET_SCOPES)}")
    if window not in BUDGET_WINDOWS:
        raise ValueError(f"unknown window {window!r}: expected one of {', '.join(BUDGET_WINDOWS)}")
    return admin_pb2.SetBudgetRequest(
        scope=BUDGET_SCOPES[scope],
        scope_id=scope_id,
        window=BUDGET_WINDOWS[window],
        limit_nanos=limit_nanos,
        alert_percents=alert_percents,
    )


def query_spend(
    *,
    tenant_id: str,
    key_id: str,
    user_id: str,
    run_id: str,
    model: str,
    service: str,
    from_ms: int,
    until_ms: int,
    group_by: str,
) -> admin_pb2.QuerySpendRequest:
    """Return the request for a page of the spend. Raise ValueError for an unknown group."""
    if group_by not in SPEND_GROUPS:
        known = ", ".join(filter(None, SPEND_GROUPS))
        raise ValueError(f"unknown group_by {group_by!r}: expected one of {known}, or empty")
    return admin_pb2.QuerySpendRequest(
        tenant_id=tenant_id,
        key_id=key_id,
        user_id=user_id,
        run_id=run_id,
        model=model,
        service=service,
        from_ms=from_ms,
        until_ms=until_ms,
        group_by=SPEND_GROUPS[group_by],
        page_size=10_000,
    )
