"""The reasons why a model was chosen and every other was rejected, in words."""

from __future__ import annotations

from enginehouse.router.decision.decision import ConsideredModel, prompt_class
from enginehouse.router.decision.selector import ModelSelector, sufficiency
from enginehouse.router.decision.single_model import SingleModelComparison, compare
from enginehouse.router.prices import Offer


def explain(selector: ModelSelector) -> tuple[str, tuple[ConsideredModel, ...]]:
    """Return the reason why the model was chosen, and every model with the reason why it was rejected."""
    rule = _rule(selector, selector.candidates[0].offer) if selector.candidates else ""
    places = {candidate.model.name: place for place, candidate in enumerate(selector.candidates)}
    considered = []
    for name in sorted(selector.offers):
        offer = selector.offers[name]
        place = places.get(name)
        considered.append(
            ConsideredModel(
                model=offer.model,
                bound_nanos=offer.bound_nanos(selector.request),
                endpoints=selector.endpoints_of(offer),
                rejection_reason="" if place == 0 else _rejection_reason(selector, offer, place, rule),
                sufficiency=sufficiency(selector.prediction, offer),
                first_token_ms=selector.first_token_ms(offer),
                fallback=place or 0,
            )
        )
    return rule, tuple(considered)


def compare_with_single_model(selector: ModelSelector) -> SingleModelComparison | None:
    """Compare the tenant's recent choices with each model that could serve this request too; None for a named model."""
    if not selector.free:
        return None
    usable = [offer for name, offer in selector.offers.items() if name not in selector.rejections]
    return compare(selector.state.recent.of(selector.caller.tenant.tenant_id), usable)


def _rule(selector: ModelSelector, chosen: Offer) -> str:
    """Return the reason why a model is the one chosen."""
    name, asked, alias = chosen.model.name, selector.request.model, selector.request.alias
    if not selector.free:
        return (
            f"the request names {name}" + (f" by its alias {alias}" if alias else "")
            if name == asked
            else f"{asked} has {selector.state.fleet.health_of(asked)}, and the policy falls back to {name}"
        )
    if selector.first is not None and chosen is not selector.first:
        return f"the engines of {selector.first.model.name} fail, and the policy falls back to {name}"
    if name in selector.rules.prefer:
        return f"{selector.rules.prefer[name]} of the policy prefers {name}"
    if selector.learned:
        return f"feedback on answers in the class {prompt_class(selector.task, selector.prediction)} speaks for {name}"
    if not selector.good_enough(chosen):
        return f"none is as good as the policy asks, and {name} is the best{selector.language.words()}"
    return f"{name} is the cheapest that is good enough{selector.language.words()}"


def _rejection_reason(selector: ModelSelector, offer: Offer, place: int | None, rule: str) -> str:
    """Return the reason why a model is not the one chosen."""
    request = selector.request
    if place is not None:
        return f"it is fallback {place}"
    if offer.model.name in selector.rejections:
        return selector.rejections[offer.model.name]
    if not selector.free and offer.model.name != request.model:
        return f"the request names {request.model}"
    if not selector.candidates:
        return "" if selector.refusal is None else selector.refusal.message
    chosen = selector.candidates[0].offer
    name, needed = chosen.model.name, selector.quality_needed
    if not selector.free or name in selector.rules.prefer or selector.learned or not selector.good_enough(chosen):
        return rule
    if offer.model.quality < needed:
        return f"its quality {offer.model.quality:g} is under the {needed:.2f} needed"
    if not selector.good_enough(offer):
        return (
            f"its answer suffices with probability {sufficiency(selector.prediction, offer):.2f}, and the "
            f"policy asks for {selector.rules.sufficiency:.2f}"
        )
    return f"it could cost {offer.bound_nanos(request)} nano-dollars, and {name} {chosen.bound_nanos(request)}"
