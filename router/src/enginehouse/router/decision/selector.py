"""The choice of a model and of what to fall back to, step by step. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from enginehouse.router.decision import errors
from enginehouse.router.decision.decision import Candidate, Decision, State
from enginehouse.router.feedback import Arm, pick_arm
from enginehouse.router.fleet.affinity import affinity_key
from enginehouse.router.fleet.fleet import Endpoint
from enginehouse.router.identity import Caller
from enginehouse.router.policy import BanditTerms, Rules
from enginehouse.router.predictor.complexity import Prediction
from enginehouse.router.prices import Offer
from enginehouse.router.request import InferenceRequest, Purpose

# Bytes of text a token stands for, at least on average; for whether a prompt may fit, never for money.
_BYTES_PER_TOKEN = 4


class ModelSelector:
    """One decision while it is made.

    Attributes:
        first: what was chosen before falling back; None until then.
        learned: whether feedback changed what the rules alone would choose.
        why: by model, why it was passed over, where that is known before the choice.
    """

    __slots__ = (
        "affinity",
        "ask",
        "caller",
        "decision",
        "endpoints",
        "first",
        "free",
        "learned",
        "offers",
        "rules",
        "state",
        "why",
    )

    def __init__(self, ask: InferenceRequest, caller: Caller, state: State, decision: Decision) -> None:
        self.ask = ask
        self.caller = caller
        self.state = state
        self.decision = decision
        self.rules: Rules = decision.rules
        self.offers: Mapping[str, Offer] = state.prices.offers_for(caller)
        self.free = ask.model == "auto"
        self.affinity = affinity_key(caller.tenant.tenant_id, ask, characters=state.affinity_characters)
        self.endpoints: dict[str, Sequence[Endpoint]] = {}
        self.first: Offer | None = None
        self.learned = False
        self.why: dict[str, str] = {}

    def take_named(self) -> None:
        """Takes the model that the request names, or what the policy lets it fall back to."""
        ask, decision = self.ask, self.decision
        model = self.state.catalog.get(ask.model)
        if model is None:
            decision.refusal = errors.unknown(ask.model, self.caller, self.state)
            return
        offer = self.offers[model.name]
        why = self._forbids(offer)
        if why:
            decision.refusal = errors.denied(model, why, self.caller, self.state)
        elif not ask.capabilities <= model.capabilities:
            decision.refusal = errors.incapable(ask, model)
        else:
            endpoints = self.endpoints_of(offer)
            if endpoints:
                decision.candidates.append(Candidate(offer, offer.bound_nanos(ask), endpoints))
            self._fall_back(offer)
            if not decision.candidates:
                decision.refusal = errors.no_endpoint(f"no live engine serves the model {model.name!r}")

    def choose(self, request_id: str) -> None:
        """Takes a model of the router's choice."""
        usable = self._usable()
        if not usable:
            return
        by_name = {offer.model.name: offer for offer in usable}
        well = self.state.fleet.is_well
        preferred = next((by_name[name] for name in self.rules.prefer if name in by_name and well(name)), None)
        if preferred is not None:
            chosen = preferred
        else:
            chosen = self._cheapest_good(self._quick(self._well(usable)))
            if self.rules.bandit is not None:
                chosen = self._learned(self.rules.bandit, usable, chosen, request_id)
        self.decision.candidates.append(Candidate(chosen, chosen.bound_nanos(self.ask), self.endpoints_of(chosen)))
        self._fall_back(chosen)

    def _usable(self) -> list[Offer]:
        """The offers that `auto` may take. Sets the refusal where there are none."""
        usable = []
        ask, elsewhere = self.ask, self.rules.elsewhere
        needs = ask.capabilities
        open_ = self.rules.allow_everything and not self.caller.key.allowed_models
        serves = self.state.fleet.serves
        capable = long_enough = False
        kept = ""
        for name, offer in self.offers.items():
            if not open_ and (why := self._forbids(offer)):
                self.why[name] = why
            elif not needs <= offer.model.capabilities:
                self.why[name] = f"it cannot do {', '.join(sorted(needs - offer.model.capabilities))}"
            elif not _fits(ask, offer):
                capable = True
                self.why[name] = f"its context of {offer.context} tokens is too short"
            elif not serves(name):
                capable = long_enough = True
                self.why[name] = "no live engine serves it"
            elif name in elsewhere:
                capable = long_enough = True
                kept = elsewhere[name]
                self.why[name] = f"it is kept for the subject {kept}"
            else:
                usable.append(offer)
        if not usable:
            self.decision.refusal = errors.no_candidate(ask, capable=capable, long_enough=long_enough, kept=kept)
        return usable

    def _well(self, usable: list[Offer]) -> list[Offer]:
        """Those whose engines answer; all of them where none's do, for a breaker only remembers."""
        fleet = self.state.fleet
        if fleet.health.untroubled:
            return usable
        well = [one for one in usable if fleet.is_well(one.model.name)]
        if not well:
            return usable
        for one in usable:
            if one not in well:
                self.why[one.model.name] = f"its engines fail: {fleet.health_of(one.model.name)}"
        return well

    def _quick(self, usable: list[Offer]) -> list[Offer]:
        """Those that are expected to begin in time; the quickest alone where none is."""
        most = self.rules.max_first_token_ms
        if not most:
            return usable
        expected = [self.first_token_ms(one) for one in usable]
        # What was never measured is given the chance to be.
        quick = [one for one, milliseconds in zip(usable, expected, strict=True) if (milliseconds or 0) <= most]
        if not quick:
            quick = [min(zip(usable, expected, strict=True), key=lambda pair: pair[1] or 0)[0]]
        for one, milliseconds in zip(usable, expected, strict=True):
            if one not in quick:
                self.why[one.model.name] = (
                    f"its first token takes about {milliseconds} ms, and the policy asks for at most {most} ms"
                )
        return quick

    def _cheapest_good(self, usable: list[Offer]) -> Offer:
        """The cheapest that is good enough (of equals the better, then the first by name), else the best there is."""
        good = [one for one in usable if self.good_enough(one)]
        if good:
            return _cheapest(self.ask, good)
        return max(usable, key=lambda one: (one.model.quality, -one.bound_nanos(self.ask)))

    def good_enough(self, offer: Offer) -> bool:
        """Whether the policy asks for no more than the model gives for this prompt."""
        if offer.model.quality < self.decision.quality_needed:
            return False
        least = self.rules.sufficiency
        if least is None:
            return True
        return sufficiency(self.decision.prediction, offer) >= least

    def _learned(self, terms: BanditTerms, usable: list[Offer], chosen: Offer, request_id: str) -> Offer:
        """The one that feedback speaks for, among those within the policy's bounds."""
        ask, most = self.ask, chosen.bound_nanos(self.ask) * terms.max_price_factor
        floor = max(terms.quality_floor, self.rules.quality_floor)
        bounded = []
        for offer in usable:
            name = offer.model.name
            if offer is chosen:
                bounded.append(offer)
            elif not floor <= offer.model.quality <= terms.quality_ceiling or name in self.why:
                continue
            elif offer.bound_nanos(ask) <= most:
                bounded.append(offer)
        if len(bounded) == 1:
            return chosen
        place = pick_arm(
            [Arm(one.model.name, one.model.quality, one.bound_nanos(ask)) for one in bounded],
            self.state.ratings.of(self.decision.prompt_class, half_life_days=terms.half_life_days),
            request_id=request_id,
            explore_share=terms.explore_share,
            prior_weight=terms.prior_weight,
        )
        self.learned = bounded[place] is not chosen
        return bounded[place]

    def _fall_back(self, first: Offer) -> None:
        """Adds what the policy falls back to from a model."""
        self.first = first
        chain = self.rules.fallbacks.get(first.model.name)
        if chain is None or not (self.free or chain.for_named):
            return
        ask, factor = self.ask, chain.max_price_factor
        most = None if factor is None else first.bound_nanos(ask) * factor
        for name in chain.models:
            offer = self.offers.get(name)
            if (
                offer is None
                or self._forbids(offer)
                or not ask.capabilities <= offer.model.capabilities
                or not _fits(ask, offer)
            ):
                continue
            endpoints = self.endpoints_of(offer)
            bound = offer.bound_nanos(ask)
            # A request stays within the engines of one cluster, to which its method leads.
            if endpoints and offer.model.cluster == first.model.cluster and (most is None or bound <= most):
                self.decision.candidates.append(Candidate(offer, bound, endpoints))
        # A model whose engines fail is the last to be tried, while others can step in.
        well = self.state.fleet.is_well
        if not self.state.fleet.health.untroubled:
            self.decision.candidates.sort(key=lambda one: not well(one.model.name))

    def _forbids(self, offer: Offer) -> str:
        """Why the caller may not use the model; empty if it may."""
        allowed = self.caller.key.allowed_models
        if allowed and offer.model.name not in allowed:
            return "the key may not use it"
        return self.rules.refuses(offer.model)

    def endpoints_of(self, offer: Offer) -> Sequence[Endpoint]:
        """Where to send the request for a model, in order; worked out once."""
        name = offer.model.name
        found = self.endpoints.get(name)
        if found is None:
            found = self.endpoints[name] = self.state.fleet.serving(name, affinity=self.affinity)
        return found

    def first_token_ms(self, offer: Offer) -> int | None:
        """When its first token is expected, in milliseconds; None where nothing was measured."""
        return self.state.first_tokens.expected_ms(offer.model.name, lambda: self.endpoints_of(offer))


