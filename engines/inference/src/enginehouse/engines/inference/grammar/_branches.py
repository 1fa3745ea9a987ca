"""The ways in which a value satisfies a schema.

`anyOf`, `oneOf`, `not` and `if` are resolved: each `Branch` is a plain conjunction of requirements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from enginehouse.engines.inference.grammar._evaluation import Evaluation, kind_of
from enginehouse.engines.inference.grammar._expressions import Expression
from enginehouse.engines.inference.grammar._keywords import KINDS
from enginehouse.engines.inference.grammar._numbers import Bound, Multiple, is_empty
from enginehouse.engines.inference.grammar._references import SchemaPlace


@dataclass(frozen=True, slots=True)
class Literal:
    """A schema that must hold, or must not."""

    place: SchemaPlace
    positive: bool = True

    @property
    def opposite(self) -> Literal:
        """The same schema, the other way."""
        return Literal(self.place, not self.positive)


@dataclass(frozen=True, slots=True)
class Items:
    """The requirements of one schema for an array's items."""

    first: tuple[Literal | None, ...]
    rest: Literal | None
    groups: frozenset[int]

    def at(self, index: int) -> Literal | None:
        """Return what an item must satisfy; None if this schema says nothing of it."""
        return self.first[index] if index < len(self.first) else self.rest


@dataclass(frozen=True, slots=True)
class Contains:
    """The number of items that must satisfy a schema."""

    literal: Literal
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Members:
    """The requirements of one schema for an object's members."""

    properties: dict[str, Literal]
    patterns: dict[str, Literal]
    additional: Literal | None
    listed: bool
    """Whether the schema lists its properties, even none."""
    groups: frozenset[int]
    path: str


@dataclass(slots=True)
class Branch:
    """A conjunction of requirements. Its sequences are replaced, never changed, so that a copy stays apart."""

    kinds: tuple[str, ...] = KINDS
    typed: bool = False
    hints: frozenset[str] = frozenset()
    whole: bool = False
    values: tuple[Any, ...] | None = None
    excluded: tuple[Any, ...] = ()
    bounds: tuple[Bound, ...] = ()
    multiples: tuple[Multiple, ...] = ()
    texts: tuple[Expression, ...] = ()
    min_length: int = 0
    max_length: int | None = None
    items: tuple[Items, ...] = ()
    contains: tuple[Contains, ...] = ()
    min_items: int | None = None
    max_items: int | None = None
    unique: bool = False
    members: tuple[Members, ...] = ()
    required: tuple[str, ...] = ()
    wished: tuple[str, ...] = ()
    """Names among those required that only a choice between conditions asks for."""
    forbidden: frozenset[str] = frozenset()
    only: frozenset[str] | None = None
    """The names that members may have; None if others may come too."""
    min_properties: int = 0
    max_properties: int | None = None
    names: tuple[Literal, ...] = ()
    unevaluated_items: tuple[tuple[Literal, int], ...] = ()
    unevaluated_properties: tuple[tuple[Literal, int], ...] = ()
    facts: tuple[Literal, ...] = ()
    """All schemas that were joined here."""
    path: str = "#"
    lost: list[str] = field(default_factory=list)
    """Why values of some type cannot be."""

    def restrict(self, kinds: Sequence[str]) -> None:
        """Allow only these types."""
        self.kinds = tuple(kind for kind in kinds if kind in self.kinds)

    def without(self, kind: str, reason: str) -> None:
        """Allow no values of a type."""
        if kind in self.kinds:
            self.kinds = tuple(other for other in self.kinds if other != kind)
            self.lost.append(reason)

    def fork(self) -> Branch:
        """Return a copy that may go another way."""
        forked = copy(self)
        forked.lost = list(self.lost)
        return forked

    @property
    def listed(self) -> list[str]:
        """The names of members that it speaks of, in the order of the schema."""
        names = dict.fromkeys(name for rule in self.members for name in rule.properties)
        return list(names | dict.fromkeys(self.required))

    @property
    def is_open(self) -> bool:
        """True if an object may have members that no schema lists."""
        if self.only is not None:
            return False
        if any(rule.patterns or (rule.additional is not None and rule.additional.place.value is not False)
               for rule in self.members):  # fmt: skip
            return True
        return not self.required and not any(rule.listed for rule in self.members)

    @property
    def is_strange(self) -> bool:
        """True if a choice between conditions asks for a member of which a closed object's schema does not speak."""
        known = {name for rule in self.members if rule.listed for name in rule.properties}
        is_closed = any(rule.listed for rule in self.members) and not any(
            rule.patterns or (rule.additional is not None and rule.additional.place.value is not False)
            for rule in self.members
        )
        return is_closed and any(name not in known for name in self.wished)

    def close(self) -> None:
        """Keep objects to the names that are listed, as they will be written."""
        if not self.is_open:
            self.only = frozenset(self.listed)

    def tighten(self) -> None:
        """Drop the types of which no value can satisfy the requirements, as far as that is plain to see."""
        if is_empty(self.bounds, whole=self.whole):
            self.without("number", "no number is within its bounds")
        if self.max_length is not None and self.min_length > self.max_length:
            self.without("string", f"minLength {self.min_length} is over maxLength {self.max_length}")
        if self.max_items is not None and (self.min_items or 0) > self.max_items:
            self.without("array", f"minItems {self.min_items} is over maxItems {self.max_items}")
        if self.max_properties is not None and max(self.min_properties, len(self.required)) > self.max_properties:
            self.without("object", f"over maxProperties {self.max_properties} members are needed")
        for name in self.required:
            if name in self.forbidden or (self.only is not None and name not in self.only):
                self.without("object", f"the property {name!r} is both needed and forbidden")

    def member(self, name: str, evaluation: Evaluation) -> list[Literal]:
        """Return what a member of a name must satisfy."""
        found = []
        covered: set[int] = set()
        for rule in self.members:
            here = [rule.properties[name]] if name in rule.properties else []
            certain = bool(here)
            for pattern, literal in rule.patterns.items():
                if evaluation.matches(pattern, name, rule.path, generous=True):
                    here.append(literal)
                    certain = certain or evaluation.matches(pattern, name, rule.path, generous=False)
            if not certain and rule.additional is not None:
                here.append(rule.additional)
                certain = True
            found += here
            if certain:
                covered |= rule.groups
        found += [literal for literal, group in self.unevaluated_properties if group not in covered]
        return list(dict.fromkeys(found))

    def item(self, index: int) -> list[Literal]:
        """Return what an item must satisfy."""
        found = []
        covered: set[int] = set()
        for rule in self.items:
            literal = rule.at(index)
            if literal is not None:
                found.append(literal)
                covered |= rule.groups
        found += [literal for literal, group in self.unevaluated_items if group not in covered]
        return list(dict.fromkeys(found))


Step = Callable[[Branch], None]
"""One requirement, added to a branch."""


def smaller(one: int | None, other: int | None) -> int | None:
    """Return the smaller of two upper bounds, where None is none."""
    return min((bound for bound in (one, other) if bound is not None), default=None)


def exclude_values(values: Sequence[Any]) -> Step:
    """Return the requirement to be none of these values."""

    def step(branch: Branch) -> None:
        branch.excluded += tuple(values)
        for value in values:
            kind = kind_of(value)
            if kind == "null":
                branch.without("null", "null is excluded")
            elif value == [] and kind == "array":
                branch.min_items = max(1, branch.min_items or 0)
            elif value == {} and kind == "object":
                branch.min_properties = max(1, branch.min_properties)
            elif kind in ("array", "object"):
                branch.without(kind, f"'not' of an {kind} value cannot be enforced")

    return step
