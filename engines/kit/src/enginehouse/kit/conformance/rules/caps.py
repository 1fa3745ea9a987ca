"""Caps: what a call costs is exact, and never more than the grant allows."""

from __future__ import annotations

import dataclasses

from enginehouse.api.router.v1 import usage_pb2
from enginehouse.kit.conformance._calls import CallEnd
from enginehouse.kit.conformance._examples import RequestExample
from enginehouse.kit.conformance._rule import Failed, Inapplicable, Need, RuleFamily, expect
from enginehouse.kit.conformance._session import Session, amounts_of, expect_cost, expect_refusal, named
from enginehouse.kit.errors import Reason
from enginehouse.kit.pricing import Unit, cost_nanos, price_numerator, unit_name

FAMILY = RuleFamily("cap")
rule = FAMILY.rule

COST_TRAILER = "x-enginehouse-cost-nanos"
# One and a half nano-dollars and a bit for one of a unit, so that rounding shows.
_PRICE = 1_500_001


@dataclasses.dataclass(frozen=True, slots=True)
class _Capped:
    """A call under a cap that pays for `affordable` of one unit, of which the whole answer has `whole`."""

    unit: Unit
    whole: int
    affordable: int
    cap_nanos: int
    end: CallEnd
    record: usage_pb2.UsageRecord

    @property
    def spent(self) -> int:
        return amounts_of(self.record).get(self.unit, 0)


