"""Budgets as administration sees them."""

from __future__ import annotations

import asyncio

from enginehouse.api.router.v1 import admin_pb2
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.validation import Checks
from enginehouse.router.api.access import Administrator, denied
from enginehouse.router.api.fields import check_id
from enginehouse.router.api.paging import ordinal_start, page_size, page_token
from enginehouse.router.clock import Clock
from enginehouse.router.identity import KeyStore
from enginehouse.router.ids import new_id
from enginehouse.router.ledger import (
    Budget,
    BudgetIndex,
    BudgetState,
    BudgetStore,
    Ledger,
    LimitTooLow,
    Period,
    Scope,
)

_SCOPES = {
    admin_pb2.BUDGET_SCOPE_TENANT: Scope.TENANT,
    admin_pb2.BUDGET_SCOPE_KEY: Scope.KEY,
    admin_pb2.BUDGET_SCOPE_USER: Scope.USER,
    admin_pb2.BUDGET_SCOPE_RUN: Scope.RUN,
}
_PERIODS = {
    admin_pb2.BUDGET_WINDOW_UNSPECIFIED: Period.LIFETIME,
    admin_pb2.BUDGET_WINDOW_LIFETIME: Period.LIFETIME,
    admin_pb2.BUDGET_WINDOW_DAY: Period.DAY,
    admin_pb2.BUDGET_WINDOW_MONTH: Period.MONTH,
}
_SCOPE_NAMES = {scope: number for number, scope in _SCOPES.items()}
_WINDOW_NAMES = {
    Period.LIFETIME: admin_pb2.BUDGET_WINDOW_LIFETIME,
    Period.DAY: admin_pb2.BUDGET_WINDOW_DAY,
    Period.MONTH: admin_pb2.BUDGET_WINDOW_MONTH,
}
# Replicas asked for what lies idle answer within milliseconds.
_RETURNS = 10
_RETURN_S = 0.05
_MAX_PERCENTS = 8