def sufficiency(prediction: Prediction | None, offer: Offer) -> float:
    """The probability that the model's answer suffices."""
    return 0.0 if prediction is None else prediction.suffices(offer.model.quality)


def rough_tokens(ask: InferenceRequest, offer: Offer) -> int:
    """How many tokens the request may take, roughly in and at most out."""
    if ask.purpose is Purpose.GENERATE:
        return ask.input_bytes // _BYTES_PER_TOKEN + ask.choices * offer.output_tokens(ask)
    return sum(ask.inputs) // _BYTES_PER_TOKEN


def _cheapest(ask: InferenceRequest, offers: list[Offer]) -> Offer:
    best = offers[0]
    if len(offers) > 1:
        least = best.bound_nanos(ask)
        for offer in offers[1:]:
            bound = offer.bound_nanos(ask)
            if bound < least or (bound == least and offer.model.quality > best.model.quality):
                best, least = offer, bound
    return best


def _fits(ask: InferenceRequest, offer: Offer) -> bool:
    """Whether prompt and answer probably fit the context together. Only the engine knows for sure."""
    context = offer.context
    if not context:
        return True
    if ask.purpose is Purpose.EMBED:
        return max(ask.inputs, default=0) // _BYTES_PER_TOKEN <= context
    return ask.input_bytes // _BYTES_PER_TOKEN + min(ask.max_output_tokens, context // 2) <= context
