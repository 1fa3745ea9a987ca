"""The choice of a model and of what to fall back to, step by step. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from enginehouse.kit.errors import ServiceError
from enginehouse.router.decision import errors
from enginehouse.router.decision.decision import Candidate, State, prompt_class
from enginehouse.router.decision.languages import LanguageFilter
from enginehouse.router.feedback import BanditArm, pick_arm
from enginehouse.router.fleet.affinity import affinity_key
from enginehouse.router.fleet.fleet import Endpoint
from enginehouse.router.identity import Caller
from enginehouse.router.policy import BanditSettings, PolicyRules
from enginehouse.router.predictor.complexity import Prediction
from enginehouse.router.prices import Offer
from enginehouse.router.request import InferenceRequest, Task

# Bytes of text a token stands for, at least on average; for whether a prompt may fit, never for money.
_BYTES_PER_TOKEN = 4
_ASLEEP = "no live engine serves it"


class ModelSelector:
    """One decision while it is made.

    Attributes:
        candidates: the model chosen, then those to fall back to, in order.
        refusal: why no model can serve the request; None while one can.
        first: the offer chosen before falling back; None until then.
        learned: whether feedback changed what the rules alone would choose.
        language: which models suit the request's language and voice.
        rejections: by model, the reason why it was rejected, where that is known before the choice.
    """

    __slots__ = (
        "affinity",
        "caller",
        "candidates",
        "endpoints",
        "first",
        "free",
        "language",
        "learned",
        "offers",
        "prediction",
        "quality_needed",
        "refusal",
        "rejections",
        "request",
        "rules",
        "state",
        "task",
    )

    def __init__(
        self,
        request: InferenceRequest,
        caller: Caller,
        state: State,
        *,
        rules: PolicyRules,
        task: str,
        prediction: Prediction | None,
        quality_needed: float,
    ) -> None:
        self.request = request
        self.caller = caller
        self.state = state
        self.rules = rules
        self.task = task
        self.prediction = prediction
        self.quality_needed = quality_needed
        self.offers: Mapping[str, Offer] = state.prices.offers_for(caller)
        self.free = request.model == "auto"
        self.language = LanguageFilter(request, state)
        self.affinity = affinity_key(caller.tenant.tenant_id, request, characters=state.affinity_characters)
        self.endpoints: dict[str, Sequence[Endpoint]] = {}
        self.candidates: list[Candidate] = []
        self.refusal: ServiceError | None = None
        self.first: Offer | None = None
        self.learned = False
        self.rejections: dict[str, str] = {}

    def take_named(self) -> None:
        """Take the model that the request names, or its fallbacks by the policy."""
        request = self.request
        model = self.state.catalog.get(request.model)
        if model is None:
            self.refusal = errors.unknown(request.model, self.caller, self.state)
            return
        offer = self.offers[model.name]
        why = self._forbids(offer)
        if why:
            self.refusal = errors.denied(model, why, self.caller, self.state)
        elif not request.capabilities <= model.capabilities:
            self.refusal = errors.incapable(request, model)
        else:
            endpoints = self.endpoints_of(offer)
            if endpoints:
                self.candidates.append(Candidate(offer, offer.bound_nanos(request), endpoints))
            self._fall_back(offer)
            if not self.candidates:
                self.refusal = errors.unserved(model, self.state)

    def choose(self, request_id: str) -> None:
        """Take a model of the router's choice."""
        usable = self._usable()
        if usable:
            usable = self._narrowed(usable)
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
        self.candidates.append(Candidate(chosen, chosen.bound_nanos(self.request), self.endpoints_of(chosen)))
        self._fall_back(chosen)

    def _usable(self) -> list[Offer]:
        """The offers that `auto` may take. Sets the refusal where there are none."""
        usable = []
        request, other_specialists = self.request, self.rules.other_specialists
        needs = request.capabilities
        open_ = self.rules.allow_everything and not self.caller.key.allowed_models
        serves = self.state.fleet.serves
        capable = long_enough = False
        kept = ""
        for name, offer in self.offers.items():
            if not open_ and (why := self._forbids(offer)):
                self.rejections[name] = why
            elif not needs <= offer.model.capabilities:
                self.rejections[name] = f"it cannot do {', '.join(sorted(needs - offer.model.capabilities))}"
            elif not _fits(request, offer):
                capable = True
                self.rejections[name] = f"its context of {offer.context} tokens is too short"
            elif not serves(name):
                capable = long_enough = True
                self.rejections[name] = _ASLEEP
            elif name in other_specialists:
                capable = long_enough = True
                kept = other_specialists[name]
                self.rejections[name] = f"it is kept for the subject {kept}"
            else:
                usable.append(offer)
        if not usable:
            self.refusal = errors.no_candidate(request, capable=capable, long_enough=long_enough, kept=kept)
        return usable

    def _narrowed(self, usable: list[Offer]) -> list[Offer]:
        """Return the offers that suit the request's language and voice. Sets the refusal where there are none."""
        if self.language.idle:
            usable = self.language.detect(usable)
        else:
            asleep = [offer for name, offer in self.offers.items() if self.rejections.get(name) == _ASLEEP]
            usable = self.language.narrow(usable, asleep)
        self.rejections |= self.language.rejections
        self.refusal = self.language.refusal
        return usable

    def _well(self, usable: list[Offer]) -> list[Offer]:
        """Return the offers whose engines answer; all of them where none's do, for a breaker only remembers."""
        fleet = self.state.fleet
        if fleet.health.untroubled:
            return usable
        well = [offer for offer in usable if fleet.is_well(offer.model.name)]
        if not well:
            return usable
        for offer in usable:
            if offer not in well:
                self.rejections[offer.model.name] = f"its engines fail: {fleet.health_of(offer.model.name)}"
        return well

    def _quick(self, usable: list[Offer]) -> list[Offer]:
        """Return the offers that are expected to begin in time; the quickest alone where none is."""
        most = self.rules.max_first_token_ms
        if not most:
            return usable
        expected = [self.first_token_ms(offer) for offer in usable]
        # What was never measured is given the chance to be.
        quick = [offer for offer, milliseconds in zip(usable, expected, strict=True) if (milliseconds or 0) <= most]
        if not quick:
            quick = [min(zip(usable, expected, strict=True), key=lambda pair: pair[1] or 0)[0]]
        for offer, milliseconds in zip(usable, expected, strict=True):
            if offer not in quick:
                self.rejections[offer.model.name] = (
                    f"its first token takes about {milliseconds} ms, and the policy asks for at most {most} ms"
                )
        return quick

    def _cheapest_good(self, usable: list[Offer]) -> Offer:
        """The cheapest that is good enough (of equals the better, then the first by name), else the best there is."""
        good = [offer for offer in usable if self.good_enough(offer)]
        if good:
            return _cheapest(self.request, good)
        return max(usable, key=lambda offer: (offer.model.quality, -offer.bound_nanos(self.request)))

    def good_enough(self, offer: Offer) -> bool:
        """Return whether the policy asks for no more than the model gives for this prompt."""
        if offer.model.quality < self.quality_needed:
            return False
        least = self.rules.sufficiency
        if least is None:
            return True
        return sufficiency(self.prediction, offer) >= least

    def _learned(self, settings: BanditSettings, usable: list[Offer], chosen: Offer, request_id: str) -> Offer:
        """Return the offer that feedback prefers, among those within the policy's bounds."""
        request, most = self.request, chosen.bound_nanos(self.request) * settings.max_price_factor
        floor = max(settings.quality_floor, self.rules.quality_floor)
        bounded = []
        for offer in usable:
            name = offer.model.name
            if offer is chosen:
                bounded.append(offer)
            elif not floor <= offer.model.quality <= settings.quality_ceiling or name in self.rejections:
                continue
            elif offer.bound_nanos(request) <= most:
                bounded.append(offer)
        if len(bounded) == 1:
            return chosen
        place = pick_arm(
            [BanditArm(offer.model.name, offer.model.quality, offer.bound_nanos(request)) for offer in bounded],
            self.state.ratings.of(prompt_class(self.task, self.prediction), half_life_days=settings.half_life_days),
            request_id=request_id,
            explore_share=settings.explore_share,
            prior_weight=settings.prior_weight,
        )
        self.learned = bounded[place] is not chosen
        return bounded[place]

    def _fall_back(self, first: Offer) -> None:
        """Add the fallbacks that the policy has for a model."""
        self.first = first
        chain = self.rules.fallbacks.get(first.model.name)
        if chain is None or not (self.free or chain.for_named):
            return
        request, factor = self.request, chain.max_price_factor
        most = None if factor is None else first.bound_nanos(request) * factor
        for name in chain.models:
            offer = self.offers.get(name)
            if (
                offer is None
                or self._forbids(offer)
                or not request.capabilities <= offer.model.capabilities
                or not _fits(request, offer)
                or not (self.language.idle or self.language.suits(offer))
            ):
                continue
            endpoints = self.endpoints_of(offer)
            bound = offer.bound_nanos(request)
            # A request stays within the engines of one cluster, to which its method leads.
            if endpoints and offer.model.cluster == first.model.cluster and (most is None or bound <= most):
                self.candidates.append(Candidate(offer, bound, endpoints))
        # A model whose engines fail is the last to be tried, while others can step in.
        well = self.state.fleet.is_well
        if not self.state.fleet.health.untroubled:
            self.candidates.sort(key=lambda candidate: not well(candidate.model.name))

    def _forbids(self, offer: Offer) -> str:
        """Return the reason why the caller may not use the model; empty if it may."""
        allowed = self.caller.key.allowed_models
        if allowed and offer.model.name not in allowed:
            return "the key may not use it"
        return self.rules.rejection_reason(offer.model)

    def endpoints_of(self, offer: Offer) -> Sequence[Endpoint]:
        """Return the endpoints of a model, in order; worked out once."""
        name = offer.model.name
        found = self.endpoints.get(name)
        if found is None:
            found = self.endpoints[name] = self.state.fleet.serving(name, affinity=self.affinity)
        return found

    def first_token_ms(self, offer: Offer) -> int | None:
        """Return the expected time to its first token in milliseconds; None where nothing was measured."""
        return self.state.first_tokens.expected_ms(offer.model.name, lambda: self.endpoints_of(offer))


