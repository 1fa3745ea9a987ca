"""The ways in which a schema does not hold: one of its keywords must fail."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations

from enginehouse.engines.inference.grammar._branches import (
    Branch,
    Contains,
    Items,
    Literal,
    Members,
    Step,
    exclude_values,
    smaller,
)
from enginehouse.engines.inference.grammar._keywords import KINDS, Keywords
from enginehouse.engines.inference.grammar._numbers import Bound, Multiple
from enginehouse.engines.inference.grammar._references import Document
from enginehouse.engines.inference.grammar._texts import Texts

Option = Sequence[Literal | Step]
_MAX_PAIRS = 6


def need(*names: str) -> Step:
    """Return the requirement that an object has members of these names."""

    def step(branch: Branch) -> None:
        branch.required = tuple(dict.fromkeys((*branch.required, *names)))
        branch.wished = tuple(dict.fromkeys((*branch.wished, *names)))

    return step


def forbid(name: str) -> Step:
    """Return the requirement that an object has no member of this name."""

    def step(branch: Branch) -> None:
        branch.forbidden |= {name}

    return step


def only(*kinds: str) -> Step:
    """Return the requirement to be of one of these types."""

    def step(branch: Branch) -> None:
        branch.restrict([kind for kind in branch.kinds if kind in kinds])
        branch.typed = True

    return step


def denials(words: Keywords, document: Document, texts: Texts) -> tuple[list[Option], list[str]]:
    """Return the ways in which a schema does not hold, and what is said of those that cannot be enforced."""
    options: list[Option] = []
    lost: list[str] = []
    if words.types:
        options += _of_types(words.types)
    for values in (words.values, words.constant):
        if values is not None:
            options += _of_values(values)
    for bound in words.bounds:
        options.append([only("number"), _bounded(Bound(bound.value, frozenset({-1, 0, 1}) - bound.sides))])
    if words.multiple is not None:
        options.append([only("number"), _multiple(Multiple(words.multiple.step, wanted=False))])
    options += _of_texts(words, texts)
    options += _of_items(words, lost)
    options += _of_members(words, lost)
    options += _of_compositions(words, document)
    for keyword, given in (
        ("format", words.format),
        ("uniqueItems", words.unique or None),
        ("unevaluatedItems", words.unevaluated_items),
        ("unevaluatedProperties", words.unevaluated_properties),
    ):
        if given is not None:
            lost.append(f"the opposite of {keyword!r} cannot be enforced")
    return options, lost


def _of_types(types: Sequence[str]) -> list[Option]:
    rest = [kind for kind in KINDS if kind not in types and not (kind == "number" and "integer" in types)]
    options: list[Option] = [[only(*rest)]] if rest else []
    if "integer" in types and "number" not in types:
        options.append([only("number"), _multiple(Multiple(Fraction(1), wanted=False))])
    return options


def _of_values(values: Sequence[object]) -> list[Option]:
    return [[exclude_values(values)]]


def _bounded(bound: Bound) -> Step:
    def step(branch: Branch) -> None:
        branch.bounds += (bound,)

    return step


def _multiple(multiple: Multiple) -> Step:
    def step(branch: Branch) -> None:
        branch.multiples += (multiple,)

    return step


def _of_texts(words: Keywords, texts: Texts) -> list[Option]:
    options: list[Option] = []
    if words.min_length:
        options.append([only("string"), _length(0, words.min_length - 1)])
    if words.max_length is not None:
        options.append([only("string"), _length(words.max_length + 1, None)])
    if words.pattern is not None:
        unmatched = texts.unmatched(words.pattern, words.place.path)

        def step(branch: Branch) -> None:
            branch.texts += (unmatched,)

        options.append([only("string"), step])
    return options


def _length(least: int, most: int | None) -> Step:
    def step(branch: Branch) -> None:
        branch.min_length = max(branch.min_length, least)
        branch.max_length = smaller(branch.max_length, most)

    return step


def _of_items(words: Keywords, lost: list[str]) -> list[Option]:
    options: list[Option] = []
    if words.min_items:
        options.append([only("array"), _count_items(0, words.min_items - 1)])
    if words.max_items is not None:
        options.append([only("array"), _count_items(words.max_items + 1, None)])
    for index, place in enumerate(words.first_items):
        options.append([only("array"), _count_items(index + 1, None), _item_at(index, Literal(place, positive=False))])
    if words.items is not None:
        if words.first_items:
            lost.append("the opposite of 'items' after 'prefixItems' cannot be enforced")
        else:
            options.append([only("array"), _containing(Contains(Literal(words.items, positive=False), 1, None))])
    if words.contains is not None:
        literal = Literal(words.contains)
        if words.min_contains:
            options.append([only("array"), _containing(Contains(literal, 0, words.min_contains - 1))])
        if words.max_contains is not None:
            options.append([only("array"), _containing(Contains(literal, words.max_contains + 1, None))])
    return options


def _count_items(least: int, most: int | None) -> Step:
    def step(branch: Branch) -> None:
        branch.min_items = max(branch.min_items or 0, least) or branch.min_items
        branch.max_items = smaller(branch.max_items, most)

    return step


def _item_at(index: int, literal: Literal) -> Step:
    def step(branch: Branch) -> None:
        branch.items += (Items(first=(None,) * index + (literal,), rest=None, groups=frozenset()),)

    return step


def _containing(contains: Contains) -> Step:
    def step(branch: Branch) -> None:
        branch.contains += (contains,)

    return step


def _of_members(words: Keywords, lost: list[str]) -> list[Option]:
    options: list[Option] = []
    options += [[only("object"), forbid(name)] for name in words.required]
    for name, place in (words.properties or {}).items():
        options.append([only("object"), need(name), _member(name, Literal(place, positive=False), words.place.path)])
    if words.min_properties:
        options.append([only("object"), _count_members(0, words.min_properties - 1)])
    if words.max_properties is not None:
        options.append([only("object"), _count_members(words.max_properties + 1, None)])
    for name, others in words.needed.items():
        options += [[only("object"), need(name), forbid(other)] for other in others]
    for name, place in words.dependent.items():
        options.append([only("object"), need(name), Literal(place, positive=False)])
    for keyword, given in (
        ("patternProperties", words.patterns or None),
        ("additionalProperties", words.additional),
        ("propertyNames", words.names),
    ):
        if given is not None:
            lost.append(f"the opposite of {keyword!r} cannot be enforced")
    return options


def _member(name: str, literal: Literal, path: str) -> Step:
    def step(branch: Branch) -> None:
        members = Members(
            properties={name: literal}, patterns={}, additional=None, listed=False, groups=frozenset(), path=path
        )
        branch.members += (members,)

    return step


def _count_members(least: int, most: int | None) -> Step:
    def step(branch: Branch) -> None:
        branch.min_properties = max(branch.min_properties, least)
        branch.max_properties = smaller(branch.max_properties, most)

    return step


def _of_compositions(words: Keywords, document: Document) -> list[Option]:
    options: list[Option] = []
    if words.reference is not None:
        options.append([Literal(document.resolve(words.place, words.reference), positive=False)])
    options += [[Literal(part, positive=False)] for part in words.all_of]
    if words.any_of:
        options.append([Literal(part, positive=False) for part in words.any_of])
    if words.one_of:
        options.append([Literal(part, positive=False) for part in words.one_of])
        if len(words.one_of) <= _MAX_PAIRS:
            options += [[Literal(one), Literal(other)] for one, other in combinations(words.one_of, 2)]
    if words.negation is not None:
        options.append([Literal(words.negation)])
    if words.condition is not None:
        if words.consequence is not None:
            options.append([Literal(words.condition), Literal(words.consequence, positive=False)])
        if words.otherwise is not None:
            options.append([Literal(words.condition, positive=False), Literal(words.otherwise, positive=False)])
    return options