async def _capped(session: Session, example: RequestExample, *, unit: Unit, whole: int, paid: int) -> _Capped:
    """Call the example with a cap that pays for `paid` of one unit, all others free."""
    cap = cost_nanos({unit: _PRICE}, {unit: paid})
    token = session.example_token(example, prices={unit: _PRICE}, cap_nanos=cap)
    ended = await session.call(example.method, example.messages, token=token)
    record = await session.record(token)
    return _Capped(unit, whole, cap * 1_000_000 // _PRICE, cap, ended, record)


@rule(
    "cost",
    "The cost is exact",
    "The reported cost is the sum of amount times price over all units, rounded up once to a whole nano-dollar.",
    Need.KEYS,
    Need.PAID_EXAMPLE,
    Need.ROUTER,
)
async def _cost(session: Session) -> None:
    for example in session.paid:
        _, record = await session.sample(example)
        expect(amounts_of(record), f"{example.method.name} is answered and reported without any unit")
        expect_cost(record, session.prices)


@rule(
    "free_units",
    "Units without a price are free",
    "Units that the grant does not price are counted, and cost nothing.",
    Need.KEYS,
    Need.PAID_EXAMPLE,
    Need.ROUTER,
)
async def _free_units(session: Session) -> None:
    for example in session.paid:
        _, record = await session.answer_recorded(example, prices={}, cap_nanos=0)
        expect(amounts_of(record), f"{example.method.name} under a grant without prices is reported without any unit")
        cost = record.usage.cost_nanos
        expect(not cost, f"{example.method.name} under a grant without prices costs {cost} nano-dollars")


@rule(
    "trailer",
    "The caller is told the cost",
    f"The trailing metadata {COST_TRAILER} is the reported cost.",
    Need.KEYS,
    Need.PAID_EXAMPLE,
    Need.ROUTER,
)
async def _trailer(session: Session) -> None:
    for example in session.paid:
        ended, record = await session.sample(example)
        told, cost = ended.trailing.get(COST_TRAILER), record.usage.cost_nanos
        expect(told == str(cost), f"{COST_TRAILER} of {example.method.name} is {told!r}; the reported cost is {cost}")


@rule(
    "whole",
    "An exact cap pays",
    "A cap that is exactly the cost of the answer lets the answer be whole.",
    Need.KEYS,
    Need.PAID_EXAMPLE,
    Need.ROUTER,
)
async def _whole(session: Session) -> None:
    for example in session.paid:
        _, first = await session.sample(example)
        for _ in range(3):
            cap = first.usage.cost_nanos
            token = session.example_token(example, cap_nanos=cap)
            ended = await session.call(example.method, example.messages, token=token)
            record = await session.record(token)
            if ended.ok and record.outcome == usage_pb2.OUTCOME_COMPLETED:
                break
            # Another answer may be longer; one that stopped must have spent all but the price of one unit.
            left = cap * 1_000_000 - price_numerator(session.prices, amounts_of(record))
            if ended.ok and left < max(session.prices.values()):
                continue
            raise Failed(
                f"{example.method.name} cost {cap} nano-dollars; under a cap of {cap} it ends with {ended} and "
                f"{usage_pb2.Outcome.Name(record.outcome)} after {named(amounts_of(record))}"
            )


@rule(
    "bound",
    "The cap is never passed",
    "Whatever the cap is, a call spends no more; one that cannot be paid for at all is refused with BUDGET_EXHAUSTED.",
    Need.KEYS,
    Need.PAID_EXAMPLE,
    Need.ROUTER,
)
async def _bound(session: Session) -> None:
    for example in session.paid:
        _, whole = await session.sample(example)
        for unit, amount in amounts_of(whole).items():
            # Every kind of cap for the first example, and one between for each other.
            caps = {0, 1, amount // 2, amount - 1} if example is session.paid[0] else {amount // 2}
            for paid in sorted(caps):
                capped = await _capped(session, example, unit=unit, whole=amount, paid=paid)
                _expect_bounded(example, capped)


def _expect_bounded(example: RequestExample, capped: _Capped) -> None:
    unit = unit_name(capped.unit)
    case = f"{example.method.name} under a cap that pays for {capped.affordable} {unit}"
    expect(capped.spent <= capped.affordable, f"{case} spends {capped.spent}")
    expect_cost(capped.record, {capped.unit: _PRICE})
    cost = capped.record.usage.cost_nanos
    expect(cost <= capped.cap_nanos, f"{case} costs {cost} nano-dollars, over the cap of {capped.cap_nanos}")
    outcome = usage_pb2.Outcome.Name(capped.record.outcome)
    if capped.end.ok:
        expected = (usage_pb2.OUTCOME_CAPPED, usage_pb2.OUTCOME_COMPLETED)
        expect(capped.record.outcome in expected, f"{case} is answered, and reported as {outcome}")
        return
    expect_refusal(capped.end, Reason.BUDGET_EXHAUSTED, case)
    # Refused before anything was spent, it may be carried to another engine.
    expected = (usage_pb2.OUTCOME_CAPPED, usage_pb2.OUTCOME_REFUSED)
    expect(capped.record.outcome in expected, f"{case} is refused, and reported as {outcome}")


@rule(
    "exact",
    "To the unit",
    "A streamed answer goes on to the last unit that the cap pays for, ends there with OK, and is reported with "
    "OUTCOME_CAPPED.",
    Need.KEYS,
    Need.STREAM,
    Need.ROUTER,
)
async def _exact(session: Session) -> None:
    example = session.stream
    _, whole = await session.sample(example)
    short: list[str] = []
    for unit, amount in amounts_of(whole).items():
        if amount < 2:
            continue
        capped = await _capped(session, example, unit=unit, whole=amount, paid=amount // 2)
        if not capped.end.ok:
            continue
        if capped.spent == capped.affordable:
            outcome = usage_pb2.Outcome.Name(capped.record.outcome)
            expect(
                capped.record.outcome == usage_pb2.OUTCOME_CAPPED,
                f"an answer that the cap ended is reported as {outcome}; expected OUTCOME_CAPPED",
            )
            return
        if capped.record.outcome == usage_pb2.OUTCOME_CAPPED:
            short.append(f"{capped.spent} of {capped.affordable} {unit_name(unit)}")
    if short:
        raise Failed(f"{example.method.name} stops before the cap is spent: after {'; '.join(short)} that it pays for")
    raise Inapplicable("no cap ended a streamed answer; give a request that uses more of a unit as it streams")