def sufficiency(prediction: Prediction | None, offer: Offer) -> float:
    """The probability that the model's answer suffices."""
    return 0.0 if prediction is None else prediction.suffices(offer.model.quality)


def rough_tokens(request: InferenceRequest, offer: Offer) -> int:
    """Return the number of tokens that the request may take, roughly in and at most out."""
    if request.task == Task.GENERATE:
        return request.input_bytes // _BYTES_PER_TOKEN + request.choices * offer.output_tokens(request)
    return sum(request.inputs) // _BYTES_PER_TOKEN


def _cheapest(request: InferenceRequest, offers: list[Offer]) -> Offer:
    best = offers[0]
    if len(offers) > 1:
        least = best.bound_nanos(request)
        for offer in offers[1:]:
            bound = offer.bound_nanos(request)
            if bound < least or (bound == least and offer.model.quality > best.model.quality):
                best, least = offer, bound
    return best


def _fits(request: InferenceRequest, offer: Offer) -> bool:
    """Return whether prompt and answer probably fit the context together. Only the engine knows for sure."""
    context = offer.context
    if not context:
        return True
    if request.task == Task.EMBED:
        return max(request.inputs, default=0) // _BYTES_PER_TOKEN <= context
    size = max(request.inputs, default=request.input_bytes)
    return size // _BYTES_PER_TOKEN + min(request.max_output_tokens, context // 2) <= context
