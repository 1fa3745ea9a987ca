"""Which model serves a request, on which endpoints, and what it may cost at most. Pure: no I/O, no clock, no state.

`auto` takes the cheapest model that can do what is asked, fits the prompt, is alive, and is as good as the policy asks
for the tier and the prompt's complexity; where none is good enough, the best that is left.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence

from enginehouse.kit.catalog import Catalog, CatalogModel
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.pricing import MAX_NANOS
from enginehouse.router.asks import Ask, Purpose
from enginehouse.router.complexity import Prediction, Predictor
from enginehouse.router.endpoints import Endpoint, Fleet
from enginehouse.router.identity import Caller
from enginehouse.router.policy import Policy
from enginehouse.router.prices import Offer, PriceBook

# Bytes of text a token stands for, at least on average; for whether a prompt may fit, never for money.
_BYTES_PER_TOKEN = 4


class State:
    """What a decision looks at besides the request; none of it changes during one."""

    __slots__ = ("catalog", "fleet", "policy", "predictor", "prices")

    def __init__(
        self, *, catalog: Catalog, fleet: Fleet, policy: Policy, predictor: Predictor, prices: PriceBook | None = None
    ) -> None:
        self.catalog = catalog
        self.fleet = fleet
        self.policy = policy
        self.predictor = predictor
        # Without a price book, the catalog's prices hold.
        self.prices = PriceBook(catalog=catalog) if prices is None else prices


@dataclasses.dataclass(frozen=True, slots=True)
class Weighed:
    """A model that was looked at. `passed_over` is empty for the one chosen."""

    model: CatalogModel
    bound_nanos: int
    endpoints: Sequence[Endpoint]
    passed_over: str


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """An offer that may serve the request, the most that it may cost there, and where to try it, in order."""

    offer: Offer
    bound_nanos: int
    endpoints: Sequence[Endpoint]

    @property
    def model(self) -> CatalogModel:
        """The model offered."""
        return self.offer.model


@dataclasses.dataclass(slots=True)
class Decision:
    """What was decided.

    Attributes:
        refusal: why the request can't be served.
        candidates: the model chosen, then those to fall back to, in order. Empty where no model can serve.
        tokens: how many tokens it may take, roughly in and at most out, for limits on tokens.
        prediction: the complexity, where the choice was free or is to be explained.
        quality_needed: what the policy asks for that complexity.
        weighed: every model looked at, if it is to be explained.
    """

    refusal: ServiceError | None = None
    candidates: list[Candidate] = dataclasses.field(default_factory=list)
    tokens: int = 0
    prediction: Prediction | None = None
    quality_needed: float = 0.0
    weighed: list[Weighed] = dataclasses.field(default_factory=list)

    @property
    def model(self) -> CatalogModel | None:
        """The model chosen, if one can serve."""
        return self.candidates[0].model if self.candidates else None

    @property
    def bound_nanos(self) -> int:
        """The most that the request may cost on any candidate."""
        return max([one.bound_nanos for one in self.candidates], default=0)

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """Where to try it, in order: the chosen model's endpoints, then each fallback's, none twice."""
        if len(self.candidates) == 1:
            return self.candidates[0].endpoints
        return list({one.address: one for candidate in self.candidates for one in candidate.endpoints}.values())


def decide(ask: Ask, caller: Caller, state: State, *, explain: bool = False) -> Decision:
    """Decides. Under 20 us for a named model and 1 KB of prompt, under 40 us for `auto` over a handful of models."""
    decision = Decision()
    if explain or ask.model == "auto":
        decision.prediction = state.predictor.predict(ask.texts or [""])
        decision.quality_needed = state.policy.quality_needed(caller, decision.prediction.complexity)
    if ask.model == "auto":
        _choose(ask, caller, state, decision, explain=explain)
    else:
        _take_named(ask, caller, state, decision, explain=explain)
    if decision.model is not None:
        decision.tokens = _rough_tokens(ask, decision.candidates[0].offer)
        if decision.bound_nanos > MAX_NANOS:
            decision.refusal = ServiceError(
                Reason.INVALID_REQUEST,
                f"the request could cost more than {MAX_NANOS} nano-dollars; ask for less output",
            )
    return decision


def _rough_tokens(ask: Ask, offer: Offer) -> int:
    if ask.purpose is Purpose.GENERATE:
        return ask.input_bytes // _BYTES_PER_TOKEN + ask.choices * offer.output_tokens(ask)
    return sum(ask.inputs) // _BYTES_PER_TOKEN


def _take_named(ask: Ask, caller: Caller, state: State, decision: Decision, *, explain: bool) -> None:
    model = state.catalog.get(ask.model)
    if model is None:
        decision.refusal = _unknown(ask.model, caller, state)
    elif not state.policy.allows(caller, model.name):
        decision.refusal = ServiceError(
            Reason.MODEL_DENIED,
            f"this key may not use the model {model.name!r}; use one of {_names(caller, state)}, or ask for its tier "
            f"({caller.tenant.tier}) or its allowed models to be changed",
        )
    elif not ask.capabilities <= model.capabilities:
        missing = ", ".join(sorted(ask.capabilities - model.capabilities))
        decision.refusal = ServiceError(
            Reason.UNSUPPORTED_CAPABILITY,
            f"the model {model.name!r} cannot do {missing}; it can do "
            f"{', '.join(sorted(model.capabilities)) or 'nothing'}",
            metadata={"model": model.name},
        )
    else:
        endpoints = state.fleet.serving(model.name)
        if endpoints:
            offer = state.prices.offers_for(caller)[model.name]
            decision.candidates.append(Candidate(offer, offer.bound_nanos(ask), endpoints))
        else:
            decision.refusal = _nobody(f"no live engine serves the model {model.name!r}")
    if explain and model is not None:
        why = "" if decision.model is not None else _reason(decision)
        bound = state.prices.offers_for(caller)[model.name].bound_nanos(ask)
        decision.weighed.append(Weighed(model, bound, state.fleet.serving(model.name), why))


def _choose(ask: Ask, caller: Caller, state: State, decision: Decision, *, explain: bool) -> None:
    usable: list[Offer] = []
    passed: list[tuple[Offer, str]] = []
    capable = long_enough = False
    everything = state.policy.allows_everything(caller)
    serves = state.fleet.serves
    needs = ask.capabilities
    for offer in state.prices.offers_for(caller).values():
        model = offer.model
        if not (everything or state.policy.allows(caller, model.name)):
            why = "the key or its tier may not use it"
        elif not needs <= model.capabilities:
            why = f"it cannot do {', '.join(sorted(needs - model.capabilities))}"
        elif not _fits(ask, offer):
            capable = True
            why = f"its context of {offer.context} tokens is too short"
        elif not serves(model.name):
            capable = long_enough = True
            why = "no live engine serves it"
        else:
            usable.append(offer)
            continue
        if explain:
            passed.append((offer, why))
    chosen: Offer | None = None
    if usable:
        needed = decision.quality_needed
        good = [offer for offer in usable if offer.model.quality >= needed]
        # The cheapest that is good enough (of equals the better, then the first by name), else the best there is.
        chosen = (
            _cheapest(ask, good) if good else max(usable, key=lambda one: (one.model.quality, -one.bound_nanos(ask)))
        )
        decision.candidates.append(Candidate(chosen, chosen.bound_nanos(ask), state.fleet.serving(chosen.model.name)))
    else:
        decision.refusal = _no_candidate(ask, capable=capable, long_enough=long_enough)
    if explain:
        passed += [(one, _why_not(ask, one, chosen, decision.quality_needed)) for one in usable]
        decision.weighed = [
            Weighed(one.model, one.bound_nanos(ask), state.fleet.serving(one.model.name), why)
            for one, why in sorted(passed, key=lambda pair: pair[0].model.name)
        ]


def _cheapest(ask: Ask, offers: list[Offer]) -> Offer:
    best = offers[0]
    if len(offers) > 1:
        least = best.bound_nanos(ask)
        for offer in offers[1:]:
            bound = offer.bound_nanos(ask)
            if bound < least or (bound == least and offer.model.quality > best.model.quality):
                best, least = offer, bound
    return best


def _why_not(ask: Ask, offer: Offer, chosen: Offer | None, needed: float) -> str:
    if chosen is None or offer is chosen:
        return ""
    if chosen.model.quality < needed:
        return f"none reaches the quality {needed:.2f} needed, and {chosen.model.name} is the best"
    if offer.model.quality < needed:
        return f"its quality {offer.model.quality:g} is under the {needed:.2f} needed"
    return f"it could cost {offer.bound_nanos(ask)} nano-dollars, and {chosen.model.name} {chosen.bound_nanos(ask)}"


def _fits(ask: Ask, offer: Offer) -> bool:
    """Whether prompt and answer probably fit the context together. Only the engine knows for sure."""
    context = offer.context
    if not context:
        return True
    if ask.purpose is Purpose.EMBED:
        return max(ask.inputs, default=0) // _BYTES_PER_TOKEN <= context
    return ask.input_bytes // _BYTES_PER_TOKEN + min(ask.max_output_tokens, context // 2) <= context


def _no_candidate(ask: Ask, *, capable: bool, long_enough: bool) -> ServiceError:
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
    return _nobody("no live engine serves a model for this request")


def _nobody(what: str) -> ServiceError:
    return ServiceError(Reason.NO_ENDPOINT, f"{what}; retry shortly, or start an engine", retry_after_s=1.0)


def _names(caller: Caller, state: State) -> str:
    allowed = [model.name for model in state.catalog.models if state.policy.allows(caller, model.name)]
    shown = ", ".join(allowed[:10])
    return (f"{shown} and {len(allowed) - 10} more" if len(allowed) > 10 else shown) or "none"


def _unknown(name: str, caller: Caller, state: State) -> ServiceError:
    allowed = [model.name for model in state.catalog.models if state.policy.allows(caller, model.name)]
    near = difflib.get_close_matches(name[:128], allowed, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else f"known: {_names(caller, state)}"
    return ServiceError(
        Reason.UNKNOWN_MODEL,
        f"no model {name[:128]!r}; {hint}",
        metadata={"near": ",".join(near)} if near else None,
    )


def _reason(decision: Decision) -> str:
    return decision.refusal.message if decision.refusal is not None else ""
