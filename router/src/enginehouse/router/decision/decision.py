"""The inputs of a decision, and its outcome."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from enginehouse.kit.catalog import Catalog, CatalogModel
from enginehouse.kit.errors import ServiceError
from enginehouse.router.decision.first_tokens import FirstTokens
from enginehouse.router.decision.languages import ModelLanguages
from enginehouse.router.decision.single_model import RecentChoices, SingleModelComparison
from enginehouse.router.feedback import NO_RATINGS, Ratings
from enginehouse.router.fleet.fleet import Declared, Endpoint, Fleet, in_order
from enginehouse.router.identity import Caller
from enginehouse.router.policy import Policy, PolicyRules
from enginehouse.router.predictor.complexity import Prediction, Predictor
from enginehouse.router.prices import Offer, PriceBook


class State:
    """The inputs of a decision besides the request; none of it changes during one.

    Args:
        catalog: the models.
        fleet: which of them are served, and where.
        policy: the rules.
        predictor: how demanding a prompt is.
        prices: what callers pay now; without it, the catalog's prices hold.
        first_tokens: how long models took lately; without it, nothing is known.
        affinity_characters: how much of a prompt's beginning says which engine it belongs to; 0 for none.
    """

    __slots__ = (
        "_languages",
        "affinity_characters",
        "catalog",
        "first_tokens",
        "fleet",
        "policy",
        "predictor",
        "prices",
        "ratings",
        "recent",
    )

    def __init__(
        self,
        *,
        catalog: Catalog,
        fleet: Fleet,
        policy: Policy,
        predictor: Predictor,
        prices: PriceBook | None = None,
        first_tokens: FirstTokens | None = None,
        affinity_characters: int = 0,
    ) -> None:
        self.catalog = catalog
        self.fleet = fleet
        self.policy = policy
        self.predictor = predictor
        self.prices = PriceBook(catalog=catalog) if prices is None else prices
        self.first_tokens = FirstTokens() if first_tokens is None else first_tokens
        self.affinity_characters = affinity_characters
        self.ratings: Ratings = NO_RATINGS
        """The ratings of models; replaced whole when they are read again."""
        self.recent = RecentChoices()
        """The latest choices, for comparing them with a single model; no decision looks at them."""
        self._languages: dict[str, tuple[Declared, ModelLanguages]] = {}

    def languages_of(self, model: CatalogModel) -> ModelLanguages:
        """Return the languages of a model, the catalog's or else its engines', and its voices."""
        declared = self.fleet.declared(model.name)
        found = self._languages.get(model.name)
        if found is None or found[0] is not declared:
            languages = ModelLanguages(model.languages or declared.languages, declared.voices)
            found = self._languages[model.name] = declared, languages
        return found[1]

    def allows(self, caller: Caller, model: str) -> bool:
        """Return whether there is such a model, and the caller may use it for one task or other."""
        found = self.catalog.get(model)
        return found is not None and self.policy.allows(caller, found)


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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ConsideredModel:
    """A model that was considered.

    Attributes:
        rejection_reason: why it was not chosen; empty for the one chosen.
        sufficiency: the probability that its answer suffices, 0 to 1.
        first_token_ms: the expected time to its first token; None where nothing was measured.
        fallback: its place among the fallbacks, from 1; 0 if it is none.
    """

    model: CatalogModel
    bound_nanos: int
    endpoints: Sequence[Endpoint]
    rejection_reason: str
    sufficiency: float = 0.0
    first_token_ms: int | None = None
    fallback: int = 0


# A tuple: one is made for each request, and a frozen dataclass of ten fields takes 1.4 us more.
class Decision(NamedTuple):
    """The outcome of a decision.

    Attributes:
        rules: what the request must keep to.
        task: what it is for.
        subject: what it is about; empty for nothing in particular.
        candidates: the model chosen, then those to fall back to, in order. Empty where no model can serve.
        refusal: why the request can't be served.
        tokens: how many tokens it may take, roughly in and at most out, for limits on tokens.
        prediction: the complexity, where the choice was free or is to be explained.
        quality_needed: what the policy asks for that complexity.
        rule: why the model was chosen, if that is to be explained.
        considered: every model, if it is to be explained.
        languages: the languages of which a model had to know one, as BCP 47 tags; empty if the language did not matter.
        language_detected: whether they were detected, not asked for.
        single_model: recent choices beside one model for all, if it is to be explained and there are any.
    """

    rules: PolicyRules
    task: str
    subject: str
    candidates: tuple[Candidate, ...] = ()
    refusal: ServiceError | None = None
    tokens: int = 0
    prediction: Prediction | None = None
    quality_needed: float = 0.0
    rule: str = ""
    considered: tuple[ConsideredModel, ...] = ()
    languages: tuple[str, ...] = ()
    language_detected: bool = False
    single_model: SingleModelComparison | None = None

    @property
    def model(self) -> CatalogModel | None:
        """The model chosen, if one can serve."""
        return self.candidates[0].model if self.candidates else None

    @property
    def bound_nanos(self) -> int:
        """The most that the request may cost on any candidate."""
        candidates = self.candidates
        if len(candidates) == 1:
            return candidates[0].bound_nanos
        return max([candidate.bound_nanos for candidate in candidates], default=0)

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """Where to try it, in order: the chosen model's endpoints, then each fallback's, none twice."""
        candidates = self.candidates
        if len(candidates) == 1:
            return candidates[0].endpoints
        return in_order([candidate.endpoints for candidate in candidates]) if candidates else ()

    @property
    def prompt_class(self) -> str:
        """The class of prompts that feedback on the answer is counted under."""
        return prompt_class(self.task, self.prediction)


def prompt_class(task: str, prediction: Prediction | None) -> str:
    """The class of a prompt: its task, and its complexity in four steps ("-" where none was predicted)."""
    if prediction is None:
        return f"{task}/-"
    return f"{task}/{min(3, int(prediction.complexity * 4))}"
