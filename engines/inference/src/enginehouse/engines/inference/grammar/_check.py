"""Checks of a GBNF grammar before llama.cpp gets it.

llama.cpp compiles grammars by recursion and follows every way in which a rule can be empty, one by one. So a few lines
of grammar can overflow its stack or keep it busy for years; such grammars are refused here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from enginehouse.engines.inference.grammar.schemas import invalid_schema

_MAX_NESTING = 64
_MAX_RULES = 5000
_MAX_ALTERNATIVES = 10_000
_MAX_CHAIN_LENGTH = 200
_MAX_REPEATS = 2000

_TOKEN = re.compile(
    r"""(?P<space>(?:[ \t\r\n]|\#[^\n]*)+)
    |(?P<string>"(?:[^"\\\n]|\\.)*")
    |(?P<class>\[(?:[^\]\\\n]|\\.)*\])
    |(?P<define>[A-Za-z][A-Za-z0-9_-]*[ \t]*::=)
    |(?P<name>[A-Za-z][A-Za-z0-9_-]*)
    |(?P<repeat>\{[ ]*\d+[ ]*(?:,[ ]*\d*[ ]*)?\})
    |(?P<mark>[()|*+?.])""",
    re.VERBOSE,
)


@dataclass(slots=True)
class _Choice:
    """Alternatives, each a sequence of items with the number of times that they may come."""

    alternatives: list[list[tuple[str | _Choice, int, int | None]]] = field(default_factory=lambda: [[]])


class _Broken(Exception):
    pass


def check_grammar(text: str, *, field: str) -> None:
    """Raise INVALID_SCHEMA, with the place, for a grammar that is malformed or unsafe for llama.cpp."""
    try:
        rules = _parse(text)
        if "root" not in rules:
            raise _Broken("no rule named root")
        ways = _Ways(rules)
        for name in rules:
            ways.check(name)
    except _Broken as error:
        raise invalid_schema(field, f"invalid grammar: {error}") from None
    except RecursionError:
        raise invalid_schema(field, "invalid grammar: its rules are nested too deeply") from None


def endless_rules(text: str, *, field: str) -> frozenset[str]:
    """Return the rules that lead only to themselves again, so that no text of theirs ends."""
    try:
        rules = _parse(text)
    except _Broken as error:
        raise invalid_schema(field, f"invalid grammar: {error}") from None
    ends: set[str] = set()

    def may_end(choice: _Choice) -> bool:
        return any(
            all(not low or item == "." or (may_end(item) if isinstance(item, _Choice) else item in ends)
                for item, low, _ in sequence)
            for sequence in choice.alternatives
        )  # fmt: skip

    while True:
        found = {name for name in rules if name not in ends and may_end(rules[name])}
        if not found:
            break
        ends |= found
    return frozenset(rules) - ends


def _parse(text: str) -> dict[str, _Choice]:
    rules: dict[str, _Choice] = {}
    open_choices: list[_Choice] = []
    named = ""
    at, line = 0, 1
    while at < len(text):
        found = _TOKEN.match(text, at)
        where = f"line {line}"
        if found is None:
            raise _Broken(f"{where}: {text[at : at + 20]!r} is not GBNF")
        at, kind, token = found.end(), found.lastgroup, found.group()
        line += token.count("\n")
        if kind == "space":
            continue
        if kind == "define":
            if len(open_choices) > 1:
                raise _Broken(f"{where}: a parenthesis of rule {named!r} is not closed")
            named = token.removesuffix("::=").strip()
            if len(rules) >= _MAX_RULES:
                raise _Broken(f"over {_MAX_RULES} rules")
            open_choices = [rules.setdefault(named, _Choice())]
            continue
        if not open_choices:
            raise _Broken(f"{where}: {token[:20]!r} stands outside of any rule; write name ::= ...")
        current = open_choices[-1].alternatives[-1]
        if kind == "repeat" or token in ("*", "+", "?"):
            if not current:
                raise _Broken(f"{where}: {token!r} repeats nothing")
            item, _, _ = current.pop()
            current.append((item, *_counts(token)))
        elif token == "(":
            if len(open_choices) > _MAX_NESTING:
                raise _Broken(f"{where}: parentheses are nested over {_MAX_NESTING} deep")
            open_choices.append(_Choice())
        elif token == ")":
            if len(open_choices) < 2:
                raise _Broken(f"{where}: a parenthesis closes that was not opened")
            closed = open_choices.pop()
            open_choices[-1].alternatives[-1].append((closed, 1, 1))
        elif token == "|":
            open_choices[-1].alternatives.append([])
        elif token != '""':
            current.append((token if kind == "name" else ".", 1, 1))
    if len(open_choices) > 1:
        raise _Broken(f"a parenthesis of rule {named!r} is not closed")
    return rules


def _counts(token: str) -> tuple[int, int | None]:
    if token == "*":
        return 0, None
    if token == "+":
        return 1, None
    if token == "?":
        return 0, 1
    low, comma, high = (part.strip() for part in token.strip("{}").partition(","))
    if max(len(low), len(high)) > 4 or max(int(low), int(high or 0)) > _MAX_REPEATS:
        raise _Broken(f"{token} repeats over {_MAX_REPEATS} times")
    if not comma:
        return int(low), int(low)
    return int(low), int(high) if high else None


class _Ways:
    """The number of ways in which a rule can be empty, or reach its first character, which llama.cpp tries one by
    one.
    """

    def __init__(self, rules: dict[str, _Choice]) -> None:
        self._rules = rules
        self._known: dict[str, tuple[int, int]] = {}
        self._under_way: list[str] = []

    def check(self, name: str) -> None:
        """Raise _Broken if there are too many, from any place in the rule."""
        self._rule(name)
        self._places(self._rules[name])

    def _places(self, choice: _Choice) -> None:
        for sequence in choice.alternatives:
            for at in range(len(sequence)):
                # llama.cpp continues where an item ends.
                if at and self._may_be_empty(sequence[at]):
                    self._sequence(sequence[at:])
                item = sequence[at][0]
                if isinstance(item, _Choice):
                    self._places(item)
                elif item != ".":
                    self._named(item)

    def _may_be_empty(self, item: tuple[str | _Choice, int, int | None]) -> bool:
        return self._item(*item)[0] > 0

    def _named(self, name: str) -> _Choice:
        if name not in self._rules:
            raise _Broken(f"rule {name!r} is used but not defined")
        return self._rules[name]

    def _rule(self, name: str) -> tuple[int, int]:
        if name in self._known:
            return self._known[name]
        if name in self._under_way:
            raise _Broken(f"rule {name!r} begins with itself (left recursion)")
        if len(self._under_way) > _MAX_CHAIN_LENGTH:
            raise _Broken(f"over {_MAX_CHAIN_LENGTH} rules begin with one another")
        choice = self._named(name)
        self._under_way.append(name)
        self._known[name] = ways = self._choice(choice)
        self._under_way.pop()
        return ways

    def _choice(self, choice: _Choice) -> tuple[int, int]:
        each = [self._sequence(sequence) for sequence in choice.alternatives]
        return _few(sum(empty for empty, _ in each), sum(begun for _, begun in each))

    def _sequence(self, items: Sequence[tuple[str | _Choice, int, int | None]]) -> tuple[int, int]:
        empty, begun = 1, 0
        for item in items:
            item_empty, item_begun = self._item(*item)
            begun += empty * item_begun
            empty *= item_empty
            _few(empty, begun)
            if not empty:
                break
        return empty, begun

    def _item(self, item: str | _Choice, low: int, high: int | None) -> tuple[int, int]:
        if item == ".":
            empty, begun = 0, 1
        else:
            empty, begun = self._choice(item) if isinstance(item, _Choice) else self._rule(item)
        if (low, high) == (1, 1):
            return empty, begun
        if empty and high != 1:
            raise _Broken("an item that may be empty is repeated")
        return (empty if low else empty + 1), begun


def _few(empty: int, begun: int) -> tuple[int, int]:
    if empty + begun > _MAX_ALTERNATIVES:
        raise _Broken(f"a rule can be empty, or begin, in over {_MAX_ALTERNATIVES} ways")
    return empty, begun
