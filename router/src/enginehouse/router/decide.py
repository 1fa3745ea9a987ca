"""Which model serves a request, on which endpoints, and what it may cost at most. Pure: no I/O, no clock, no state.

`auto` takes the cheapest model that can do what is asked, fits the prompt, is alive, is allowed, and is as good as the
policy asks for the request and the prompt's complexity; where none is good enough, the best that is left. A policy may
name models to take first, learn from feedback within bounds, and say what to fall back to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.pricing import MAX_NANOS
from enginehouse.router import refusals
from enginehouse.router.affinity import affinity_key
from enginehouse.router.asks import Ask, Purpose
from enginehouse.router.complexity import Prediction
from enginehouse.router.decision import Candidate, Decision, State, Weighed
from enginehouse.router.endpoints import Endpoint
from enginehouse.router.feedback import Arm, pick_arm
from enginehouse.router.identity import Caller
from enginehouse.router.policy import BanditTerms, Rules
from enginehouse.router.prices import Offer

__all__ = ["Candidate", "Decision", "State", "Weighed", "decide"]

# Bytes of text a token stands for, at least on average; for whether a prompt may fit, never for money.
_BYTES_PER_TOKEN = 4


def decide(ask: Ask, caller: Caller, state: State, *, request_id: str = "", explain: bool = False) -> Decision:
    """Decides. Under 20 us for a named model and 1 KB of prompt, under 100 us for `auto` over a handful of models.

    Args:
        ask: the request.
        caller: whose it is.
        state: what there is.
        request_id: by which a request is chosen to explore, where the policy learns; without it none does.
        explain: whether to say of every model why it was passed over. It changes nothing else.
    """
    task = ask.task or ("embed" if ask.purpose is Purpose.EMBED else "generate")
    subject = ask.subject or state.policy.subject_of(caller, ask.texts)
    rules = state.policy.rules(caller, task=task, subject=subject)
    decision = Decision(rules, task, subject)
    free = ask.model == "auto"
    if explain or free:
        decision.prediction = state.predictor.predict(ask.texts or [""])
        decision.quality_needed = rules.quality_needed(decision.prediction.complexity)
    one = _Choice(ask, caller, state, decision)
    if free:
        one.choose(request_id)
    else:
        one.take_named()
    if explain:
        one.explain()
    if decision.candidates:
        decision.tokens = _rough_tokens(ask, decision.candidates[0].offer)
        if decision.bound_nanos > MAX_NANOS:
            decision.refusal = ServiceError(
                Reason.INVALID_REQUEST,
                f"the request could cost more than {MAX_NANOS} nano-dollars; ask for less output",
            )
    return decision


class _Choice:
    """One decision while it is made."""

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

    def __init__(self, ask: Ask, caller: Caller, state: State, decision: Decision) -> None:
        self.ask = ask
        self.caller = caller
        self.state = state
        self.decision = decision
        self.rules: Rules = decision.rules
        self.offers: Mapping[str, Offer] = state.prices.offers_for(caller)
        self.free = ask.model == "auto"
        self.affinity = affinity_key(caller.tenant.tenant_id, ask, characters=state.affinity_characters)
        self.endpoints: dict[str, Sequence[Endpoint]] = {}
        # What was chosen before falling back.
        self.first: Offer | None = None
        # Whether feedback changed what the rules alone would choose.
        self.learned = False
        # By model, why it was passed over, where that is known before the choice.
        self.why: dict[str, str] = {}

    def take_named(self) -> None:
        """Takes the model that the request names, or what the policy lets it fall back to."""
        ask, decision = self.ask, self.decision
        model = self.state.catalog.get(ask.model)
        if model is None:
            decision.refusal = refusals.unknown(ask.model, self.caller, self.state)
            return
        offer = self.offers[model.name]
        why = self._forbids(offer)
        if why:
            decision.refusal = refusals.denied(model, why, self.caller, self.state)
        elif not ask.capabilities <= model.capabilities:
            decision.refusal = refusals.incapable(ask, model)
        else:
            endpoints = self._endpoints(offer)
            if endpoints:
                decision.candidates.append(Candidate(offer, offer.bound_nanos(ask), endpoints))
            self._fall_back(offer)
            if not decision.candidates:
                decision.refusal = refusals.no_endpoint(f"no live engine serves the model {model.name!r}")

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
        self.decision.candidates.append(Candidate(chosen, chosen.bound_nanos(self.ask), self._endpoints(chosen)))
        self._fall_back(chosen)

    def explain(self) -> None:
        """Says of every model why it was chosen or passed over."""
        ask, decision = self.ask, self.decision
        if decision.candidates:
            decision.rule = self._rule(decision.candidates[0].offer)
        places = {candidate.model.name: place for place, candidate in enumerate(decision.candidates)}
        for name in sorted(self.offers):
            offer = self.offers[name]
            endpoints = self._endpoints(offer)
            place = places.get(name)
            decision.weighed.append(
                Weighed(
                    model=offer.model,
                    bound_nanos=offer.bound_nanos(ask),
                    endpoints=endpoints,
                    passed_over="" if place == 0 else self._why_not(offer, place),
                    sufficiency=_sufficiency(decision.prediction, offer),
                    first_token_ms=self._first_token_ms(offer),
                    fallback=place or 0,
                )
            )

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
            self.decision.refusal = refusals.no_candidate(ask, capable=capable, long_enough=long_enough, kept=kept)
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
        expected = [self._first_token_ms(one) for one in usable]
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
        good = [one for one in usable if self._good_enough(one)]
        if good:
            return _cheapest(self.ask, good)
        return max(usable, key=lambda one: (one.model.quality, -one.bound_nanos(self.ask)))

    def _good_enough(self, offer: Offer) -> bool:
        if offer.model.quality < self.decision.quality_needed:
            return False
        least = self.rules.sufficiency
        if least is None:
            return True
        return _sufficiency(self.decision.prediction, offer) >= least

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
            endpoints = self._endpoints(offer)
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

    def _endpoints(self, offer: Offer) -> Sequence[Endpoint]:
        """Where to send the request for a model, in order; worked out once."""
        name = offer.model.name
        found = self.endpoints.get(name)
        if found is None:
            found = self.endpoints[name] = self.state.fleet.serving(name, affinity=self.affinity)
        return found

    def _rule(self, chosen: Offer) -> str:
        """Why a model is the one chosen."""
        name, asked = chosen.model.name, self.ask.model
        if not self.free:
            return (
                f"the request names {name}"
                if name == asked
                else f"{asked} has {self.state.fleet.health_of(asked)}, and the policy falls back to {name}"
            )
        if self.first is not None and chosen is not self.first:
            return f"the engines of {self.first.model.name} fail, and the policy falls back to {name}"
        if name in self.rules.prefer:
            return f"{self.rules.prefer[name]} of the policy prefers {name}"
        if self.learned:
            return f"feedback on answers in the class {self.decision.prompt_class} speaks for {name}"
        if not self._good_enough(chosen):
            return f"none is as good as the policy asks, and {name} is the best"
        return f"{name} is the cheapest that is good enough"

    def _first_token_ms(self, offer: Offer) -> int | None:
        return self.state.first_tokens.expected_ms(offer.model.name, lambda: self._endpoints(offer))

    def _why_not(self, offer: Offer, place: int | None) -> str:
        """Why a model is not the one chosen."""
        decision, ask = self.decision, self.ask
        if place is not None:
            return f"it is fallback {place}"
        if offer.model.name in self.why:
            return self.why[offer.model.name]
        if not self.free and offer.model.name != ask.model:
            return f"the request names {ask.model}"
        if not decision.candidates:
            return "" if decision.refusal is None else decision.refusal.message
        chosen = decision.candidates[0].offer
        name, needed = chosen.model.name, decision.quality_needed
        if not self.free or name in self.rules.prefer or self.learned or not self._good_enough(chosen):
            return decision.rule
        if offer.model.quality < needed:
            return f"its quality {offer.model.quality:g} is under the {needed:.2f} needed"
        if not self._good_enough(offer):
            return (
                f"its answer suffices with probability {_sufficiency(decision.prediction, offer):.2f}, and the "
                f"policy asks for {self.rules.sufficiency:.2f}"
            )
        return f"it could cost {offer.bound_nanos(ask)} nano-dollars, and {name} {chosen.bound_nanos(ask)}"


def _cheapest(ask: Ask, offers: list[Offer]) -> Offer:
    best = offers[0]
    if len(offers) > 1:
        least = best.bound_nanos(ask)
        for offer in offers[1:]:
            bound = offer.bound_nanos(ask)
            if bound < least or (bound == least and offer.model.quality > best.model.quality):
                best, least = offer, bound
    return best


def _rough_tokens(ask: Ask, offer: Offer) -> int:
    if ask.purpose is Purpose.GENERATE:
        return ask.input_bytes // _BYTES_PER_TOKEN + ask.choices * offer.output_tokens(ask)
    return sum(ask.inputs) // _BYTES_PER_TOKEN


def _fits(ask: Ask, offer: Offer) -> bool:
    """Whether prompt and answer probably fit the context together. Only the engine knows for sure."""
    context = offer.context
    if not context:
        return True
    if ask.purpose is Purpose.EMBED:
        return max(ask.inputs, default=0) // _BYTES_PER_TOKEN <= context
    return ask.input_bytes // _BYTES_PER_TOKEN + min(ask.max_output_tokens, context // 2) <= context


def _sufficiency(prediction: Prediction | None, offer: Offer) -> float:
    """The probability that the model's answer suffices."""
    return 0.0 if prediction is None else prediction.suffices(offer.model.quality)
