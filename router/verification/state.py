"""A state of the model: what PostgreSQL, the replicas, the engine and the wires between them hold.

Every value is immutable and compares by content. Times are ages in ticks; what matters of them is their order and
whether one is over a threshold of one tick, so that longer gaps count as `_FAR` and the states are finitely many.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

NEVER = 99
_FAR = 2


class Stage(enum.IntEnum):
    """Where a grant is."""

    WIRE = 0
    """Given out: it may reach the engine, or nobody."""
    RUNNING = 1
    DONE = 2
    """The engine has spooled what it cost, and reports until that is acknowledged."""
    ACKNOWLEDGED = 3
    GONE = 4
    """Too old for any engine to start on."""


class Journal(enum.IntEnum):
    """A grant's row in the journal."""

    NONE = 0
    OPEN = 1
    SETTLED = 2
    LAPSED = 3
    ASSUMED = 4


class Life(enum.IntEnum):
    """A replica's row."""

    LIVE = 0
    DEAD = 1
    RELEASED = 2


class Request(NamedTuple):
    """A request, and what everybody knows of it."""

    holder: int
    age: int = 0
    stage: int = Stage.WIRE
    cost: int = 0
    # In the holder's memory: not known to be settled; not written down yet.
    open: bool = True
    unwritten: bool = True
    # In PostgreSQL.
    journal: int = Journal.NONE
    billed: int = 0
    # The usage of it: how many reports were inserted, and the sum of all rows.
    reports: int = 0
    usage: int = 0
    # More than its first cap: as the holder's book holds it, as the journal has it, as the engine may spend it; and how
    # far the holder's transaction for it is, and then its answer.
    held: int = 0
    raised: int = 0
    allowed: int = 0
    asking: int = 0


class Replica(NamedTuple):
    """A router process, its book, and what is on its way between it and PostgreSQL.

    `draw` and `giving` are () or a transaction: how far it is, and what it wants to move or what the row was after it.
    `ghost` is one that the replica has given up and that may commit all the same: whether it is a return, and what it
    wants to move. `news` is the outcome of a settlement or sweep: the lease's row after it
    (remaining, version; version 0: not touched), what it closed, what it had found closed, what to acknowledge; these
    three as bits by request. `compared` is what a comparison has found closed, plus one; 0 without a comparison.
    """

    alive: bool = True
    remaining: int = 0
    version: int = 0
    returning: int = 0
    stale: bool = False
    draw: tuple[int, ...] = ()
    giving: tuple[int, ...] = ()
    ghost: tuple[int, ...] = ()
    news: tuple[int, ...] = ()
    compared: int = 0
    # In PostgreSQL: the registration, and the lease.
    life: int = Life.LIVE
    dead_age: int = 0
    lease: int = 0
    lease_version: int = 0
    lease_released: bool = False


class State(NamedTuple):
    """Everything."""

    settled: int = 0
    leased: int = 0
    replicas: tuple[Replica, ...] = ()
    requests: tuple[Request, ...] = ()
    mark_age: int = NEVER
    # Watermarks on their way, by age.
    late_mark: int = NEVER
    # How many things went wrong, and how many draws and extensions were begun.
    faults: int = 0
    draws: int = 0
    extensions: int = 0

    def with_replica(self, index: int, replica: Replica) -> State:
        """With another replica at that place."""
        return self._replace(replicas=(*self.replicas[:index], replica, *self.replicas[index + 1 :]))

    def with_request(self, index: int, request: Request) -> State:
        """With another request at that place."""
        return self._replace(requests=(*self.requests[:index], request, *self.requests[index + 1 :]))


def later(state: State) -> State:
    """One tick on."""
    return state._replace(
        requests=tuple([request._replace(age=min(NEVER, request.age + 1)) for request in state.requests]),
        replicas=tuple(
            [
                replica._replace(dead_age=replica.dead_age + 1) if replica.life == Life.DEAD else replica
                for replica in state.replicas
            ]
        ),
        mark_age=min(NEVER, state.mark_age + 1),
        late_mark=min(NEVER, state.late_mark + 1),
    )


def canonical(state: State) -> State:
    """The state that stands for all that differ from this one only in what can no longer matter: how long ago things
    were beyond any threshold, when a request came that everybody is done with, how often a lease's row has changed, and
    replicas that nothing is left of.
    """
    requests = [_done_with(request) for request in state.requests]
    ages = {request.age for request in requests if request.age != NEVER}
    ages |= {replica.dead_age for replica in state.replicas if replica.life == Life.DEAD}
    oldest = max(ages, default=0)
    # A watermark matters to what came before it alone.
    mark_age = state.mark_age if state.mark_age < oldest else NEVER
    late_mark = state.late_mark if state.late_mark < min(oldest, mark_age) else NEVER
    ages |= {mark_age, late_mark} - {NEVER}
    shorter, last, shortened = {NEVER: NEVER}, 0, 0
    for age in sorted(ages):
        shortened += min(age - last, _FAR)
        shorter[age], last = shortened, age
    return state._replace(
        requests=tuple([request._replace(age=shorter[request.age]) for request in requests]),
        replicas=tuple(
            [
                _forgotten(
                    _renumbered(
                        replica._replace(dead_age=shorter[replica.dead_age]) if replica.life == Life.DEAD else replica
                    )
                )
                for replica in state.replicas
            ]
        ),
        mark_age=shorter[mark_age],
        late_mark=shorter[late_mark],
    )


def _done_with(request: Request) -> Request:
    if not request.open:
        request = request._replace(held=0)
    if request.journal == Journal.NONE:
        return request
    if request.stage in (Stage.ACKNOWLEDGED, Stage.GONE) and request.journal in (Journal.SETTLED, Journal.LAPSED):
        return request._replace(unwritten=False, age=NEVER)
    return request._replace(unwritten=False)


def _renumbered(replica: Replica) -> Replica:
    versions = {0, replica.version, replica.lease_version}
    draw, giving, news = replica.draw, replica.giving, replica.news
    for outcome in (draw, giving):
        if len(outcome) == 3:
            versions.add(outcome[2])
    if news:
        versions.add(news[1])
    if max(versions) < len(versions):
        return replica
    rank = {version: number for number, version in enumerate(sorted(versions))}
    return replica._replace(
        version=rank[replica.version],
        lease_version=rank[replica.lease_version],
        draw=(*draw[:2], rank[draw[2]]) if len(draw) == 3 else draw,
        giving=(*giving[:2], rank[giving[2]]) if len(giving) == 3 else giving,
        news=(news[0], rank[news[1]], *news[2:]) if news else news,
    )


def _forgotten(replica: Replica) -> Replica:
    """A replica that is released has no past; what a transaction of it may still do stays."""
    if replica.alive or replica.life != Life.RELEASED:
        return replica
    return _NOTHING._replace(draw=replica.draw, giving=replica.giving, ghost=replica.ghost)


_NOTHING = Replica(alive=False, life=Life.RELEASED, lease_released=True, lease_version=1)
