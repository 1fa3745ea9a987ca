"""Bounds on one subject: requests a minute, tokens a minute and requests at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True)
class Allowance:
    """Bounds of one kind; 0 means none."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    concurrency: int = 0

    @classmethod
    def read(cls, document: Mapping[str, object]) -> Allowance:
        """As `document` wrote it; what is not there is 0."""
        return cls(*(int(str(document.get(field.name, 0))) for field in dataclasses.fields(cls)))

    def document(self) -> dict[str, int]:
        """The bounds that there are, by name."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value}

    def __bool__(self) -> bool:
        return bool(self.requests_per_minute or self.tokens_per_minute or self.concurrency)


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """One subject's bounds; 0 means none. `subject` is unique among all subjects, `what` names it in messages."""

    subject: str
    what: str
    requests_per_minute: int
    tokens_per_minute: int
    concurrency: int

    @classmethod
    def of(cls, subject: str, what: str, allowance: Allowance) -> Bounds:
        """These bounds for that subject."""
        return cls(subject, what, allowance.requests_per_minute, allowance.tokens_per_minute, allowance.concurrency)

    @property
    def bounds_anything(self) -> bool:
        """True if there is anything to check."""
        return bool(self.requests_per_minute or self.tokens_per_minute or self.concurrency)


@dataclasses.dataclass(frozen=True, slots=True)
class Quota:
    """The remainder of the tightest bound on requests a minute, for the RateLimit headers."""

    limit: int
    remaining: int
    reset_s: float


def route_of(method: str) -> str:
    """The route of a method: its service without the package, and its name, such as "GenerationService/Generate"."""
    service, _, name = method.rpartition("/")
    return f"{service.rpartition('.')[2]}/{name}"


def of_route(by_route: Mapping[str, Allowance], route: str) -> list[tuple[str, Allowance]]:
    """The entries that a route falls under: its own, and its service's as "Service/*"."""
    found = ((name, by_route.get(name)) for name in (route, f"{route.partition('/')[0]}/*"))
    return [(name, allowance) for name, allowance in found if allowance]
