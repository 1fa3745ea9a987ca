"""What a caller may use, and how good an answer must be: tiers as data."""

from __future__ import annotations

from collections.abc import Mapping

from enginehouse.router.identity import Caller
from enginehouse.router.settings import TierSettings


class Policy:
    """Tiers by name."""

    def __init__(self, *, tiers: Mapping[str, TierSettings]) -> None:
        self._tiers = dict(tiers)
        self._models = {name: frozenset(tier.models) for name, tier in tiers.items()}

    @property
    def tiers(self) -> tuple[str, ...]:
        """The names of the tiers."""
        return tuple(self._tiers)

    def tier(self, caller: Caller) -> TierSettings:
        """The tier of the caller's tenant; a tenant whose tier was taken out of the configuration counts as free."""
        return self._tiers.get(caller.tenant.tier) or self._tiers["free"]

    def allows(self, caller: Caller, model: str) -> bool:
        """Whether both the key and the tier may use the model."""
        key_models = caller.key.allowed_models
        if key_models and model not in key_models:
            return False
        tier_models = self._models.get(caller.tenant.tier, self._models["free"])
        return not tier_models or model in tier_models

    def allows_everything(self, caller: Caller) -> bool:
        """Whether neither the key nor the tier is narrowed to some models."""
        return not (caller.key.allowed_models or self._models.get(caller.tenant.tier, self._models["free"]))

    def quality_needed(self, caller: Caller, complexity: float) -> float:
        """The least quality that `auto` takes for that complexity."""
        tier = self.tier(caller)
        return tier.quality_floor + complexity * (tier.quality_ceiling - tier.quality_floor)
