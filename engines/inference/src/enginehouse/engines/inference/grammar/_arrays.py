"""GBNF for arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from enginehouse.engines.inference.grammar._branches import Branch, Literal
from enginehouse.engines.inference.grammar._evaluation import identity
from enginehouse.engines.inference.grammar._gbnf import MAX_REPEATS, json_literal, one_of, repeat, separated
from enginehouse.engines.inference.grammar._references import SchemaError

if TYPE_CHECKING:
    from enginehouse.engines.inference.grammar._schema import Conversion

_Count = tuple[int, tuple[int, ...]]
"""A number of items, and of those of each kind among them."""
_MAX_COUNTED = 64
_MAX_DISTINCT = 200


def array_body(conversion: Conversion, branch: Branch) -> str | None:
    """Return an expression for the arrays of a branch; None if there are none."""
    conversion.grammar.primitive("ws")
    first = max((len(rule.first) for rule in branch.items), default=0)
    least, most = branch.min_items, branch.max_items
    if least is None:
        # Tuples are written whole, and end where nothing is said of further items.
        least = first if most is None else min(first, most)
    if first and not any(rule.rest is not None for rule in branch.items) and least <= first:
        most = first if most is None else min(most, first)
    if least > MAX_REPEATS:
        raise SchemaError(
            branch.path, f"minItems {least} is over {MAX_REPEATS}, the most that can be enforced; ask for fewer"
        )
    if branch.unique and (most is None or most > 1):
        return _distinct(conversion, branch, first, least, most)
    if branch.contains:
        return _counted(conversion, branch, first, least, most)
    return _plain(conversion, branch, first, least, most)


def _plain(conversion: Conversion, branch: Branch, first: int, least: int, most: int | None) -> str | None:
    items: list[str] = []
    for index in range(first if most is None else min(first, most)):
        item = conversion.value(branch.item(index))
        if item is None:
            most = index
            break
        items.append(item)
    rest = None
    if most is None or most > len(items):
        rest = conversion.value(branch.item(first))
        if rest is None:
            most = len(items)
    if most is not None and least > most:
        branch.lost.append(f"only {most} items can be, of the {least} that are needed")
        return None
    if not items:
        return f'"[" {separated(rest or "", least, most)} "]"'
    room = None if most is None else most - len(items)
    tail = "" if rest is None or room == 0 else repeat(f'("," ws {rest})', max(0, least - len(items)), room)
    for index in range(len(items) - 1, -1, -1):
        comma = '"," ws ' if index else ""
        tail = f"{comma}{items[index]} {tail}".strip()
        if index >= least:
            tail = f"({tail})?"
    return f'"[" {tail} "]"'


def _counted(conversion: Conversion, branch: Branch, first: int, least: int, most: int | None) -> str | None:
    """Return arrays of which some items are of given kinds, by a rule for each number of items of each."""
    floor = max(least, first, *(rule.least for rule in branch.contains))
    if floor > _MAX_COUNTED:
        raise SchemaError(
            branch.path,
            f"contains in arrays of over {_MAX_COUNTED} items cannot be enforced; lower minItems or minContains, or "
            "leave contains out",
        )
    if most is not None:
        most = min(most, max(floor, _MAX_COUNTED // 2))

    def choices(index: int, counts: tuple[int, ...]) -> Iterator[tuple[list[Literal], tuple[int, ...]]]:
        base = branch.item(index)
        each: list[list[tuple[list[Literal], int]]] = []
        for rule, count in zip(branch.contains, counts, strict=True):
            here: list[tuple[list[Literal], int]] = []
            if rule.most is None:
                if count < rule.least:
                    here.append(([rule.literal], 1))
                here.append(([], 0))
            else:
                if count < rule.most:
                    here.append(([rule.literal], 1))
                here.append(([rule.literal.opposite], 0))
            each.append(here)
        for choice in product(*each):
            literals = list(dict.fromkeys([*base, *(part for parts, _ in choice for part in parts)]))
            yield literals, tuple(count + more for count, (_, more) in zip(counts, choice, strict=True))

    def key_of(index: int, counts: tuple[int, ...]) -> _Count:
        # The first item has no comma before it, so it is told from the others even where no count matters.
        return (min(index, max(1, floor)) if most is None else index, counts)

    start = key_of(0, (0,) * len(branch.contains))
    edges: dict[_Count, list[tuple[str, _Count]]] = {}
    waiting = [start]
    while waiting:
        index, counts = key = waiting.pop()
        if key in edges:
            continue
        edges[key] = []
        if most is not None and index >= most:
            continue
        for literals, reached in choices(index, counts):
            item = conversion.value(literals)
            if item is not None:
                target = key_of(index + 1, reached)
                edges[key].append((item, target))
                waiting.append(target)
    ends = {
        (index, counts)
        for index, counts in edges
        if index >= least and all(count >= rule.least for count, rule in zip(counts, branch.contains, strict=True))
    }
    alive = set(ends)
    while True:
        more = {key for key in edges if key not in alive and any(target in alive for _, target in edges[key])}
        if not more:
            break
        alive |= more
    if start not in alive:
        branch.lost.append("no array has as many items of a kind as 'contains' asks for")
        return None
    names = {key: conversion.grammar.reserve() for key in alive}
    for key, name in names.items():
        comma = '"," ws ' if key[0] else ""
        options = [f"{comma}{item} {names[target]}" for item, target in edges[key] if target in alive]
        conversion.grammar.define(name, one_of([*options, '""'] if key in ends else options))
    return f'"[" {names[start]} "]"'


def _distinct(conversion: Conversion, branch: Branch, first: int, least: int, most: int | None) -> str | None:
    """Return arrays without equal items: values of a short list, in its order."""
    values = None if first or branch.contains else _finite(conversion, branch.item(0))
    if values is None:
        raise SchemaError(
            branch.path,
            f"uniqueItems can be enforced only where 'items' is an enum of at most {_MAX_DISTINCT} values, without "
            "prefixItems and contains; leave it out (in pydantic: list[...] in place of set[...]) and drop repeated "
            "items yourself",
        )
    distinct = list({identity(value): value for value in values}.values())
    most = len(distinct) if most is None else min(most, len(distinct))
    if least > most:
        branch.lost.append(f"{least} different items are needed, and there are {most}")
        return None
    rules: dict[tuple[int, int], str | None] = {}
    top = max(least, most, 1)

    def after(index: int, count: int) -> str | None:
        if index == len(distinct) or count == most:
            return '""' if count >= least else None
        key = (index, min(count, top))
        if key not in rules:
            options = []
            following = after(index + 1, count + 1)
            if following is not None:
                comma = '"," ws ' if count else ""
                options.append(f"{comma}{json_literal(distinct[index])} {following}")
            skipped = after(index + 1, count)
            if skipped is not None:
                options.append(skipped)
            rules[key] = conversion.grammar.rule(one_of(options)) if options else None
        return rules[key]

    body = after(0, 0)
    return None if body is None else f'"[" {body} "]"'


def _finite(conversion: Conversion, literals: Sequence[Literal]) -> list[Any] | None:
    """Return the values that satisfy the schemas, if they are few."""
    if not literals:
        return None
    found: list[Any] = []
    for branch in conversion.joining.branches(literals, []):
        if branch.values is not None:
            found += branch.values
        elif set(branch.kinds) <= {"boolean", "null"}:
            for kind in branch.kinds:
                found += (
                    [None] if kind == "null" else [v for v in (True, False) if all(v is not o for o in branch.excluded)]
                )
        else:
            return None
    return found if len(found) <= _MAX_DISTINCT else None
