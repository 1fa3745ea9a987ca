"""Bounds on the length of an automaton's texts."""

from __future__ import annotations

from enginehouse.engines.inference.grammar._automata import Automaton, components, explore
from enginehouse.engines.inference.grammar._expressions import Ranges
from enginehouse.engines.inference.grammar._gbnf import MAX_REPEATS

# With more states than this, a count for each is too much.
_MAX_COUNTED = 2500
_MIN_COUNTED = 24


def with_lengths(automaton: Automaton, least: int, most: int | None) -> Automaton | None:
    """Return the automaton of the texts of so many characters; None if there are none.

    Where a count for each state would be too much, shorter texts are written: each loop gets its share of the length,
    or what is beyond a first part only repeats.
    """
    if least:
        longer = _counted(automaton, least, None, None)
        if longer is None:
            return None
        automaton = longer
    if most is None:
        return automaton
    longest = _longest(automaton)
    if longest is not None and longest <= most:
        return automaton
    if len(automaton.moves) * most <= _MAX_COUNTED:
        return _counted(automaton, 0, most, None)
    if longest is None:
        shared = _share(automaton, most)
        if shared is not None:
            return shared
    part = max(_MIN_COUNTED, least, _MAX_COUNTED // len(automaton.moves))
    if part >= most:
        return _counted(automaton, 0, most, None)
    return _counted(automaton, 0, part, most - part)


def _counted(automaton: Automaton, least: int, most: int | None, beyond: int | None) -> Automaton | None:
    """Return the automaton with a count of characters in each state.

    Args:
        least: the least count, beyond which none is kept.
        most: the largest count.
        beyond: how often a text may go on from that count by a state's move to itself.
    """
    top = least if most is None else most

    def step(place: tuple[int, int]) -> list[tuple[Ranges, tuple[int, int]]]:
        state, count = place
        if most is not None and count >= most:
            return [(ranges, place) for ranges, target in automaton.moves[state] if beyond and target == state]
        return [(ranges, (target, min(count + 1, top))) for ranges, target in automaton.moves[state]]

    found = explore((0, 0), step, lambda place: place[0] in automaton.accepting and place[1] >= least)
    if found is None or not beyond:
        return found
    loops = {
        state: min(beyond, MAX_REPEATS)
        for state, moves in enumerate(found.moves)
        if any(target == state for _, target in moves)
    }
    return Automaton(found.moves, found.accepting, loops)


def _longest(automaton: Automaton) -> int | None:
    """Return the length of the longest text, without loops that are bounded; None if there is none."""
    targets = [[target for _, target in moves] for moves in automaton.moves]
    groups = components(targets)
    if any(len(group) > 1 or group[0] in targets[group[0]] for group in groups):
        return None
    return _depths(automaton, [group[0] for group in groups])[0]


def _depths(automaton: Automaton, order: list[int]) -> dict[int, int]:
    """Return the most steps from each state that no loop is among."""
    depths: dict[int, int] = {}
    for state in order:
        depths[state] = max((1 + depths[target] for _, target in automaton.moves[state] if target != state), default=0)
    return depths


def _share(automaton: Automaton, most: int) -> Automaton | None:
    """Return the automaton with a bound for each loop; None if a loop is of several states, or there is no room."""
    targets = [[target for _, target in moves] for moves in automaton.moves]
    groups = components(targets)
    if any(len(group) > 1 for group in groups):
        return None
    order = [group[0] for group in groups]
    room = most - _depths(automaton, order)[0]
    # The most loops on any way through.
    passed: dict[int, int] = {}
    for state in order:
        onward = max((passed[target] for target in targets[state] if target != state), default=0)
        passed[state] = onward + (state in targets[state])
    if room < passed[0] * 4:
        return None
    each = min(room // passed[0], MAX_REPEATS)
    return Automaton(
        automaton.moves,
        automaton.accepting,
        {state: each for state in range(len(targets)) if state in targets[state]},
    )
