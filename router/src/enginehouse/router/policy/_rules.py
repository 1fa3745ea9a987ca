"""The rules of a request: layers of rules over one another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from enginehouse.api.router.v1 import policy_pb2
from enginehouse.kit.catalog import CatalogModel

_HALF_LIFE_DAYS = 30.0
_PRIOR_WEIGHT = 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class Chain:
    """The fallbacks of a model.

    Attributes:
        models: the models to try if it cannot serve, in order, with their own fallbacks.
        for_named: true if it also applies to requests that name the model.
        max_price_factor: the highest cost bound of a fallback, as a multiple of the first model's; None for any.
    """

    models: tuple[str, ...]
    for_named: bool
    max_price_factor: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class BanditSettings:
    """The bounds of learning from feedback; `policy.proto` explains each."""

    explore_share: float
    max_price_factor: float
    quality_floor: float
    quality_ceiling: float
    half_life_days: float
    prior_weight: float

    @classmethod
    def of(cls, message: policy_pb2.Bandit) -> BanditSettings:
        """Return the settings of a message, with defaults for fields that are left out."""
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
    """The rules of one request, combined from all layers.

    Attributes:
        policy: the document's name.
        version: its version; 0 for the configuration.
        layers: the sections of it that apply, lowest first.
        quality_floor: the least quality for a trivial request.
        quality_ceiling: the least quality for the most demanding request.
        sufficiency: the least probability that an answer suffices, in place of the ceiling; None to go by quality.
        models: the only models that may be used; empty for all.
        models_by: the layer that sets `models`.
        denied: the models that may not be used, each with the layer that denies it.
        prefer: the models that `auto` takes first, each with the layer that prefers it.
        regions: the regions in which a model must be; None for any.
        regions_by: the layers that set `regions`.
        max_first_token_ms: the longest expected time to the first token; 0 for any.
        other_specialists: the specialists of other subjects, which `auto` does not use, each with its subject.
        fallbacks: the fallbacks, by model.
        bandit: the settings of learning from feedback; None if there is no learning.
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
    other_specialists: Mapping[str, str] = dataclasses.field(default_factory=dict)
    fallbacks: Mapping[str, Chain] = dataclasses.field(default_factory=dict)
    bandit: BanditSettings | None = None

    @property
    def allow_everything(self) -> bool:
        """True if no model is rejected."""
        return not self.models and not self.denied and self.regions is None

    def rejection_reason(self, model: CatalogModel) -> str:
        """Return the reason why the model may not be used; empty if it may."""
        if self.models and model.name not in self.models:
            return f"it is not among the models that {self.models_by} of the policy {self.policy!r} allows"
        if model.name in self.denied:
            return f"{self.denied[model.name]} of the policy {self.policy!r} denies it"
        if self.regions is not None and model.region not in self.regions:
            where = f"in the region {model.region}" if model.region else "in no region that the catalog states"
            wanted = ", ".join(sorted(self.regions)) or "none"
            return f"it runs {where}, but {self.regions_by} of the policy {self.policy!r} requires {wanted}"
        return ""

    def quality_needed(self, complexity: float) -> float:
        """Return the least quality that `auto` takes for a complexity."""
        if self.sufficiency is not None:
            return self.quality_floor
        return self.quality_floor + complexity * (self.quality_ceiling - self.quality_floor)


def apply_layers(base: PolicyRules, layers: Iterable[tuple[str, policy_pb2.Rules]]) -> PolicyRules:
    """Return the rules with layers applied in order. The last to set a field wins; `deny` and `regions` add up."""
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
