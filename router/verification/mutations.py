"""The protocol with one rule broken at a time. A search that does not find each of these proves nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

from enginehouse.router.ledger import Kind
from enginehouse.router.ledger._billing import Rows
from enginehouse.router.ledger._store import EngineMark
from router.verification.protocol import Bounds, Protocol, Step
from router.verification.state import Journal, Life, Replica, Request, Stage, State, later

_ONE = Bounds(requests=1, draws=2)
_TWO = Bounds(requests=2)
_QUIET = Bounds(requests=1, draws=2, faults=0)
_EXTENDED = Bounds(requests=1, draws=1, faults=0, extensions=1)


class Mutation(Protocol):
    """A broken protocol, and the bounds within which that shows."""

    bounds_to_search: ClassVar[Bounds] = _ONE

    def __init__(self) -> None:
        super().__init__(self.bounds_to_search)


class AcknowledgesBeforeCommit(Mutation):
    """A report is acknowledged as it arrives, and its transaction may then fail."""

    def engine_end(self, request: Request, cost: int) -> Request:
        return super().engine_end(request, cost)._replace(stage=Stage.ACKNOWLEDGED)


class SettlesWithoutLookingForTheFirst(Mutation):
    """A second report of a grant is billed as well."""

    bounds_to_search = Bounds(requests=1, draws=2, cap=2, limit=4, costs=(0, 1))

    def rows(self, state: State, claims: list[tuple[int, Kind]]) -> Rows:
        rows = super().rows(state, claims)
        rows.reported.clear()
        return rows


class DoesNotClamp(Mutation):
    """Reported cost over the cap is billed."""

    bounds_to_search = dataclasses.replace(_QUIET, costs=(0, 2))

    def billable(self, request: Request) -> int:
        return request.cost

    def rows(self, state: State, claims: list[tuple[int, Kind]]) -> Rows:
        rows = super().rows(state, claims)
        for row in rows.reservations.values():
            row.cap_nanos = 10**6
        return rows


class DrawsWhatIsNotThere(Mutation):
    """The draw's update has no condition."""

    bounds_to_search = _QUIET

    def drawn(self, state: State, target: int) -> int:
        return target


class DrawsAfterDeath(Mutation):
    """A draw that commits after the replica was declared dead and released is not refused."""

    def may_draw(self, replica: Replica) -> bool:
        return True


class ReleasesWithoutWatermarks(Mutation):
    """A dead replica's lease is released at once."""

    def may_release(self, replica: Replica, marks: list[EngineMark]) -> bool:
        return True


class LapsesWithoutWatermarks(Mutation):
    """A grant that nobody has reported when it expires lapses at zero."""

    def lapses(self, request: Request, marks: list[EngineMark]) -> Kind | None:
        return Kind.LAPSE if request.journal == Journal.OPEN else None


class AssumesForGood(Mutation):
    """A late report does not take the assumption back."""

    bounds_to_search = _QUIET

    def rows(self, state: State, claims: list[tuple[int, Kind]]) -> Rows:
        rows = super().rows(state, claims)
        for row in rows.reservations.values():
            if row.state == "assumed":
                row.state, row.billed_nanos = "settled", 0
        return rows


class AWatermarkForgetsWhatRuns(Mutation):
    """The engine's watermark passes grants that it is spending or has not had acknowledged."""

    def watermark_age(self, state: State) -> int:
        return 1


class StartsLate(Mutation):
    """The engine starts on grants of any age."""

    def tick(self, state: State) -> State:
        return later(state)

    def accepts(self, request: Request) -> bool:
        return request.stage == Stage.WIRE


class ServesAGrantTwice(Mutation):
    """The engine does not know that it has used a grant; usage is unique by grant, so the second is not billed."""

    bounds_to_search = Bounds(requests=1, draws=2, cap=2, limit=4, costs=(1,), faults=0)

    def accepts(self, request: Request) -> bool:
        return super().accepts(request) or (request.stage == Stage.DONE and request.age <= 1 and request.cost <= 1)


