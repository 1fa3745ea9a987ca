"""Why a model was chosen, and why every other was not, in words."""

from __future__ import annotations

from enginehouse.router.decision.decision import Weighed
from enginehouse.router.decision.selector import ModelSelector, sufficiency
from enginehouse.router.prices import Offer


def explain(choice: ModelSelector) -> None:
    """Says of every model why it was chosen or passed over."""
    ask, decision = choice.ask, choice.decision
    if decision.candidates:
        decision.rule = _rule(choice, decision.candidates[0].offer)
    places = {candidate.model.name: place for place, candidate in enumerate(decision.candidates)}
    for name in sorted(choice.offers):
        offer = choice.offers[name]
        endpoints = choice.endpoints_of(offer)
        place = places.get(name)
        decision.weighed.append(
            Weighed(
                model=offer.model,
                bound_nanos=offer.bound_nanos(ask),
                endpoints=endpoints,
                rejection_reason="" if place == 0 else _why_not(choice, offer, place),
                sufficiency=sufficiency(decision.prediction, offer),
                first_token_ms=choice.first_token_ms(offer),
                fallback=place or 0,
            )
        )


def _rule(choice: ModelSelector, chosen: Offer) -> str:
    """Why a model is the one chosen."""
    name, asked = chosen.model.name, choice.ask.model
    if not choice.free:
        return (
            f"the request names {name}"
            if name == asked
            else f"{asked} has {choice.state.fleet.health_of(asked)}, and the policy falls back to {name}"
        )
    if choice.first is not None and chosen is not choice.first:
        return f"the engines of {choice.first.model.name} fail, and the policy falls back to {name}"
    if name in choice.rules.prefer:
        return f"{choice.rules.prefer[name]} of the policy prefers {name}"
    if choice.learned:
        return f"feedback on answers in the class {choice.decision.prompt_class} speaks for {name}"
    if not choice.good_enough(chosen):
        return f"none is as good as the policy asks, and {name} is the best"
    return f"{name} is the cheapest that is good enough"


def _why_not(choice: ModelSelector, offer: Offer, place: int | None) -> str:
    """Why a model is not the one chosen."""
    decision, ask = choice.decision, choice.ask
    if place is not None:
        return f"it is fallback {place}"
    if offer.model.name in choice.why:
        return choice.why[offer.model.name]
    if not choice.free and offer.model.name != ask.model:
        return f"the request names {ask.model}"
    if not decision.candidates:
        return "" if decision.refusal is None else decision.refusal.message
    chosen = decision.candidates[0].offer
    name, needed = chosen.model.name, decision.quality_needed
    if not choice.free or name in choice.rules.prefer or choice.learned or not choice.good_enough(chosen):
        return decision.rule
    if offer.model.quality < needed:
        return f"its quality {offer.model.quality:g} is under the {needed:.2f} needed"
    if not choice.good_enough(offer):
        return (
            f"its answer suffices with probability {sufficiency(decision.prediction, offer):.2f}, and the "
            f"policy asks for {choice.rules.sufficiency:.2f}"
        )
    return f"it could cost {offer.bound_nanos(ask)} nano-dollars, and {name} {chosen.bound_nanos(ask)}"
