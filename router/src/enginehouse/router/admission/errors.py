"""Refusals of admission, in words that name the value and the fix."""

from __future__ import annotations

from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.identity import Caller
from enginehouse.router.ledger import BudgetExhausted, LedgerUnavailable


def scope_denied(caller: Caller, needed: str) -> ServiceError:
    """Return the error for a key that lacks a scope."""
    has = ", ".join(caller.key.scopes) or "none"
    return ServiceError(
        Reason.SCOPE_DENIED, f"the key {caller.key.key_id} has the scopes {has}, and this method needs {needed}"
    )


def budget_exhausted(error: BudgetExhausted, cap_nanos: int) -> ServiceError:
    """Return the error for a budget that cannot pay the request's cap."""
    budget = error.budget
    return ServiceError(
        Reason.BUDGET_EXHAUSTED,
        f"the {budget.period} budget of the {budget.scope} {budget.scope_id} cannot pay for this request, which may "
        f"cost up to {cap_nanos} nano-dollars; raise the budget, or ask for less output",
        metadata={
            "scope": str(budget.scope),
            "scope_id": budget.scope_id,
            "budget_id": budget.budget_id,
            "period": str(budget.period),
            "needed_nanos": str(cap_nanos),
        },
    )


def ledger_unavailable(error: LedgerUnavailable) -> ServiceError:
    """Return the error for a ledger that cannot reserve now."""
    return ServiceError(
        Reason.LEDGER_UNAVAILABLE, f"the request cannot be paid for now: {error}; retry shortly", retry_after_s=1.0
    )