class ForgetsInACrash(Mutation):
    """The engine spools nothing before the end: what it had sent before its death is not reported."""

    def engine_crash(self, state: State, cost: int) -> State:
        crashed = super().engine_crash(state, cost)
        requests = [
            after._replace(stage=Stage.GONE) if before.stage == Stage.RUNNING else after
            for before, after in zip(state.requests, crashed.requests, strict=True)
        ]
        return crashed._replace(requests=tuple(requests))


class TakesOldNews(Mutation):
    """A lease's row is taken in whether or not something newer is known."""

    bounds_to_search = Bounds(requests=1, draws=2, faults=0)

    def observe(self, state: State, index: int, replica: Replica, remaining: int, version: int) -> Replica:
        return replica._replace(remaining=remaining, version=version)


class ClosesUnread(Mutation):
    """A comparison drops what has settled although a draw under way kept it from reading the lease."""

    bounds_to_search = _TWO

    def end_compare(self, state: State, index: int, replica: Replica) -> State:
        if replica.stale and replica.draw:
            return self.close(state, index, replica._replace(compared=0), replica.compared - 1)
        return super().end_compare(state, index, replica)


class ReadsPastATransaction(Mutation):
    """A comparison reads a lease's row while a return that was given up may commit yet."""

    def may_read(self, replica: Replica) -> bool:
        return True


class TellsOnlyWhatItChanged(Mutation):
    """A settlement tells its replica of the leases that it changed, not of those that others had changed before."""

    def apply(self, state: State, index: int, claims: list[tuple[int, Kind]]) -> tuple[State, tuple[int, ...]]:
        before = state.replicas[index].lease_version
        changed, news = super().apply(state, index, claims)
        return changed, news if changed.replicas[index].lease_version != before else (0, 0, *news[2:])


class DropsBeforeItKnows(Mutation):
    """A settlement's reservation is dropped before the lease's row is taken in."""

    bounds_to_search = _QUIET

    def written(self, state: State, index: int, rows: Rows, closed: int, already: int) -> tuple[State, tuple[int, ...]]:
        state, news = super().written(state, index, rows, closed, already)
        return state, (0, 0, *news[2:])


class GivesBackWhatItStillUses(Mutation):
    """Money on its way back is not set aside."""

    bounds_to_search = Bounds(requests=1, draws=1, faults=0)

    def begin_giving(self, state: State, index: int, replica: Replica, free: int) -> State:
        begun = super().begin_giving(state, index, replica, free)
        return begun.with_replica(index, begun.replicas[index]._replace(returning=0))


class TakesALostReturnForUndone(Mutation):
    """A return whose outcome was lost counts as free again, unread."""

    def lose_giving(self, state: State, index: int, replica: Replica) -> State:
        return state.with_replica(index, replica._replace(giving=(), returning=0))


class ReopensTheJournal(Mutation):
    """The journal writes over a row that has settled."""

    def journalled(self, request: Request) -> int:
        return Journal.OPEN


class ReleasesTheLiving(Mutation):
    """A replica that still makes grants is declared dead and released."""

    bounds_to_search = _QUIET

    def may_release(self, replica: Replica, marks: list[EngineMark]) -> bool:
        return True

    def replica_steps(self, state: State, index: int, replica: Replica) -> Iterator[Step]:
        yield from super().replica_steps(state, index, replica)
        if replica.life == Life.LIVE:
            yield f"r{index} is declared dead", state.with_replica(index, replica._replace(life=Life.DEAD))


class ExtendsUnwritten(Mutation):
    """An engine hears of a higher cap that is not in the journal."""

    bounds_to_search = _EXTENDED

    def raised(self, request: Request) -> Request:
        return request


class ExtendsUnheld(Mutation):
    """The money of an extension counts as free."""

    bounds_to_search = _EXTENDED

    def held(self, request: Request) -> int:
        return 0


class ExtendsWhatIsNotOpen(Mutation):
    """A cap is raised although it has been assumed, and its lease has been paid from."""

    bounds_to_search = _EXTENDED

    def may_raise(self, request: Request) -> bool:
        return True


MUTATIONS: tuple[type[Mutation], ...] = tuple(Mutation.__subclasses__())
