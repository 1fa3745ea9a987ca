"""The steps of the protocol, each as the states that it leads to.

What another order, a loss or a crash could change is a step of its own: a transaction that commits apart from its
outcome's arrival, a comparison's two reads, an acknowledgement that does not arrive.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

from enginehouse.api.router.v1 import grant_pb2
from enginehouse.router.ledger import Book, Budget, Claim, Kind, Outcome, Period, Reservation, Scope, Verdict
from enginehouse.router.ledger._billing import LeaseRow, ReservationRow, Rows, WindowRow, settle
from enginehouse.router.ledger._sizing import granted
from enginehouse.router.ledger._store import EngineMark
from enginehouse.router.ledger._sweep import SweepTerms, nobody_has, what_becomes_of
from router.verification.state import NEVER, Journal, Life, Replica, Request, Stage, State, later

_NOW_MS = 1000
_WINDOW = ("budget", 0)
_ENGINE = "engine"
# One tick from its issue on, no engine starts on a grant; and its expiry, with grace, has passed.
_TERMS = SweepTerms(accept_window_ms=1, grace_ms=0, unseen_ms=0)
_BUDGET = Budget(
    budget_id=_WINDOW[0],
    tenant_id="tenant",
    scope=Scope.TENANT,
    scope_id="tenant",
    period=Period.LIFETIME,
    limit_nanos=0,
    created_at_ms=0,
)

# How far a transaction is: not committed, or committed and its outcome is on its way: the lease's row, or that there
# was nothing to move, or that the registration had run out.
SENT, DONE, NOTHING, DEAD = 1, 2, 3, 4

Step = tuple[str, State]


class Violation(Exception):
    """Something that must never happen; the text says what."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bounds:
    """The size of the model.

    Attributes:
        replicas: how many are alive at once, at most.
        requests: how many come.
        faults: how many things go wrong: a process dies, an outcome or an acknowledgement is lost, a transaction fails
            or is given up. Delays, duplicates and reorderings are not counted.
        draws: how many draws are begun.
        limit: the budget, in units of money.
        cap: a request's bound.
        costs: what a request may turn out to cost.
        late_marks: whether watermarks are delayed as well.
        extensions: how many times an engine asks for more than a cap.
        more: how much that is.
    """

    replicas: int = 2
    requests: int = 3
    faults: int = 1
    draws: int = 3
    limit: int = 2
    cap: int = 1
    costs: tuple[int, ...] = (0, 1)
    late_marks: bool = False
    extensions: int = 0
    more: int = 1


