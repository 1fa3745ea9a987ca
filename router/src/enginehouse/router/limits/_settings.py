"""The configuration of limits."""

from __future__ import annotations

from typing import Annotated

import pydantic

from enginehouse.kit.config import Section
from enginehouse.kit.contracts import Contracts, Exposure
from enginehouse.kit.nearest import did_you_mean
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


class RoutedMethods:
    """The methods that callers may call, by which limits of routes are checked.

    Args:
        contracts: the installed contracts; services for inside the mesh are left out.
    """

    def __init__(self, contracts: Contracts) -> None:
        self._methods: dict[str, list[str]] = {}
        for service in contracts.services.values():
            if service.exposure is not Exposure.INTERNAL:
                names = self._methods.setdefault(service.name.rpartition(".")[2], [])
                names += [method.path.rpartition("/")[2] for method in service.methods]

    def check(self, route: str) -> None:
        """Raise ValueError for a route of an unknown service or method, which would bound nothing."""
        service, _, name = check_route(route).partition("/")
        methods = self._methods.get(service)
        if methods is None:
            known = ", ".join(sorted(self._methods))
            near = did_you_mean(service, self._methods)
            raise ValueError(f"unknown service {service[:64]!r}{near}; known: {known}")
        if name != "*" and name not in methods:
            near = did_you_mean(name, methods)
            raise ValueError(f"{service} has no method {name[:64]!r}{near}; it has: {', '.join(methods)}")


def check_route(route: str) -> str:
    """Return the route unchanged. Raises ValueError unless it is "Service/Method" or "Service/*"."""
    service, slash, name = route.partition("/")
    if not (slash and service.isidentifier() and (name == "*" or name.isidentifier())):
        raise ValueError(f"{route[:64]!r} must be 'Service/Method' or 'Service/*'")
    return route
