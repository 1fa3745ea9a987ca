"""Refusals of admission, in words that name the value and the fix."""

from __future__ import annotations

from enginehouse.kit.errors import FieldViolation, Reason, ServiceError
from enginehouse.router.admission.cost_caps import MAX_COST_HEADER
from enginehouse.router.identity import Caller
from enginehouse.router.ledger import InsufficientBudget, LedgerUnavailable

WAITED_MS = "waited_ms"
"""In an error's metadata: how long the request waited for a budget before it was refused."""

# When something may have become free: how long those that run still take is not known.
_RETRY_AFTER_S = 1.0


def scope_denied(caller: Caller, needed: str) -> ServiceError:
    """Return the error for a key that lacks a scope."""
    has = ", ".join(caller.key.scopes) or "none"
    return ServiceError(
        Reason.SCOPE_DENIED, f"the key {caller.key.key_id} has the scopes {has}, and this method needs {needed}"
    )


def unbounded(method: str) -> ServiceError:
    """Return the error for a request whose cost nothing bounds."""
    field = MAX_COST_HEADER.decode()
    return ServiceError(
        Reason.INVALID_REQUEST,
        f"the cost of this request has no bound: send {field} with the most that it may cost, or give the model "
        f"max_units in the catalog for every unit with a price that {method} does not bound",
        violations=[FieldViolation(field, "is needed where nothing else bounds the cost")],
    )


def budget_exhausted(error: InsufficientBudget, cap_nanos: int) -> ServiceError:
    """Return the error for a budget that cannot pay the request's cap; with a time to retry where it may pay later."""
    budget = error.budget
    what = f"the {budget.period} budget of the {budget.scope} {budget.scope_id}"
    needs = f"this request, which may cost up to {cap_nanos} nano-dollars"
    metadata = {
        "scope": str(budget.scope),
        "scope_id": budget.scope_id,
        "budget_id": budget.budget_id,
        "period": str(budget.period),
        "needed_nanos": str(cap_nanos),
    }
    if error.waited_ms:
        metadata[WAITED_MS] = str(error.waited_ms)
    if not error.in_flight:
        why = f"{what} cannot pay for {needs}; raise the budget, or ask for less output"
    elif error.ahead:
        why = (
            f"{what} is held by requests that run, and {error.ahead} requests wait for it already, as many as may; "
            "retry shortly, or raise the budget"
        )
    else:
        waited = f" within {error.waited_ms} ms" if error.waited_ms else ""
        why = (
            f"{what} is held by requests that run, and not enough of it became free{waited} for {needs}; retry "
            "shortly, raise the budget, or ask for less output"
        )
    return ServiceError(
        Reason.BUDGET_EXHAUSTED, why, metadata=metadata, retry_after_s=_RETRY_AFTER_S if error.in_flight else None
    )


def ledger_unavailable(error: LedgerUnavailable) -> ServiceError:
    """Return the error for a ledger that cannot reserve now."""
    return ServiceError(
        Reason.LEDGER_UNAVAILABLE, f"the request cannot be paid for now: {error}; retry shortly", retry_after_s=1.0
    )


def bounded(cap_nanos: int, needed_nanos: int) -> ServiceError:
    """Return the error for a request that needs more than the caller or its key lets it cost."""
    return ServiceError(
        Reason.BUDGET_EXHAUSTED,
        f"the request may cost {cap_nanos} nano-dollars by its own bound or its key's, and needs {needed_nanos}; "
        "allow more",
        metadata={"scope": "request", "cap_nanos": str(cap_nanos), "needed_nanos": str(needed_nanos)},
    )


def not_extended(error: LedgerUnavailable) -> ServiceError:
    """Return the error for a running request that needs more than is reserved, where nothing can be added."""
    return ServiceError(
        Reason.LEDGER_UNAVAILABLE,
        f"the request needs more than was reserved for it, and no more can be reserved now: {error}; send it again, "
        "and it is reserved for anew",
        retry_after_s=1.0,
    )
