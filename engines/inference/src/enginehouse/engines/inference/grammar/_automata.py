"""Finite automata over code points, and GBNF for them.

A rule for each state makes a grammar that never has two ways to read a text: llama.cpp follows each way, one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeVar

from enginehouse.engines.inference.grammar._expressions import END, LAST_CODE, Expression, Expressions, Ranges, joined
from enginehouse.engines.inference.grammar._gbnf import one_of

MAX_STATES = 2000
_MAX_WORK = 400_000
_MAX_INLINE_DEPTH = 12

State = TypeVar("State", bound=Hashable)


class TooLarge(ValueError):
    """An automaton that would have too many states."""


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

    def write(self, rules: RuleMaker, character: Callable[[Ranges], str | None]) -> str:
        """Add rules for the automaton's texts and return the expression of its first state.

        Args:
            character: returns GBNF for one character of the ranges; None if it cannot be written.
        """
        entries = [0] * len(self.moves)
        for moves in self.moves:
            for _, target in moves:
                entries[target] += 1
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
            for ranges, target in self.moves[state]:
                written = character(ranges)
                if written is not None:
                    options.append(f"{written} {after(target, depth)}".strip())
            if state in self.accepting:
                options.append('""')
            return one_of(options)

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
                if len(order) >= MAX_STATES * 10 or work > _MAX_WORK:
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

    made = expressions.size

    def step(state: Expression) -> list[tuple[Ranges, Expression]]:
        if expressions.size - made > MAX_STATES * 40:
            raise TooLarge
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
    block = {state: int(state in accepting) for state in alive}
    count = len(set(block.values()))
    while True:
        signatures: dict[object, int] = {}
        refined = {}
        for state in sorted(alive):
            key = (block[state], _grouped(moves[state], block))
            refined[state] = signatures.setdefault(key, len(signatures))
        block = refined
        if len(signatures) == count:
            break
        count = len(signatures)
    if count > MAX_STATES:
        raise TooLarge
    kept: dict[int, int] = {}
    for state in sorted(alive):
        kept.setdefault(block[state], state)
    # State 0 comes first, so that its block is 0.
    return Automaton(
        moves=[_grouped(moves[kept[number]], block) for number in range(count)],
        accepting=frozenset(number for number in range(count) if kept[number] in accepting),
    )


def _grouped(edges: Sequence[tuple[Ranges, int]], block: dict[int, int]) -> tuple[tuple[Ranges, int], ...]:
    together: dict[int, list[tuple[int, int]]] = {}
    for ranges, target in edges:
        if target in block:
            together.setdefault(block[target], []).extend(ranges)
    return tuple(sorted(((joined(ranges), target) for target, ranges in together.items())))