class BudgetAdmin:
    """Sets, lists and removes budgets."""

    def __init__(self, *, store: BudgetStore, index: BudgetIndex, ledger: Ledger, keys: KeyStore, clock: Clock) -> None:
        self._store = store
        self._index = index
        self._ledger = ledger
        self._keys = keys
        self._clock = clock

    async def set_budget(
        self, request: admin_pb2.SetBudgetRequest, caller: Administrator
    ) -> admin_pb2.SetBudgetResponse:
        """Make a budget or change its limit. Raises INVALID_REQUEST, NOT_FOUND, or FAILED_PRECONDITION for a limit
        under what is settled and held once the replicas have given back what they hold idle.
        """
        checks = Checks()
        checks.require(request.scope in _SCOPES, "scope", "must be TENANT, KEY, USER or RUN")
        checks.require(request.window in _PERIODS, "window", f"{request.window} must be LIFETIME, DAY or MONTH")
        checks.require(request.limit_nanos >= 0, "limit_nanos", f"{request.limit_nanos} must not be negative")
        percents = tuple(sorted(set(request.alert_percents)))
        checks.require(
            len(request.alert_percents) <= _MAX_PERCENTS and all(1 <= percent <= 100 for percent in percents),
            "alert_percents",
            f"{list(request.alert_percents)[:20]} must be at most {_MAX_PERCENTS} whole numbers from 1 to 100",
        )
        checks.done()
        check_id("scope_id", request.scope_id, required=True)
        scope, period = _SCOPES[request.scope], _PERIODS[request.window]
        _check_tenants_own(scope, caller)
        tenant_id, scope_id = await self._owner(scope, request.scope_id, caller)
        now = self._clock()
        wanted = Budget(
            budget_id=new_id("bud"),
            tenant_id=tenant_id,
            scope=scope,
            scope_id=scope_id,
            period=period,
            limit_nanos=request.limit_nanos,
            created_at_ms=now,
            alert_percents=percents,
        )
        budget = await self._put(wanted, now)
        self._index.put(budget.budget_id, budget)
        return admin_pb2.SetBudgetResponse(budget=_message(await self._state(budget)))

    async def list_budgets(
        self, request: admin_pb2.ListBudgetsRequest, caller: Administrator
    ) -> admin_pb2.ListBudgetsResponse:
        """List budgets; without the scope "admin", those of one's own tenant."""
        size = page_size(request.page_size)
        check_id("scope_id", request.scope_id)
        listing = f"budgets/{request.scope_id}"
        scope_ids = [request.scope_id, f"{caller.tenant_id}/{request.scope_id}"] if request.scope_id else []
        found = await self._store.list_states(
            tenant_id=caller.tenant_filter(""),
            scope_ids=scope_ids,
            after=ordinal_start(request.page_token, listing),
            count=size + 1,
            now_ms=self._clock(),
        )
        more = len(found) > size
        found = found[:size]
        return admin_pb2.ListBudgetsResponse(
            budgets=[_message(state) for state in found],
            next_page_token=page_token(listing, str(found[-1].budget.ordinal)) if more else "",
        )

    async def delete_budget(
        self, request: admin_pb2.DeleteBudgetRequest, caller: Administrator
    ) -> admin_pb2.DeleteBudgetResponse:
        """Remove a budget. Raises NOT_FOUND, or SCOPE_DENIED for what bounds the tenant itself."""
        check_id("budget_id", request.budget_id, required=True)
        known = await self._store.get(request.budget_id)
        if known is None or not caller.sees(known.tenant_id):
            raise ServiceError(Reason.NOT_FOUND, f"no budget {request.budget_id!r}; list them with ListBudgets")
        _check_tenants_own(known.scope, caller)
        if await self._store.delete(request.budget_id, now_ms=self._clock()) is None:
            raise ServiceError(Reason.NOT_FOUND, f"no budget {request.budget_id!r}; list them with ListBudgets")
        self._index.put(request.budget_id, None)
        return admin_pb2.DeleteBudgetResponse()

    async def _owner(self, scope: Scope, given: str, caller: Administrator) -> tuple[str, str]:
        """The tenant that a scope belongs to, and the scope's id in full."""
        if scope is Scope.KEY:
            keys = await self._keys.get_keys([given])
            if not keys or not caller.sees(keys[0].tenant_id):
                raise ServiceError(Reason.NOT_FOUND, f"no key {given!r}; list them with ListKeys")
            return keys[0].tenant_id, given
        tenant_id, slash, name = given.partition("/")
        if scope is Scope.TENANT or not slash:
            tenant_id, name = (given, "") if scope is Scope.TENANT else (caller.tenant_id, given)
        if not caller.sees(tenant_id) or await self._keys.get_tenant(tenant_id) is None:
            raise ServiceError(Reason.NOT_FOUND, f"no tenant {tenant_id!r}; list them with ListTenants")
        return tenant_id, tenant_id if scope is Scope.TENANT else f"{tenant_id}/{name}"

    async def _put(self, wanted: Budget, now: int) -> Budget:
        for attempt in range(_RETURNS + 1):
            try:
                return await self._store.put(wanted, now_ms=now)
            except LimitTooLow as error:
                low = error
            existing = next(
                (budget for budget in self._index.of(wanted.scope, wanted.scope_id) if budget.period is wanted.period),
                None,
            )
            # Settled spend alone forbids it, so no return can help.
            if low.settled_nanos > wanted.limit_nanos or existing is None:
                break
            if attempt == 0:
                await self._ledger.request_return(existing.budget_id)
            else:
                await asyncio.sleep(_RETURN_S)
        raise ServiceError(
            Reason.FAILED_PRECONDITION,
            f"limit_nanos: {wanted.limit_nanos} is under what the current window has settled ({low.settled_nanos}) and "
            f"holds for requests that are running ({low.leased_nanos}); set at least "
            f"{low.settled_nanos + low.leased_nanos}, or wait for them to end",
            metadata={"settled_nanos": str(low.settled_nanos), "leased_nanos": str(low.leased_nanos)},
        )

    async def _state(self, budget: Budget) -> BudgetState:
        states = await self._store.list_states(
            tenant_id="", scope_ids=[budget.scope_id], after=budget.ordinal - 1, count=1, now_ms=self._clock()
        )
        return states[0] if states else BudgetState(budget, 0, 0)


def _check_tenants_own(scope: Scope, caller: Administrator) -> None:
    """Raise SCOPE_DENIED for a tenant's own budget: it is between the house and the tenant."""
    if scope is Scope.TENANT and not caller.everything:
        raise denied("changing a tenant's own budget")


def _message(state: BudgetState) -> admin_pb2.Budget:
    budget = state.budget
    return admin_pb2.Budget(
        budget_id=budget.budget_id,
        scope=_SCOPE_NAMES[budget.scope],
        scope_id=budget.scope_id,
        window=_WINDOW_NAMES[budget.period],
        limit_nanos=budget.limit_nanos,
        settled_nanos=state.settled_nanos,
        leased_nanos=state.leased_nanos,
        alert_percents=budget.alert_percents,
    )
