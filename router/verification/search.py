"""Breadth-first search over every state that the protocol can reach, with what must hold in each."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Sequence

from router.verification.protocol import Protocol, Violation
from router.verification.state import NEVER, Journal, Life, Replica, Stage, State, canonical

_ROUNDS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """The outcome of a search.

    Attributes:
        states: how many different ones were reached.
        steps: how many steps led to them.
        depth: of the longest shortest path.
        complete: whether there was nothing left to look at.
        seconds: how long it took.
        violation: what must never happen and did; empty if nothing.
        trace: the steps to it.
    """

    states: int
    steps: int
    depth: int
    complete: bool
    seconds: float
    violation: str = ""
    trace: tuple[str, ...] = ()


def search(protocol: Protocol, *, max_states: int = 0, max_seconds: float = 0, rest_of: int = 64) -> Found:
    """Look at every reachable state, nearest first, until one violates what must hold.

    Args:
        protocol: the steps.
        max_states: stop after so many; 0 for no bound.
        max_seconds: stop after so long; 0 for no bound.
        rest_of: of one in so many states, everything outstanding is let come to its end as well, and what must hold at
            rest is checked; 1 means of all.
    """
    began = time.monotonic()
    start = canonical(protocol.initial())
    # How each state was first reached: the state before, by its number, and the step.
    numbers: dict[int, int] = {hash(start): 0}
    known: set[int] = set()
    parents: list[tuple[int, str]] = [(-1, "")]
    frontier = [(0, start)]
    steps = depth = 0

    def ended(complete: bool, violation: str = "", last: int = 0, step: str = "") -> Found:
        trace = [step] if step else []
        while violation and last > 0:
            last, name = parents[last]
            trace.insert(0, name)
        return Found(
            states=len(parents),
            steps=steps,
            depth=depth,
            complete=complete,
            seconds=time.monotonic() - began,
            violation=violation,
            trace=tuple(trace),
        )

    while frontier:
        following = []
        for number, state in frontier:
            if max_states and len(parents) >= max_states:
                return ended(False)
            if max_seconds and time.monotonic() - began > max_seconds:
                return ended(False)
            name = ""
            try:
                for name, reached in protocol.successors(state):
                    steps += 1
                    # Most steps lead to a state that is known as it stands, and making it canonical takes the longest.
                    key = hash(reached)
                    if key in known:
                        continue
                    known.add(key)
                    reached = canonical(reached)
                    key = hash(reached)
                    if key in numbers:
                        continue
                    check(protocol, reached)
                    numbers[key] = len(parents)
                    following.append((len(parents), reached))
                    parents.append((number, name))
                    if rest_of and key % rest_of == 0:
                        check_rest(protocol, reached)
            except Violation as violation:
                return ended(False, str(violation), number, name)
        frontier = following
        depth += bool(frontier)
    return ended(True)


def walk(protocol: Protocol, *, seed: int, walks: int, steps: int = 80) -> Found:
    """Random paths from the start, each let come to its end, where the states are too many to see all of them."""
    began = time.monotonic()
    dice = random.Random(seed)
    taken = 0
    for _ in range(walks):
        state = canonical(protocol.initial())
        trace: list[str] = []
        try:
            for _ in range(steps):
                following = list(protocol.successors(state))
                if not following:
                    break
                name, reached = dice.choice(following)
                trace.append(name)
                state = canonical(reached)
                taken += 1
                check(protocol, state)
            check_rest(protocol, state)
        except Violation as violation:
            return _walked(taken, steps, began, str(violation), trace)
    return _walked(taken, steps, began)


def _walked(taken: int, steps: int, began: float, violation: str = "", trace: Sequence[str] = ()) -> Found:
    return Found(
        states=taken,
        steps=taken,
        depth=steps,
        complete=False,
        seconds=time.monotonic() - began,
        violation=violation,
        trace=tuple(trace),
    )


def check(protocol: Protocol, state: State) -> None:
    """Check what holds in every state. Raises Violation."""
    limit, cap = protocol.bounds.limit, protocol.bounds.cap
    if state.settled + state.leased > limit or state.settled < 0 or state.leased < 0:
        raise Violation(f"settled {state.settled} and leased {state.leased} of a limit of {limit}")
    if state.leased != sum(replica.lease for replica in state.replicas):
        raise Violation("what the window counts as leased is not what the leases have")
    if state.settled != sum(request.usage for request in state.requests):
        raise Violation("what is settled is not the sum of the usage")
    needed = [0] * len(state.replicas)
    for number, request in enumerate(state.requests):
        if request.reports > 1:
            raise Violation(f"q{number} was settled twice")
        if not 0 <= request.usage <= cap + request.raised:
            raise Violation(f"q{number} is billed {request.usage} with a cap of {cap + request.raised}")
        if request.allowed > request.raised:
            raise Violation(f"the engine may spend more on q{number} than is written down")
        if request.journal == Journal.LAPSED and not request.reports and request.stage in (Stage.RUNNING, Stage.DONE):
            raise Violation(f"q{number} lapsed at zero while the engine had it")
        if request.stage == Stage.ACKNOWLEDGED and not request.reports:
            raise Violation(f"q{number} was acknowledged and is not settled")
        if request.stage in (Stage.WIRE, Stage.RUNNING, Stage.DONE) and request.journal in (Journal.NONE, Journal.OPEN):
            needed[request.holder] += cap + request.raised
    for number, replica in enumerate(state.replicas):
        if replica.lease < needed[number]:
            raise Violation(f"an outstanding grant of r{number} is not covered by its lease")
        if replica.alive:
            _, free = protocol.book(state, number, replica)
            if free > replica.lease - needed[number]:
                raise Violation(f"r{number} thinks that {free} is free of {replica.lease - needed[number]}")


def check_rest(protocol: Protocol, state: State) -> None:
    """Let everything come to its end, and check what holds then: all that was served is billed, once, and nothing is
    held for anybody.
    """
    state = at_rest(protocol, state)
    for number, request in enumerate(state.requests):
        served = min(request.cost, protocol.bounds.cap + request.allowed)
        if request.usage != served:
            raise Violation(f"at rest q{number} was served {served} and is billed {request.usage}")
        if request.journal == Journal.OPEN:
            raise Violation(f"at rest q{number} is still open")
        if request.open and state.replicas[request.holder].alive:
            raise Violation(f"at rest r{request.holder} still holds q{number}")
    if state.leased:
        raise Violation(f"at rest {state.leased} is held for nothing")


def at_rest(protocol: Protocol, state: State) -> State:
    """One way for everything outstanding to end well."""
    if not any(replica.alive for replica in state.replicas):
        state = state._replace(replicas=(*state.replicas, Replica()))
    for _ in range(_ROUNDS):
        before = state
        for index in range(len(state.replicas)):
            for name, reached in list(protocol.transactions(state, index, state.replicas[index])):
                if name.endswith("commits"):
                    check(protocol, reached)
                    state = reached
        for index in range(len(state.replicas)):
            state = _settle_down(protocol, state, index)
        for number, request in enumerate(state.requests):
            if request.stage == Stage.RUNNING:
                served = request._replace(stage=Stage.DONE, cost=request.cost + max(protocol.bounds.costs))
                state = state.with_request(number, served)
        state = protocol.tick(state)
        state = state._replace(mark_age=min(state.mark_age, protocol.watermark_age(state)), late_mark=NEVER)
        state = canonical(state)
        check(protocol, state)
        if state == before:
            break
    return state


def _settle_down(protocol: Protocol, state: State, index: int) -> State:
    if not state.replicas[index].alive:
        if state.replicas[index].life == Life.LIVE:
            state = state.with_replica(index, state.replicas[index]._replace(life=Life.DEAD))
        return state
    for wanted in (
        "learns of its draw",
        "learns of its return",
        "learns what was settled",
        "has compared",
        "writes its journal",
        *[f"settles q{number}" for number in range(len(state.requests))],
        "sweeps",
        "learns what was settled",
        "compares",
        "has compared",
        "gives back",
    ):
        replica = state.replicas[index]
        if not replica.alive:
            return state
        for name, reached in protocol.replica_steps(state, index, replica):
            if name.endswith(wanted):
                state = reached
                if "settles" in wanted and state.replicas[index].news:
                    state = protocol.learn_news(state, index, state.replicas[index], acknowledges=True)
                check(protocol, state)
                break
    return state