class Protocol:
    """The protocol as it is. A mutation overrides a method that breaks one of its rules."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds

    def initial(self) -> State:
        """Nothing has happened."""
        return State(replicas=(Replica(),))

    def successors(self, state: State) -> Iterator[Step]:
        """Every state that one step leads to, with the step's name."""
        for index, replica in enumerate(state.replicas):
            yield from self.transactions(state, index, replica)
            if replica.alive:
                yield from self.replica_steps(state, index, replica)
                if state.faults < self.bounds.faults:
                    for name, reached in self.faults(state, index, replica):
                        yield name, reached._replace(faults=state.faults + 1)
            elif replica.life == Life.LIVE:
                yield f"r{index} is declared dead", state.with_replica(index, replica._replace(life=Life.DEAD))
        yield from self.engine_steps(state)
        yield from self.replicas_start(state)
        ages = [request.age for request in state.requests]
        ages += [replica.dead_age for replica in state.replicas if replica.life == Life.DEAD]
        # Once everything is older than any threshold, a tick changes nothing.
        if min([*ages, state.mark_age]) <= 2:
            yield "a tick", self.tick(state)

    def tick(self, state: State) -> State:
        """Time goes on; what is on a wire grows too old for any engine."""
        state = later(state)
        return state._replace(
            requests=tuple(
                [
                    request._replace(stage=Stage.GONE) if request.stage == Stage.WIRE and request.age > 1 else request
                    for request in state.requests
                ]
            )
        )

    # Replicas.

    def replicas_start(self, state: State) -> Iterator[Step]:
        """A process starts, in place of one that died or beside another."""
        alive = sum(replica.alive for replica in state.replicas)
        # One that has not drawn yet is as good as another that has not.
        idle = any(replica.alive and replica == Replica() for replica in state.replicas)
        if alive < self.bounds.replicas and not idle:
            yield f"r{len(state.replicas)} starts", state._replace(replicas=(*state.replicas, Replica()))

    def replica_steps(self, state: State, index: int, replica: Replica) -> Iterator[Step]:
        """The steps that a living replica takes by itself, and the outcomes that reach it."""
        name = f"r{index}"
        book, free = self.book(state, index, replica)
        if len(state.requests) < self.bounds.requests:
            if free >= self.bounds.cap:
                yield f"{name} reserves", self.reserve(state, index, book)
            elif not replica.draw and state.draws < self.bounds.draws:
                for target in (self.bounds.cap, 2 * self.bounds.cap):
                    drawing = replica._replace(draw=(SENT, target))
                    yield f"{name} draws {target}", state._replace(draws=state.draws + 1).with_replica(index, drawing)
        yield from self.extensions(state, index, replica, book)
        if replica.draw and replica.draw[0] != SENT:
            yield f"{name} learns of its draw", self.learn_draw(state, index, replica)
        if not replica.giving and free > 0 and not replica.stale and replica.compared == 0:
            yield f"{name} gives back", self.begin_giving(state, index, replica, free)
        elif replica.giving and replica.giving[0] != SENT:
            yield f"{name} learns of its return", self.learn_giving(state, index, replica)
        if replica.news:
            yield f"{name} learns what was settled", self.learn_news(state, index, replica, acknowledges=True)
        else:
            yield from self.settlements(state, index)
            swept = self.sweep(state, index)
            if swept is not None:
                yield f"{name} sweeps", swept
        if any(request.holder == index and request.unwritten and request.open for request in state.requests):
            yield f"{name} writes its journal", self.write_journal(state, index)
        if replica.compared == 0 and not replica.giving:
            closed = self.found_closed(state, index)
            if closed or (replica.stale and replica.lease_version):
                yield f"{name} compares", self.begin_compare(state, index, replica, closed)
        elif replica.compared and self.may_read(replica):
            yield f"{name} has compared", self.end_compare(state, index, replica)

    def faults(self, state: State, index: int, replica: Replica) -> Iterator[Step]:
        """The faults of a living replica: it dies, or an outcome or an acknowledgement is lost, or a transaction.

        One that is given up while it is on its way may commit all the same.
        """
        name = f"r{index}"
        yield f"{name} dies", self.gone(state, index, replica)
        if replica.draw:
            if replica.draw[0] != SENT:
                yield f"{name} never learns of its draw", self.lose_draw(state, index, replica)
            else:
                yield f"{name}'s draw fails", self.lose_draw(state, index, replica)
                if not replica.ghost:
                    given_up = replica._replace(ghost=(0, replica.draw[1]))
                    yield f"{name} gives up its draw", self.lose_draw(state, index, given_up)
        if replica.giving:
            if replica.giving[0] != SENT:
                yield f"{name} never learns of its return", self.lose_giving(state, index, replica)
            else:
                yield f"{name}'s return fails", self.lose_giving(state, index, replica)
                if not replica.ghost:
                    given_up = replica._replace(ghost=(1, replica.giving[1]))
                    yield f"{name} gives up its return", self.lose_giving(state, index, given_up)
        for number, request in enumerate(state.requests):
            if request.holder == index and request.asking:
                lost = state.with_request(number, request._replace(asking=0))
                yield (
                    f"{name}'s extension of q{number} {'fails' if request.asking == SENT else 'is never heard of'}",
                    lost,
                )
        if replica.news:
            if replica.news[-1]:
                yield f"{name} learns, the engine does not", self.learn_news(state, index, replica, acknowledges=False)
            yield f"{name} never learns what was settled", state.with_replica(index, replica._replace(news=()))

    def book(self, state: State, index: int, replica: Replica) -> tuple[Book, int]:
        """The replica's book, and what is free in it."""
        book = Book()
        account = book.account(_BUDGET, now_ms=0)
        account.remaining = 10**6
        for number, request in enumerate(state.requests):
            if request.holder == index and request.open:
                book.reserve(
                    (account,),
                    grant_id=str(number),
                    cap_nanos=self.bounds.cap + request.held,
                    now_ms=_NOW_MS,
                    expires_at_ms=_NOW_MS,
                )
        account.remaining, account.version = replica.remaining, replica.version
        account.returning, account.stale = replica.returning, replica.stale
        return book, account.free

    def reserve(self, state: State, index: int, book: Book) -> State:
        """Step 2, and the grant is given out."""
        (account,) = book.accounts()
        reserved = book.reserve(
            (account,), grant_id="new", cap_nanos=self.bounds.cap, now_ms=_NOW_MS, expires_at_ms=_NOW_MS
        )
        if not isinstance(reserved, Reservation):
            raise Violation("the book has free money and does not reserve it")
        return state._replace(requests=(*state.requests, Request(holder=index)))

    def extensions(self, state: State, index: int, replica: Replica, book: Book) -> Iterator[Step]:
        """An engine asks the holder for more than a cap; and is answered, if it waits still."""
        name, more = f"r{index}", self.bounds.more
        for number, request in enumerate(state.requests):
            if request.holder != index:
                continue
            if request.asking in (DONE, NOTHING):
                heard = request._replace(asking=0)
                if request.asking == DONE and request.stage == Stage.RUNNING:
                    heard = heard._replace(allowed=more)
                yield f"the engine hears of more for q{number}", state.with_request(number, heard)
            may_ask = request.stage == Stage.RUNNING and not request.allowed and not request.asking and request.open
            if not may_ask or state.extensions >= self.bounds.extensions:
                continue
            reservation = book.get(str(number))
            if reservation is None:
                raise Violation("the book does not hold an open reservation")
            # Asked again, it takes nothing more.
            if book.extend(reservation, more - request.held, now_ms=_NOW_MS) is None:
                asked = request._replace(held=self.held(request), asking=SENT)
                begun = state._replace(extensions=state.extensions + 1)
                yield f"{name} extends q{number}", begun.with_request(number, asked)
            elif not replica.draw and state.draws < self.bounds.draws:
                drawing = replica._replace(draw=(SENT, more))
                yield (
                    f"{name} draws {more} for q{number}",
                    state._replace(draws=state.draws + 1).with_replica(index, drawing),
                )

    def held(self, request: Request) -> int:
        """The amount that the book holds over the cap, once a request is extended."""
        return self.bounds.more

    def learn_draw(self, state: State, index: int, replica: Replica) -> State:
        """A draw's outcome arrives."""
        if replica.draw[0] == DEAD:
            # It registers anew, with an empty book: as if it had died and another had come.
            return self.gone(state, index, replica)
        if replica.draw[0] == DONE:
            replica = self.observe(state, index, replica, replica.draw[1], replica.draw[2])
        return state.with_replica(index, replica._replace(draw=()))

    def lose_draw(self, state: State, index: int, replica: Replica) -> State:
        """A draw's outcome is lost, and the replica knows that."""
        return state.with_replica(index, replica._replace(draw=(), stale=True))

    def observe(self, state: State, index: int, replica: Replica, remaining: int, version: int) -> Replica:
        """The replica takes in its lease's row."""
        book, _ = self.book(state, index, replica)
        (account,) = book.accounts()
        book.observe(account.lease_id, remaining=remaining, version=version)
        return replica._replace(remaining=account.remaining, version=account.version)

    def begin_giving(self, state: State, index: int, replica: Replica, free: int) -> State:
        """The free part is set aside, and a transaction begins that takes it off the lease."""
        return state.with_replica(index, replica._replace(giving=(SENT, free), returning=free))

    def learn_giving(self, state: State, index: int, replica: Replica) -> State:
        """A return's outcome arrives."""
        if replica.giving[0] == NOTHING:
            return state.with_replica(index, replica._replace(giving=(), stale=True))
        replica = self.observe(state, index, replica, replica.giving[1], replica.giving[2])
        return state.with_replica(index, replica._replace(giving=(), returning=0))

    def lose_giving(self, state: State, index: int, replica: Replica) -> State:
        """A return's outcome is lost."""
        return state.with_replica(index, replica._replace(giving=(), stale=True))

    def learn_news(self, state: State, index: int, replica: Replica, *, acknowledges: bool) -> State:
        """The outcome of a settlement or a sweep arrives, and the engine is told or is not."""
        remaining, version, closed, already, told = replica.news
        if version:
            replica = self.observe(state, index, replica, remaining, version)
        requests = list(state.requests)
        stale = replica.stale
        for number, request in enumerate(requests):
            bit = 1 << number
            if closed & bit and request.holder == index:
                requests[number] = request = request._replace(open=False)
            if already & bit and request.holder == index and request.open:
                stale = True
            if acknowledges and told & bit and request.stage == Stage.DONE:
                requests[number] = request._replace(stage=Stage.ACKNOWLEDGED)
        return state._replace(requests=tuple(requests)).with_replica(index, replica._replace(news=(), stale=stale))

    def found_closed(self, state: State, index: int) -> int:
        """Which reservations that the replica holds are no longer open in the journal."""
        return sum(
            1 << number
            for number, request in enumerate(state.requests)
            if request.holder == index and request.open and request.journal > Journal.OPEN
        )

    def begin_compare(self, state: State, index: int, replica: Replica, closed: int) -> State:
        """The first read of a comparison."""
        return state.with_replica(index, replica._replace(compared=closed + 1, stale=replica.stale or closed > 0))

    def may_read(self, replica: Replica) -> bool:
        """Return whether the lease's row can be read: a transaction that has changed it and not ended holds it."""
        return not replica.ghost

    def end_compare(self, state: State, index: int, replica: Replica) -> State:
        """The second: the lease's row, unless a draw is under way; then what it covers is closed."""
        closed = replica.compared - 1
        if replica.stale and replica.draw:
            closed = 0
        elif replica.stale and replica.lease_version:
            replica = self.observe(state, index, replica, replica.lease, replica.lease_version)
            replica = replica._replace(stale=False, returning=0)
        return self.close(state, index, replica._replace(compared=0), closed)

    def close(self, state: State, index: int, replica: Replica, closed: int) -> State:
        """Drop reservations."""
        requests = [
            request._replace(open=False) if closed & 1 << number else request
            for number, request in enumerate(state.requests)
        ]
        return state._replace(requests=tuple(requests)).with_replica(index, replica)

    def gone(self, state: State, index: int, replica: Replica) -> State:
        """The process is dead, or cut off from PostgreSQL until its registration has run out. What it had in memory is
        lost; what it had sent may still commit.
        """
        dead = replica._replace(
            alive=False,
            remaining=0,
            version=0,
            returning=0,
            stale=False,
            draw=replica.draw if replica.draw[:1] == (SENT,) else (),
            giving=replica.giving if replica.giving[:1] == (SENT,) else (),
            news=(),
            compared=0,
        )
        requests = [
            request._replace(open=False, unwritten=False, asking=SENT if request.asking == SENT else 0)
            if request.holder == index
            else request
            for request in state.requests
        ]
        return state._replace(requests=tuple(requests)).with_replica(index, dead)

    # PostgreSQL.

    def transactions(self, state: State, index: int, replica: Replica) -> Iterator[Step]:
        """A sent transaction commits, also after its sender's death. One that was given up may never commit."""
        if replica.draw and replica.draw[0] == SENT:
            yield f"r{index}'s draw commits", self.commit_draw(state, index, replica)
        if replica.giving and replica.giving[0] == SENT:
            yield f"r{index}'s return commits", self.commit_giving(state, index, replica)
        if replica.ghost:
            yield f"what r{index} gave up commits", self.commit_ghost(state, index, replica)
        for number, request in enumerate(state.requests):
            if request.holder == index and request.asking == SENT:
                yield f"r{index}'s extension of q{number} commits", self.commit_extension(state, number, replica)
                if not replica.alive:
                    rolled_back = state.with_request(number, request._replace(asking=0))
                    yield f"what r{index} left of q{number} is rolled back", rolled_back
        if replica.ghost or (not replica.alive and (replica.draw or replica.giving)):
            bare = replica._replace(ghost=())
            if not replica.alive:
                bare = bare._replace(draw=(), giving=())
            yield f"what r{index} left is rolled back", state.with_replica(index, bare)

    def commit_extension(self, state: State, number: int, replica: Replica) -> State:
        """The higher cap is written down, where the reservation is open still."""
        request = state.requests[number]
        if not self.may_raise(request):
            outcome = NOTHING
        else:
            outcome = DONE
            request = self.raised(request._replace(journal=max(request.journal, Journal.OPEN)))
        return state.with_request(number, request._replace(asking=outcome if replica.alive else 0))

    def may_raise(self, request: Request) -> bool:
        """Return whether the journal takes a higher cap."""
        return request.journal in (Journal.NONE, Journal.OPEN)

    def raised(self, request: Request) -> Request:
        """A request whose higher cap is in the journal."""
        return request._replace(raised=self.bounds.more)

    def commit_draw(self, state: State, index: int, replica: Replica) -> State:
        """Step 1."""
        outcome: tuple[int, ...]
        if not self.may_draw(replica):
            outcome = (DEAD,)
        else:
            amount = self.drawn(state, replica.draw[1])
            if amount <= 0:
                outcome = (NOTHING,)
            else:
                replica = replica._replace(lease=replica.lease + amount, lease_version=replica.lease_version + 1)
                state = state._replace(leased=state.leased + amount)
                outcome = (DONE, replica.lease, replica.lease_version)
        return state.with_replica(index, replica._replace(draw=outcome if replica.alive else ()))

    def may_draw(self, replica: Replica) -> bool:
        """Return whether the registration is valid."""
        return replica.life == Life.LIVE

    def drawn(self, state: State, target: int) -> int:
        """The amount that the window gives."""
        return granted(
            need_nanos=min(self.bounds.cap, target),
            target_nanos=target,
            available_nanos=self.bounds.limit - state.settled - state.leased,
            share=1,
        )

    def commit_giving(self, state: State, index: int, replica: Replica) -> State:
        """A return: nothing where the lease is released or has less."""
        amount = replica.giving[1]
        if replica.lease_released or replica.lease < amount:
            return state.with_replica(index, replica._replace(giving=(NOTHING,) if replica.alive else ()))
        replica = replica._replace(lease=replica.lease - amount, lease_version=replica.lease_version + 1)
        outcome = (DONE, replica.lease, replica.lease_version) if replica.alive else ()
        return state._replace(leased=state.leased - amount).with_replica(index, replica._replace(giving=outcome))

    def commit_ghost(self, state: State, index: int, replica: Replica) -> State:
        """A transaction that the replica had given up commits, and nobody is told."""
        returns, amount = replica.ghost
        bare = replica._replace(ghost=(), alive=False)
        if returns:
            after = self.commit_giving(state, index, bare._replace(giving=(SENT, amount)))
        else:
            after = self.commit_draw(state, index, bare._replace(draw=(SENT, amount)))
        done = after.replicas[index]._replace(alive=replica.alive, draw=replica.draw, giving=replica.giving)
        return after.with_replica(index, done)

    def write_journal(self, state: State, index: int) -> State:
        """The replica's reservations are written down, except those that have a row already."""
        requests = [
            request._replace(unwritten=False, journal=self.journalled(request))
            if request.holder == index and request.unwritten and request.open
            else request
            for request in state.requests
        ]
        return state._replace(requests=tuple(requests))

    def journalled(self, request: Request) -> int:
        """A row's state after its journal was written."""
        return max(request.journal, Journal.OPEN)

    def settlements(self, state: State, index: int) -> Iterator[Step]:
        """Step 6: any report reaches this replica, for the first time or again, and its transaction commits."""
        for number, request in enumerate(state.requests):
            if request.stage not in (Stage.DONE, Stage.ACKNOWLEDGED):
                continue
            if request.stage == Stage.ACKNOWLEDGED and not (request.holder == index and request.open):
                # Again: it changes nothing that is not looked at here as well.
                continue
            changed, news = self.apply(state, index, [(number, Kind.REPORT)])
            if request.holder == index:
                news = (*news[:4], 1 << number)
                yield (
                    f"r{index} settles q{number}",
                    changed.with_replica(index, changed.replicas[index]._replace(news=news)),
                )
                continue
            # The book of one that does not hold it has nothing to learn; the engine may be told late, or by another.
            yield f"r{index} settles q{number}, the engine does not learn", changed
            told = changed.requests[number]._replace(stage=Stage.ACKNOWLEDGED)
            yield f"r{index} settles q{number}", changed.with_request(number, told)

    def sweep(self, state: State, index: int) -> State | None:
        """Steps 7 and 8; None where there is nothing to do."""
        marks = self.marks(state)
        claims: list[tuple[int, Kind]] = []
        for number, request in enumerate(state.requests):
            if request.journal not in (Journal.OPEN, Journal.ASSUMED) or request.age <= 1:
                continue
            kind = self.lapses(request, marks)
            if kind is not None:
                claims.append((number, kind))
        before = state
        news: tuple[int, ...] = ()
        if claims:
            state, news = self.apply(state, index, claims)
        for number, replica in enumerate(state.replicas):
            if replica.life == Life.DEAD and self.may_release(replica, marks):
                state = state._replace(leased=state.leased - replica.lease)
                state = state.with_replica(
                    number,
                    replica._replace(
                        life=Life.RELEASED,
                        lease=0,
                        lease_version=replica.lease_version + 1,
                        lease_released=True,
                        dead_age=0,
                    ),
                )
        if state == before:
            return None
        own = sum(
            1 << number for number, request in enumerate(state.requests) if request.holder == index and request.open
        )
        if news and own & (news[2] | news[3]):
            state = state.with_replica(index, state.replicas[index]._replace(news=(*news, 0)))
        return state

    def marks(self, state: State) -> list[EngineMark]:
        """The engine's watermark as PostgreSQL knows it."""
        mark_ms = 0 if state.mark_age == NEVER else _NOW_MS - state.mark_age
        return [EngineMark(_ENGINE, mark_ms, _NOW_MS)]

    def lapses(self, request: Request, marks: list[EngineMark]) -> Kind | None:
        """The sweep's outcome for a reservation that nobody has reported."""
        issued = _NOW_MS - request.age
        return what_becomes_of(
            request_state(request),
            issued_at_ms=issued,
            expires_at_ms=issued + 1,
            marks=marks,
            terms=_TERMS,
            now_ms=_NOW_MS,
        )

    def may_release(self, replica: Replica, marks: list[EngineMark]) -> bool:
        """Return whether no engine can hold or report a grant of a dead replica."""
        died = _NOW_MS - replica.dead_age
        return nobody_has(marks, first_ms=0, last_ms=died, terms=_TERMS, now_ms=_NOW_MS)

    def apply(self, state: State, index: int, claims: list[tuple[int, Kind]]) -> tuple[State, tuple[int, ...]]:
        """Settle claims in one transaction; return the news for the replica that did, without what to acknowledge."""
        rows = self.rows(state, claims)
        closed = already = 0
        for number, kind in claims:
            request = state.requests[number]
            cost = self.billable(request) if kind is Kind.REPORT else 0
            claim = Claim(
                kind=kind,
                grant=_grant(number, request.holder),
                engine_id=_ENGINE,
                cost_nanos=cost,
                over_nanos=request.cost - cost if kind is Kind.REPORT else 0,
                outcome=Outcome.COMPLETED,
            )
            if settle(claim, rows) is Verdict.SETTLED:
                closed |= 1 << number
            else:
                already |= 1 << number
        return self.written(state, index, rows, closed, already)

    def billable(self, request: Request) -> int:
        """The cost that a report counts for: within the cap."""
        return min(request.cost, self.bounds.cap + request.allowed)

    def rows(self, state: State, claims: list[tuple[int, Kind]]) -> Rows:
        """The rows that a transaction locks."""
        return Rows(
            reservations={
                str(number): ReservationRow(
                    request_state(state.requests[number]),
                    self.bounds.cap + state.requests[number].raised,
                    state.requests[number].billed,
                )
                for number, _ in claims
            },
            windows={_WINDOW: WindowRow(self.bounds.limit, state.settled, state.leased)},
            leases={
                str(holder): LeaseRow(state.replicas[holder].lease, state.replicas[holder].lease_version)
                for holder in {state.requests[number].holder for number, _ in claims}
            },
            reported={(str(number), _ENGINE) for number, _ in claims if state.requests[number].reports},
        )

    def written(self, state: State, index: int, rows: Rows, closed: int, already: int) -> tuple[State, tuple[int, ...]]:
        """The rows back into the state."""
        requests = list(state.requests)
        for name, row in rows.reservations.items():
            requests[int(name)] = requests[int(name)]._replace(
                journal=Journal[row.state.upper()], billed=row.billed_nanos
            )
        for insert in rows.inserts:
            number = int(insert.claim.grant.grant_id)
            request = requests[number]
            reports = request.reports + (insert.kind == "report")
            if insert.kind == "report" and insert.cost_nanos < min(request.cost, self.bounds.cap + request.allowed):
                raise Violation(f"q{number} was served within its cap and is not billed in full")
            requests[number] = request._replace(reports=reports, usage=request.usage + insert.cost_nanos)
        replicas = list(state.replicas)
        touched = (0, 0)
        for name, lease in rows.leases.items():
            number = int(name)
            replicas[number] = replicas[number]._replace(lease=lease.remaining, lease_version=lease.version)
            if number == index:
                touched = lease.remaining, lease.version
        window = rows.windows[_WINDOW]
        state = state._replace(
            settled=window.settled, leased=window.leased, requests=tuple(requests), replicas=tuple(replicas)
        )
        return state, (*touched, closed, already)

    # The engine.

    def engine_steps(self, state: State) -> Iterator[Step]:
        """The engine takes grants, serves them, dies and comes back, and says how far it is."""
        running = False
        for number, request in enumerate(state.requests):
            if self.accepts(request):
                yield f"the engine takes q{number}", state.with_request(number, self.accepted(request))
            elif request.stage == Stage.RUNNING:
                running = True
                whole = (self.bounds.cap + request.allowed,) if request.allowed else ()
                for cost in (*self.bounds.costs, *whole):
                    yield (
                        f"q{number} ends at {cost}",
                        state.with_request(number, self.engine_end(request, cost)),
                    )
        if running and state.faults < self.bounds.faults:
            whole = (self.bounds.cap + self.bounds.more,) if any(request.allowed for request in state.requests) else ()
            for cost in (*self.bounds.costs, *whole):
                yield f"the engine dies, having counted {cost} each", self.engine_crash(state, cost)
        mark_age = self.watermark_age(state)
        if self.bounds.late_marks:
            if mark_age < state.late_mark and mark_age < state.mark_age:
                yield "the engine sends its watermark", state._replace(late_mark=mark_age)
            if state.late_mark != NEVER:
                arrived = state._replace(mark_age=min(state.mark_age, state.late_mark), late_mark=NEVER)
                yield "a watermark arrives", arrived
        elif mark_age < state.mark_age:
            yield "the engine's watermark arrives", state._replace(mark_age=mark_age)

    def accepts(self, request: Request) -> bool:
        """Return whether the engine starts on a grant: it is there, and young, and was not used."""
        return request.stage == Stage.WIRE and request.age <= 1

    def accepted(self, request: Request) -> Request:
        """A grant that is being spent."""
        return request._replace(stage=Stage.RUNNING)

    def engine_end(self, request: Request, cost: int) -> Request:
        """A request that has ended, whatever the end was."""
        return request._replace(stage=Stage.DONE, cost=request.cost + cost)

    def engine_crash(self, state: State, cost: int) -> State:
        """Running requests end with the cost that was counted, from the spool."""
        requests = [
            request._replace(stage=Stage.DONE, cost=self.counted(request, cost))
            if request.stage == Stage.RUNNING
            else request
            for request in state.requests
        ]
        return state._replace(requests=tuple(requests), faults=state.faults + 1)

    def counted(self, request: Request, cost: int) -> int:
        """The cost that was counted of a request before a crash: no more than was allowed, where that was raised."""
        return min(cost, self.bounds.cap + request.allowed) if self.bounds.extensions else cost

    def watermark_age(self, state: State) -> int:
        """The earlier of one tick ago and the oldest grant that is running or not acknowledged."""
        return max([1, *(request.age for request in state.requests if request.stage in (Stage.RUNNING, Stage.DONE))])


def request_state(request: Request) -> str:
    """The journal's word. A report writes a row where there is none."""
    return "open" if request.journal == Journal.NONE else Journal(request.journal).name.lower()


@functools.cache
def _grant(number: int, holder: int) -> grant_pb2.Grant:
    return grant_pb2.Grant(
        grant_id=str(number),
        candidates=[grant_pb2.GrantCandidate(model="m")],
        funding=[grant_pb2.GrantFunding(budget_id=_WINDOW[0], window_start_ms=_WINDOW[1], lease_id=str(holder))],
    )
