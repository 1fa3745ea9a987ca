"""The configuration of tiers."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated

import pydantic

from enginehouse.kit.config import Section
from enginehouse.router.limits import Allowance, LimitSettings, check_route

_Quality = Annotated[float, pydantic.Field(ge=0, le=1)]
_Bound = Annotated[int, pydantic.Field(ge=0, le=2**31 - 1)]


class TierSettings(Section):
    """The quality, models and bounds of a tier of tenants."""

    quality_floor: _Quality = 0.0
    """The least catalog quality that `auto` takes for a trivial request."""
    quality_ceiling: _Quality = 1.0
    """The least catalog quality that `auto` takes for the most complex request; in between it rises linearly."""
    models: tuple[str, ...] = ()
    """The models that the tier may use; empty means all."""
    requests_per_minute: _Bound = 0
    """The most requests a minute of a tenant, over all its keys; 0 for no bound."""
    tokens_per_minute: _Bound = 0
    """The most tokens a minute of a tenant, over all its keys; 0 for no bound."""
    concurrency: _Bound = 0
    """The most requests at once of a tenant, over all its keys; 0 for no bound."""
    user: LimitSettings = LimitSettings()
    """The bounds of each user that requests name."""
    routes: Mapping[Annotated[str, pydantic.AfterValidator(check_route)], LimitSettings] = {}
    """A tenant's bounds by route: "Service/Method", such as "GenerationService/Generate", or "Service/*"."""

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> TierSettings:
        if self.quality_floor > self.quality_ceiling:
            raise ValueError(f"quality_floor {self.quality_floor} is over quality_ceiling {self.quality_ceiling}")
        return self

    @functools.cached_property
    def user_allowance(self) -> Allowance:
        """`user`, as the limiter takes it."""
        return self.user.allowance()

    @functools.cached_property
    def route_allowances(self) -> Mapping[str, Allowance]:
        """`routes`, as the limiter takes them."""
        return {route: one.allowance() for route, one in self.routes.items()}
