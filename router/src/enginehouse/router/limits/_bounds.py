"""Bounds of one subject: requests a minute, tokens a minute and requests at once."""

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
        """Return the allowance of a document that `document` made; bounds that it lacks are 0."""
        return cls(*(int(str(document.get(field.name, 0))) for field in dataclasses.fields(cls)))

    def document(self) -> dict[str, int]:
        """Return the bounds that are set, by name."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value}

    def __bool__(self) -> bool:
        return bool(self.requests_per_minute or self.tokens_per_minute or self.concurrency)


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """One subject's bounds; 0 means none. `subject` is unique among all subjects, `what` is its kind, for messages."""

    subject: str
    what: str
    requests_per_minute: int
    tokens_per_minute: int
    concurrency: int

    @classmethod
    def of(cls, subject: str, what: str, allowance: Allowance) -> Bounds:
        """Return an allowance as the bounds of a subject."""
        return cls(subject, what, allowance.requests_per_minute, allowance.tokens_per_minute, allowance.concurrency)

    @property
    def bounds_anything(self) -> bool:
        """True if any bound is set."""
        return bool(self.requests_per_minute or self.tokens_per_minute or self.concurrency)


@dataclasses.dataclass(frozen=True, slots=True)
class Quota:
    """The rest of the tightest bound on requests a minute, for the RateLimit headers."""

    limit: int
    remaining: int
    reset_s: float


def route_of(method: str) -> str:
    """Return the route of a method: its service without the package, and its name ("GenerationService/Generate")."""
    service, _, name = method.rpartition("/")
    return f"{service.rpartition('.')[2]}/{name}"


def of_route(by_route: Mapping[str, Allowance], route: str) -> list[tuple[str, Allowance]]:
    """Return the entries that apply to a route: its own, and its service's, "Service/*"."""
    found = ((name, by_route.get(name)) for name in (route, f"{route.partition('/')[0]}/*"))
    return [(name, allowance) for name, allowance in found if allowance]
