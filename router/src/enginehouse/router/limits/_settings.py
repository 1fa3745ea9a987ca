"""The configuration of limits."""

from __future__ import annotations

from typing import Annotated

import pydantic

from enginehouse.kit.config import Section
from enginehouse.router.limits._bounds import Allowance

_Bound = Annotated[int, pydantic.Field(ge=0, le=2**31 - 1)]


class LimitSettings(Section):
    """Bounds on traffic; 0 means none."""

    requests_per_minute: _Bound = 0
    """Requests a minute."""
    tokens_per_minute: _Bound = 0
    """Input and output tokens a minute."""
    concurrency: _Bound = 0
    """Requests at once."""

    def allowance(self) -> Allowance:
        """Return the bounds as an `Allowance`."""
        return Allowance(self.requests_per_minute, self.tokens_per_minute, self.concurrency)


class SharingSettings(Section):
    """The sharing of limits by replicas that have Redis."""

    slack: float = pydantic.Field(default=0.1, ge=0, le=1)
    """The part of a limit that all replicas together may admit over it, so that not every request asks Redis. With 0
    every limit is exact, and every limited request asks."""


def check_route(route: str) -> str:
    """Return the route unchanged. Raises ValueError unless it is "Service/Method" or "Service/*"."""
    service, slash, name = route.partition("/")
    if not (slash and service.isidentifier() and (name == "*" or name.isidentifier())):
        raise ValueError(f"{route[:64]!r} must be 'Service/Method' or 'Service/*'")
    return route
