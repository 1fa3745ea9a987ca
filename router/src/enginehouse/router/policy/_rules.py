"""The rules that a request must keep to: layers laid over one another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from enginehouse.api.router.v1 import policy_pb2
from enginehouse.kit.catalog import CatalogModel

_HALF_LIFE_DAYS = 30.0
_PRIOR_WEIGHT = 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class Chain:
    """The models to try where another cannot serve, in order, with those that follow from them."""

    models: tuple[str, ...]
    for_named: bool
    # How many times the first model's bound a fallback's may be; None for any.
    max_price_factor: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class BanditTerms:
    """The bounds of learning from feedback; see `policy.proto` for what each means."""

    explore_share: float
    max_price_factor: float
    quality_floor: float
    quality_ceiling: float
    half_life_days: float
    prior_weight: float

    @classmethod
    def of(cls, message: policy_pb2.Bandit) -> BanditTerms:
        """The terms with what is left out filled in."""
        return cls(
            explore_share=message.explore_share,
            max_price_factor=message.max_price_factor or 1.0,
            quality_floor=message.quality_floor,
            quality_ceiling=message.quality_ceiling if message.HasField("quality_ceiling") else 1.0,
            half_life_days=message.half_life_days or _HALF_LIFE_DAYS,
            prior_weight=message.prior_weight or _PRIOR_WEIGHT,
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRules:
    """The rules of one request, as all layers together make them.

    Attributes:
        policy: the document's name.
        version: its version; 0 for what the configuration says.
        layers: which parts of it apply, in the order in which they lie over one another.
        quality_floor: the least quality for a trivial request.
        quality_ceiling: the least quality for the most demanding one.
        sufficiency: the least probability that an answer suffices, in place of the ceiling; None to go by quality.
        models: the only models that may be used; empty for all.
        models_by: the layer that said so.
        denied: models that may not be used, with the layer that says so.
        prefer: models that `auto` takes first, with the layer that says so.
        regions: where a model must be; None for anywhere.
        regions_by: the layers that said so.
        max_first_token_ms: the longest expected time to the first token; 0 for any.
        elsewhere: specialists of other subjects than the request's, which `auto` leaves alone, with their subject.
        fallbacks: what to fall back to, by model.
        bandit: how to learn from feedback; None for not at all.
    """

    policy: str
    version: int
    layers: tuple[str, ...]
    quality_floor: float
    quality_ceiling: float
    sufficiency: float | None = None
    models: frozenset[str] = frozenset()
    models_by: str = ""
    denied: Mapping[str, str] = dataclasses.field(default_factory=dict)
    prefer: Mapping[str, str] = dataclasses.field(default_factory=dict)
    regions: frozenset[str] | None = None
    regions_by: str = ""
    max_first_token_ms: int = 0
    elsewhere: Mapping[str, str] = dataclasses.field(default_factory=dict)
    fallbacks: Mapping[str, Chain] = dataclasses.field(default_factory=dict)
    bandit: BanditTerms | None = None

    @property
    def allow_everything(self) -> bool:
        """True if no model is refused."""
        return not self.models and not self.denied and self.regions is None

    def refuses(self, model: CatalogModel) -> str:
        """Return the reason why the model may not be used; empty if it may."""
        if self.models and model.name not in self.models:
            return f"{self.models_by} of the policy {self.policy!r} names the models that may be used, not this one"
        if model.name in self.denied:
            return f"{self.denied[model.name]} of the policy {self.policy!r} denies it"
        if self.regions is not None and model.region not in self.regions:
            where = f"in the region {model.region}" if model.region else "in no region that the catalog states"
            wanted = ", ".join(sorted(self.regions)) or "none"
            return f"it runs {where}, and {self.regions_by} of the policy {self.policy!r} asks for {wanted}"
        return ""

    def quality_needed(self, complexity: float) -> float:
        """The least quality that `auto` takes for that complexity."""
        if self.sufficiency is not None:
            return self.quality_floor
        return self.quality_floor + complexity * (self.quality_ceiling - self.quality_floor)


def lay(base: PolicyRules, layers: Iterable[tuple[str, policy_pb2.Rules]]) -> PolicyRules:
    """The rules with layers laid over them in order: the last that sets something wins, `deny` and `regions` add up."""
    rules = base
    for name, layer in layers:
        changes: dict[str, object] = {"layers": (*rules.layers, name)}
        for field in ("quality_floor", "quality_ceiling", "sufficiency", "max_first_token_ms"):
            if layer.HasField(field):
                changes[field] = getattr(layer, field)
        if layer.models:
            changes["models"], changes["models_by"] = frozenset(layer.models), name
        if layer.deny:
            changes["denied"] = {**dict.fromkeys(layer.deny, name), **rules.denied}
        if layer.prefer:
            changes["prefer"] = dict.fromkeys(layer.prefer, name)
        if layer.regions:
            wanted = frozenset(layer.regions)
            changes["regions"] = wanted if rules.regions is None else wanted & rules.regions
            changes["regions_by"] = f"{rules.regions_by} and {name}" if rules.regions_by else name
        rules = dataclasses.replace(rules, **changes)  # type: ignore[arg-type]
    return rules
