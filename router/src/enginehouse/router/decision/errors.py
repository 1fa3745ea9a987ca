"""Errors for requests that no model can serve; each names the value and the fix."""

from __future__ import annotations

from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.nearest import did_you_mean, nearest_names
from enginehouse.router.decision.decision import State
from enginehouse.router.identity import Caller
from enginehouse.router.request import InferenceRequest

_SHOWN = 10


def no_candidate(request: InferenceRequest, *, capable: bool, long_enough: bool, kept: str) -> ServiceError:
    """Return the error for `auto` with no model left.

    Args:
        request: the request.
        capable: whether a model that may be used can do it.
        long_enough: whether one of those has a context that it fits.
        kept: the subject that a live one of those is kept for, if any.
    """
    if not capable:
        return ServiceError(
            Reason.UNSUPPORTED_CAPABILITY,
            f"no model that this key may use can do {', '.join(sorted(request.capabilities)) or 'this'}",
        )
    if not long_enough:
        return ServiceError(
            Reason.CONTEXT_LENGTH_EXCEEDED,
            f"the prompt of {request.input_bytes} bytes with {request.max_output_tokens} output tokens fits the "
            "context of no model that this key may use; shorten it",
        )
    if kept:
        return ServiceError(
            Reason.MODEL_DENIED,
            f"every model that could serve this is kept for the subject {kept}; send x-enginehouse-subject: {kept}, or "
            "name a model",
        )
    return no_endpoint("no live engine serves a model for this request")


def no_endpoint(what: str) -> ServiceError:
    """Return the error for a model without a live engine."""
    return ServiceError(Reason.NO_ENDPOINT, f"{what}; retry shortly, or start an engine", retry_after_s=1.0)


def unserved(model: CatalogModel, state: State) -> ServiceError:
    """Return the error for a model that no live engine serves: its weights are absent, or its engine is away."""
    absence = state.fleet.absence(model.name)
    if absence:
        return ServiceError(Reason.WEIGHTS_ABSENT, absence)
    return no_endpoint(f"no live engine serves the model {model.name!r}")


def denied(model: CatalogModel, why: str, caller: Caller, state: State) -> ServiceError:
    """Return the error for a model that the caller may not use."""
    return ServiceError(
        Reason.MODEL_DENIED,
        f"this key may not use the model {model.name!r}: {why}; use one of {_names(caller, state)}, or ask for its "
        f"tier ({caller.tenant.tier}), its allowed models or the policy to be changed",
    )


def incapable(request: InferenceRequest, model: CatalogModel) -> ServiceError:
    """Return the error for a model that cannot do what is asked."""
    missing = ", ".join(sorted(request.capabilities - model.capabilities))
    return ServiceError(
        Reason.UNSUPPORTED_CAPABILITY,
        f"the model {model.name!r} cannot do {missing}; it can do {', '.join(sorted(model.capabilities)) or 'nothing'}",
        metadata={"model": model.name},
    )


def unknown(name: str, caller: Caller, state: State) -> ServiceError:
    """Return the error for a model that is not in the catalog."""
    allowed = _allowed(caller, state)
    aliases = [alias for alias, target in state.catalog.aliases.items() if target == "auto" or target in allowed]
    near = nearest_names(name, allowed + aliases, count=3)
    hint = did_you_mean(name, allowed + aliases, count=3) or f"; known: {_names(caller, state)}"
    return ServiceError(
        Reason.UNKNOWN_MODEL,
        f"no model {name[:128]!r}{hint}",
        metadata={"near": ",".join(near)} if near else None,
    )


def _allowed(caller: Caller, state: State) -> list[str]:
    return [model.name for model in state.catalog.models if state.policy.allows(caller, model)]


def _names(caller: Caller, state: State) -> str:
    allowed = _allowed(caller, state)
    shown = ", ".join(allowed[:_SHOWN])
    return (f"{shown} and {len(allowed) - _SHOWN} more" if len(allowed) > _SHOWN else shown) or "none"
