"""GBNF for objects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

from enginehouse.engines.inference.grammar._branches import Branch, Literal
from enginehouse.engines.inference.grammar._expressions import Expression
from enginehouse.engines.inference.grammar._gbnf import MAX_REPEATS, literal, one_of, repeat
from enginehouse.engines.inference.grammar._references import SchemaError

if TYPE_CHECKING:
    from enginehouse.engines.inference.grammar._schema import Conversion

_MAX_PATTERNS = 6
# llama.cpp steps over them one by one.
_MAX_SKIPPED = 100


def object_body(conversion: Conversion, branch: Branch) -> str | None:
    """Return an expression for the objects of a branch; None if there are none."""
    members = _listed_members(conversion, branch)
    if members is None:
        return None
    extra = None
    if branch.is_open:
        if not members and _is_any_object(branch):
            return conversion.grammar.primitive("object")
        extra = _extra(conversion, branch)
    conversion.grammar.primitive("ws")
    skipped = 0
    for _, needed in members:
        skipped = 0 if needed else skipped + 1
        if skipped > _MAX_SKIPPED:
            raise SchemaError(
                branch.path, f"over {_MAX_SKIPPED} optional properties follow one another; name some in 'required'"
            )
    return _Sequence(conversion, branch, members, extra).body()


def _is_any_object(branch: Branch) -> bool:
    return not (
        branch.members
        or branch.names
        or branch.forbidden
        or branch.unevaluated_properties
        or branch.min_properties
        or branch.max_properties is not None
    )


def _listed_members(conversion: Conversion, branch: Branch) -> list[tuple[str, bool]] | None:
    """Return the rule of each listed member and whether it is needed; None if one that is needed cannot be."""
    members = []
    for name in branch.listed:
        needed = name in branch.required
        allowed = name not in branch.forbidden and (branch.only is None or name in branch.only)
        allowed = allowed and all(_names(conversion, name, part) for part in branch.names)
        value = conversion.value(branch.member(name, conversion.evaluation)) if allowed else None
        if value is None:
            if needed:
                branch.lost.append(f"nothing satisfies the property {name!r}, which is needed")
                return None
            continue
        quoted = json.dumps(name, ensure_ascii=False)
        conversion.grammar.primitive("ws")
        members.append((conversion.grammar.rule(f"{literal(quoted + ':')} ws {value}"), needed))
    return members


def _names(conversion: Conversion, name: str, part: Literal) -> bool:
    satisfied = conversion.evaluation.satisfies(name, part.place, generous=not part.positive)
    return satisfied == part.positive


def _extra(conversion: Conversion, branch: Branch) -> str | None:
    """Return the rule of a member that no schema lists; None if there can be none."""
    texts = conversion.texts
    allowed = [texts.except_for([*branch.listed, *branch.forbidden])]
    if branch.names:
        allowed.append(_texts_of(conversion, branch.names))
    patterns = {(pattern, rule.path): None for rule in branch.members for pattern in rule.patterns}
    if len(patterns) > _MAX_PATTERNS:
        raise SchemaError(
            branch.path,
            f"over {_MAX_PATTERNS} patternProperties cannot be enforced together; join some patterns into one, by |",
        )
    options = []
    for matches in product((True, False), repeat=len(patterns)):
        matched = {pattern for (pattern, _), match in zip(patterns, matches, strict=True) if match}
        names = list(allowed)
        for (pattern, path), match in zip(patterns, matches, strict=True):
            names.append(texts.pattern(pattern, path) if match else texts.unmatched(pattern, path))
        values = _extra_values(branch, matched)
        if not patterns and not branch.names and not branch.listed and not branch.forbidden:
            name: str | None = conversion.grammar.primitive("string")
        else:
            name = conversion.text_rule(texts.expressions.both(names), branch.path, lost=[])
        value = None if name is None else conversion.value(values)
        if value is not None:
            conversion.grammar.primitive("ws")
            options.append(conversion.grammar.rule(f'{name} ":" ws {value}'))
    return one_of(options) if options else None


def _extra_values(branch: Branch, matched: set[str]) -> list[Literal]:
    found = []
    covered: set[int] = set()
    for rule in branch.members:
        here = [part for pattern, part in rule.patterns.items() if pattern in matched]
        if not here and rule.additional is not None:
            here = [rule.additional]
        if here:
            covered |= rule.groups
        found += here
    found += [part for part, group in branch.unevaluated_properties if group not in covered]
    return list(dict.fromkeys(found))


def _texts_of(conversion: Conversion, literals: Sequence[Literal]) -> Expression:
    """Return the texts that satisfy all of the schemas."""
    texts, make = conversion.texts, conversion.texts.expressions
    options = []
    for branch in conversion.joining.branches(literals, []):
        if branch.values is not None:
            options.append(texts.exactly(value for value in branch.values if isinstance(value, str)))
        elif "string" in branch.kinds:
            excluded = [value for value in branch.excluded if isinstance(value, str)]
            length = texts.length(branch.min_length, branch.max_length)
            options.append(make.both((*branch.texts, length, texts.except_for(excluded))))
    return make.either(options)


class _Sequence:
    """The members of an object in their order: a rule for each place and number of members before it."""

    def __init__(
        self, conversion: Conversion, branch: Branch, members: Sequence[tuple[str, bool]], extra: str | None
    ) -> None:
        self._grammar = conversion.grammar
        self._branch = branch
        self._members = members
        self._extra = extra
        # With more members than this, their number makes no difference.
        self._most = max(1, branch.min_properties, branch.max_properties or 0)
        self._rules: dict[tuple[int, int], str | None] = {}
        self._repeats_names = False

    def body(self) -> str | None:
        most = self._branch.max_properties
        if most is not None and len(self._members) < most:
            # More than all there is makes no difference, unless others may come.
            self._most = max(1, self._branch.min_properties, len(self._members) if self._extra is None else most)
        inside = self._from(0, 0)
        if inside is None:
            if self._repeats_names:
                raise SchemaError(
                    self._branch.path,
                    f"minProperties {self._branch.min_properties} cannot be enforced for names that are not listed, "
                    "which might repeat; list them in properties, or leave minProperties out",
                )
            self._branch.lost.append(f"minProperties {self._branch.min_properties} is over the properties there are")
            return None
        return f'"{{" {inside} "}}"'

    def _from(self, index: int, count: int) -> str | None:
        key = (index, min(count, self._most))
        if key not in self._rules:
            body = self._write(*key)
            short = body is None or len(body) < 40
            self._rules[key] = body if short or body is None else self._grammar.rule(body)
        return self._rules[key]

    def _write(self, index: int, count: int) -> str | None:
        most = self._branch.max_properties
        if index == len(self._members):
            return self._end(count)
        rule, needed = self._members[index]
        options = []
        if most is None or count < most:
            after = self._from(index + 1, count + 1)
            if after is not None:
                comma = '"," ws ' if count else ""
                options.append(f"{comma}{rule} {after}" if after != '""' else f"{comma}{rule}")
        if not needed:
            without = self._from(index + 1, count)
            if without is not None:
                options.append(without)
        return one_of(options) if options else None

    def _end(self, count: int) -> str | None:
        least, most = self._branch.min_properties, self._branch.max_properties
        missing = max(0, least - count)
        room = None if most is None else min(most - count, MAX_REPEATS)
        if self._extra is None:
            return None if missing else '""'
        if missing > 1:
            # Two of them may have the same name, and so be one.
            self._repeats_names = True
            return None
        if room == 0:
            return '""'
        following = f'("," ws {self._extra})'
        if count:
            return repeat(following, missing, room)
        rest = repeat(following, 0, None if room is None else room - 1) if room != 1 else ""
        first = f"{self._extra} {rest}".strip()
        return f"({first})" if missing else f"({first})?"
