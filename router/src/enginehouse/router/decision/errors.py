"""Why no model can serve a request, in words that name the value and the way out."""

from __future__ import annotations

import difflib

from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.decision.decision import State
from enginehouse.router.identity import Caller
from enginehouse.router.request import InferenceRequest

_SHOWN = 10


def no_candidate(ask: InferenceRequest, *, capable: bool, long_enough: bool, kept: str) -> ServiceError:
    """None is left for `auto`.

    Args:
        ask: the request.
        capable: whether a model that may be used can do it.
        long_enough: whether one of those has a context that it fits.
        kept: the subject that a live one of those is kept for, if any.
    """
    if not capable:
        return ServiceError(
            Reason.UNSUPPORTED_CAPABILITY,
            f"no model that this key may use can do {', '.join(sorted(ask.capabilities)) or 'this'}",
        )
    if not long_enough:
        return ServiceError(
            Reason.CONTEXT_LENGTH_EXCEEDED,
            f"the prompt of {ask.input_bytes} bytes with {ask.max_output_tokens} output tokens fits the context of no "
            "model that this key may use; shorten it",
        )
    if kept:
        return ServiceError(
            Reason.MODEL_DENIED,
            f"every model that could serve this is kept for the subject {kept}; send x-enginehouse-subject: {kept}, or "
            "name a model",
        )
    return no_endpoint("no live engine serves a model for this request")


def no_endpoint(what: str) -> ServiceError:
    """No engine is there."""
    return ServiceError(Reason.NO_ENDPOINT, f"{what}; retry shortly, or start an engine", retry_after_s=1.0)


def denied(model: CatalogModel, why: str, caller: Caller, state: State) -> ServiceError:
    """The caller may not use the model."""
    return ServiceError(
        Reason.MODEL_DENIED,
        f"this key may not use the model {model.name!r}: {why}; use one of {_names(caller, state)}, or ask for its "
        f"tier ({caller.tenant.tier}), its allowed models or the policy to be changed",
    )


def incapable(ask: InferenceRequest, model: CatalogModel) -> ServiceError:
    """The model cannot do what is asked."""
    missing = ", ".join(sorted(ask.capabilities - model.capabilities))
    return ServiceError(
        Reason.UNSUPPORTED_CAPABILITY,
        f"the model {model.name!r} cannot do {missing}; it can do {', '.join(sorted(model.capabilities)) or 'nothing'}",
        metadata={"model": model.name},
    )


def unknown(name: str, caller: Caller, state: State) -> ServiceError:
    """There is no such model."""
    allowed = _allowed(caller, state)
    near = difflib.get_close_matches(name[:128], allowed, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else f"known: {_names(caller, state)}"
    return ServiceError(
        Reason.UNKNOWN_MODEL,
        f"no model {name[:128]!r}; {hint}",
        metadata={"near": ",".join(near)} if near else None,
    )


def _allowed(caller: Caller, state: State) -> list[str]:
    return [model.name for model in state.catalog.models if state.policy.allows(caller, model)]


def _names(caller: Caller, state: State) -> str:
    allowed = _allowed(caller, state)
    shown = ", ".join(allowed[:_SHOWN])
    return (f"{shown} and {len(allowed) - _SHOWN} more" if len(allowed) > _SHOWN else shown) or "none"
