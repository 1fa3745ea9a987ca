"""The section `router.health` of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import pydantic

from enginehouse.kit.config import Section
from enginehouse.router.fleet.health._breaker import BreakerTerms


class HealthSettings(Section):
    """The terms on which a model or an engine counts as broken, and the spread of requests over engines."""

    renamed: ClassVar[Mapping[str, str]] = MappingProxyType({"longest_open_s": "max_open_s"})

    failures: int = pydantic.Field(default=5, ge=1)
    """Failed calls of a model on one engine, within the window, before its breaker may open."""
    failure_share: float = pydantic.Field(default=0.5, gt=0, le=1)
    """The share of its calls there that must have failed."""
    model_failures: int = pydantic.Field(default=10, ge=1)
    """Failed calls of a model over all engines before the model's own breaker may open."""
    model_failure_share: float = pydantic.Field(default=0.8, gt=0, le=1)
    """The share of them; above what one bad engine among two makes."""
    window_s: float = pydantic.Field(default=30.0, gt=0)
    """Calls are counted over the last one to two of these."""
    open_s: float = pydantic.Field(default=1.0, gt=0)
    """The time that a breaker stays open at first; each time it opens again without having recovered, twice as long."""
    max_open_s: float = pydantic.Field(default=60.0, gt=0)
    """The longest that it stays open."""
    probes: int = pydantic.Field(default=1, ge=1)
    """The number of requests that each router tries at once where a breaker is half-open."""
    probe_s: float = pydantic.Field(default=10.0, gt=0)
    """The time to wait for a probe before another is let through."""
    affinity_characters: int = pydantic.Field(default=256, ge=0)
    """Requests whose first text begins with the same so many characters go to the same engine; 0 spreads all by load
    alone."""
    affinity_slack: float = pydantic.Field(default=0.25, ge=0)
    """How much busier than the average an engine may become through that, as a share of the average; one with half of
    its slots free counts as idle."""

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> HealthSettings:
        if self.open_s > self.max_open_s:
            raise ValueError(f"open_s {self.open_s} is over max_open_s {self.max_open_s}")
        return self

    def endpoint_terms(self) -> BreakerTerms:
        """The terms of a model's breaker on one engine."""
        return self._terms(self.failures, self.failure_share)

    def model_terms(self) -> BreakerTerms:
        """The terms of a model's breaker over all engines."""
        return self._terms(self.model_failures, self.model_failure_share)

    def _terms(self, failures: int, share: float) -> BreakerTerms:
        return BreakerTerms(
            failures=failures,
            failure_share=share,
            window_s=self.window_s,
            open_s=self.open_s,
            max_open_s=self.max_open_s,
            probes=self.probes,
            probe_s=self.probe_s,
        )
