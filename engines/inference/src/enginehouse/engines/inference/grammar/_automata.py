"""Finite automata over code points, and GBNF for them.

A rule for each state makes a grammar that never has two ways to read a text: llama.cpp follows each way, one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol, TypeVar

from enginehouse.engines.inference.grammar._expressions import (
    END,
    LAST_CODE,
    Expression,
    Expressions,
    Ranges,
    TooLarge,
    joined,
)
from enginehouse.engines.inference.grammar._gbnf import one_of, repeat

MAX_STATES = 2000
_MAX_WORK = 100_000
_MAX_INLINE_DEPTH = 12

State = TypeVar("State", bound=Hashable)


class RuleMaker(Protocol):
    """Keeps the rules of a grammar."""

    def rule(self, body: str) -> str:
        """Add a rule and return its name."""

    def reserve(self) -> str:
        """Return the name of a new rule, whose body follows by `define`."""

    def define(self, name: str, body: str) -> None:
        """Set the body of a reserved rule."""


@dataclass(frozen=True, slots=True)
class Automaton:
    """A deterministic automaton, without states that lead nowhere. State 0 is the first."""

    moves: Sequence[Sequence[tuple[Ranges, int]]]
    """For each state the characters on which it goes to another."""
    accepting: frozenset[int]
    loops: Mapping[int, int] = field(default_factory=dict)
    """How often a state may follow its move to itself, where that is bounded."""

    def write(self, rules: RuleMaker, character: Callable[[Ranges], str | None]) -> str:
        """Add rules for the automaton's texts and return the expression of its first state.

        Args:
            character: returns GBNF for one character of the ranges; None if it cannot be written.
        """
        entries = [0] * len(self.moves)
        for state, moves in enumerate(self.moves):
            for _, target in moves:
                entries[target] += state != target or state not in self.loops
        names: dict[int, str] = {}

        def after(state: int, depth: int) -> str:
            if not self.moves[state]:
                return ""
            if entries[state] == 1 and state != 0 and depth < _MAX_INLINE_DEPTH:
                return body(state, depth + (len(self.moves[state]) > 1 or state in self.accepting))
            if state not in names:
                names[state] = rules.reserve()
                waiting.append(state)
            return names[state]

        def body(state: int, depth: int) -> str:
            options = []
            repeated = ""
            for ranges, target in self.moves[state]:
                written = character(ranges)
                if written is None:
                    continue
                if target == state and state in self.loops:
                    repeated = repeat(written, 0, self.loops[state])
                else:
                    options.append(f"{written} {after(target, depth)}".strip())
            if state in self.accepting:
                options.append('""')
            rest = one_of(options)
            return f"{repeated} {rest}".strip() if rest != '""' or not repeated else repeated

        waiting: list[int] = []
        first = after(0, 0) or '""'
        while waiting:
            state = waiting.pop()
            rules.define(names[state], body(state, 0))
        return first


def explore(
    first: State, step: Callable[[State], Sequence[tuple[Ranges, State]]], accepts: Callable[[State], bool]
) -> Automaton | None:
    """Return the automaton that a step function describes; None if it accepts nothing.

    Raises:
        TooLarge: it has too many states.
    """
    numbers: dict[State, int] = {first: 0}
    order = [first]
    moves: list[list[tuple[Ranges, int]]] = []
    work = 0
    for state in order:
        to: dict[int, list[tuple[int, int]]] = {}
        for ranges, target in step(state):
            work += 1
            if target not in numbers:
                if len(order) >= MAX_STATES * 5 or work > _MAX_WORK:
                    raise TooLarge
                numbers[target] = len(order)
                order.append(target)
            to.setdefault(numbers[target], []).extend(ranges)
        moves.append([(joined(ranges), target) for target, ranges in to.items()])
    accepting = {numbers[state] for state in order if accepts(state)}
    return _smallest(moves, accepting)


def of_expression(expressions: Expressions, expression: Expression) -> Automaton | None:
    """Return the automaton of an expression of ended texts; None if there are none.

    Raises:
        TooLarge: it has too many states.
    """

    def step(state: Expression) -> list[tuple[Ranges, Expression]]:
        cuts = sorted({0, LAST_CODE + 1} | {cut for cut in expressions.cuts(state) if cut <= LAST_CODE})
        found: list[tuple[Ranges, Expression]] = []
        for low, following in pairwise(cuts):
            target = expressions.derivative(state, low)
            if target is not expressions.nothing:
                found.append((((low, following - 1),), target))
        return found

    return explore(expression, step, lambda state: expressions.derivative(state, END).nullable)


def _smallest(moves: list[list[tuple[Ranges, int]]], accepting: set[int]) -> Automaton | None:
    """Return the automaton without dead states, and with equal states as one."""
    sources: list[list[int]] = [[] for _ in moves]
    for state, edges in enumerate(moves):
        for _, target in edges:
            sources[target].append(state)
    alive = set(accepting)
    waiting = list(accepting)
    while waiting:
        for source in sources[waiting.pop()]:
            if source not in alive:
                alive.add(source)
                waiting.append(source)
    if 0 not in alive:
        return None
    block = _merged(moves, accepting, alive)
    kept: dict[int, int] = {}
    for state in sorted(alive):
        kept.setdefault(block[state], state)
    if len(kept) > MAX_STATES:
        raise TooLarge
    # State 0 comes first, so that it stays the first.
    numbers = {number: at for at, number in enumerate(kept)}
    renamed = {state: numbers[block[state]] for state in alive}
    return Automaton(
        moves=[_grouped(moves[state], renamed) for state in kept.values()],
        accepting=frozenset(renamed[state] for state in accepting),
    )


def _merged(moves: list[list[tuple[Ranges, int]]], accepting: set[int], alive: set[int]) -> dict[int, int]:
    """Return a number for each state, the same for states that go on alike."""
    block: dict[int, int] = {}
    signatures: dict[object, int] = {}
    for group in components([[target for _, target in edges if target in alive] for edges in moves]):
        members = [state for state in group if state in alive]
        inside = set(members)
        ranks = {state: int(state in accepting) for state in members}
        while len(members) > 1:
            # Within a cycle, states differ if what follows them does.
            known = {**block, **{state: -1 - rank for state, rank in ranks.items()}}
            keys: dict[object, int] = {}
            refined = {
                state: keys.setdefault((ranks[state], _grouped(moves[state], known)), len(keys)) for state in members
            }
            if len(keys) == len(set(ranks.values())):
                break
            ranks = refined
        fresh: dict[int, int] = {}
        for state in members:
            if len(inside) == 1:
                # A state that leads to itself is like another that does so too.
                key = (state in accepting, _grouped(moves[state], {**_of(moves[state], block), state: -1}))
                block[state] = signatures.setdefault(key, len(signatures))
            else:
                if ranks[state] not in fresh:
                    fresh[ranks[state]] = len(signatures)
                    signatures[object()] = len(signatures)
                block[state] = fresh[ranks[state]]
    return block


def _of(edges: Sequence[tuple[Ranges, int]], block: dict[int, int]) -> dict[int, int]:
    return {target: block[target] for _, target in edges if target in block}


def components(targets: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the groups of states that lead to each other, those that others lead to first."""
    order: list[int] = []
    seen = [False] * len(targets)
    for first in range(len(targets)):
        if seen[first]:
            continue
        seen[first] = True
        path = [(first, iter(targets[first]))]
        while path:
            state, rest = path[-1]
            following = next((target for target in rest if not seen[target]), None)
            if following is None:
                order.append(state)
                path.pop()
            else:
                seen[following] = True
                path.append((following, iter(targets[following])))
    sources: list[list[int]] = [[] for _ in targets]
    for state, edges in enumerate(targets):
        for target in edges:
            sources[target].append(state)
    groups: list[list[int]] = []
    grouped = [False] * len(targets)
    for first in reversed(order):
        if grouped[first]:
            continue
        grouped[first] = True
        group = [first]
        for state in group:
            for source in sources[state]:
                if not grouped[source]:
                    grouped[source] = True
                    group.append(source)
        groups.append(group)
    return groups[::-1]


def _grouped(edges: Sequence[tuple[Ranges, int]], block: dict[int, int]) -> tuple[tuple[Ranges, int], ...]:
    together: dict[int, list[tuple[int, int]]] = {}
    for ranges, target in edges:
        if target in block:
            together.setdefault(block[target], []).extend(ranges)
    return tuple(sorted(((joined(ranges), target) for target, ranges in together.items())))
