"""The arithmetic of a settlement, on rows that the caller has locked. Pure: no I/O, no clock.

Every branch keeps `settled + leased <= limit` and `remaining >= 0`: money for a bill comes from the lease that reserved
it, or from what is free in the window, or it is ours.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence

from enginehouse.api.router.v1 import grant_pb2
from enginehouse.kit.pricing import Unit


class Kind(enum.StrEnum):
    """The kind of a claim."""

    REPORT = "report"
    # Nobody reported it, and nobody can have run it.
    LAPSE = "lapse"
    # Nobody reported it, but somebody may have run it.
    ASSUME = "assumed"


class Verdict(enum.Enum):
    """The result of settling a claim."""

    SETTLED = "settled"
    ALREADY = "already"
    # An engine refused it, and is on record; another may still run it, so that the reservation stays open.
    REFUSED = "refused"


class Outcome(enum.StrEnum):
    """The way a request ended, as the usage records it."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"
    CAPPED = "capped"
    CRASHED = "crashed"
    REFUSED = "refused"
    ASSUMED = "assumed"


@dataclasses.dataclass(slots=True, kw_only=True)
class Claim:
    """Something to be settled against a grant; never changed. (Freezing it takes longer than all else of making one.)

    `cost_nanos` is computed from the grant's prices and clamped to the cap of the model's candidate; `over_nanos` is
    what was cut off.
    """

    kind: Kind
    grant: grant_pb2.Grant
    engine_id: str = ""
    model: str = ""
    service: str = ""
    amounts: Mapping[Unit, int] = dataclasses.field(default_factory=dict)
    cost_nanos: int = 0
    over_nanos: int = 0
    outcome: Outcome = Outcome.ASSUMED
    started_at_ms: int = 0
    ended_at_ms: int = 0
    time_to_first_token_ms: int = 0

    @property
    def tokens(self) -> int:
        """The tokens that the answer took; units that only have names are none of text."""
        return sum([amount for unit, amount in self.amounts.items() if not isinstance(unit, str)])


@dataclasses.dataclass(slots=True)
class ReservationRow:
    """A row of the journal, locked."""

    state: str
    cap_nanos: int
    billed_nanos: int
    changed: bool = False


@dataclasses.dataclass(slots=True)
class WindowRow:
    """A budget's window, locked: `before` is what was settled then, `alerts` the percentages that raise an alert."""

    limit: int
    settled: int
    leased: int
    changed: bool = False
    before: int = 0
    alerts: Sequence[int] = ()

    @property
    def available(self) -> int:
        """The part that is neither settled nor leased."""
        return max(0, self.limit - self.settled - self.leased)


@dataclasses.dataclass(slots=True)
class LeaseRow:
    """A lease, locked."""

    remaining: int
    version: int
    changed: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class UsageRow:
    """A row to be inserted."""

    claim: Claim
    kind: str
    cost_nanos: int
    unbilled_nanos: int


@dataclasses.dataclass(slots=True)
class Rows:
    """The rows that a settlement reads and changes."""

    reservations: dict[str, ReservationRow]
    windows: dict[tuple[str, int], WindowRow]
    leases: dict[str, LeaseRow]
    # Pairs of grant and engine that have reported.
    reported: set[tuple[str, str]]
    inserts: list[UsageRow] = dataclasses.field(default_factory=list)


def settle(claim: Claim, rows: Rows) -> Verdict:
    """Apply one claim to the rows."""
    grant_id = claim.grant.grant_id
    reservation = rows.reservations[grant_id]
    if claim.kind is not Kind.REPORT:
        return _lapse(claim, reservation, rows)
    if (grant_id, claim.engine_id) in rows.reported:
        return Verdict.ALREADY
    rows.reported.add((grant_id, claim.engine_id))
    if _others_may_run(claim, reservation, rows):
        rows.inserts.append(UsageRow(claim, "report", 0, 0))
        return Verdict.REFUSED
    if reservation.state == "assumed":
        _take_back(claim, reservation, rows)
    wanted = min(claim.cost_nanos, reservation.cap_nanos - reservation.billed_nanos)
    billed = _pay(claim.grant, wanted, rows, from_lease=reservation.state == "open")
    reservation.billed_nanos += billed
    reservation.state = "settled"
    reservation.changed = True
    rows.inserts.append(UsageRow(claim, "report", billed, claim.cost_nanos + claim.over_nanos - billed))
    return Verdict.SETTLED


def _others_may_run(claim: Claim, reservation: ReservationRow, rows: Rows) -> bool:
    """Return whether a refusal leaves engines that the gateway may carry the grant to.

    The money then stays held until one of them reports, all have refused, or every engine's watermark has passed the
    grant (step 7).
    """
    if claim.outcome is not Outcome.REFUSED or claim.cost_nanos or reservation.state not in ("open", "assumed"):
        return False
    spoken = sum([grant_id == claim.grant.grant_id for grant_id, _ in rows.reported])
    return spoken < claim.grant.offered_engines


def _lapse(claim: Claim, reservation: ReservationRow, rows: Rows) -> Verdict:
    if reservation.state == "assumed" and claim.kind is Kind.LAPSE:
        # The engine that was unaccounted for has spoken since, and not of this.
        _take_back(claim, reservation, rows)
        reservation.state = "lapsed"
        reservation.changed = True
        return Verdict.SETTLED
    if reservation.state != "open":
        return Verdict.ALREADY
    reservation.changed = True
    if claim.kind is Kind.LAPSE:
        reservation.state = "lapsed"
        return Verdict.SETTLED
    reservation.state = "assumed"
    billed = _pay(claim.grant, reservation.cap_nanos, rows, from_lease=True)
    reservation.billed_nanos = billed
    rows.inserts.append(UsageRow(claim, "assumed", billed, 0))
    return Verdict.SETTLED


def _take_back(claim: Claim, reservation: ReservationRow, rows: Rows) -> None:
    for funding in claim.grant.funding:
        window = rows.windows.get((funding.budget_id, funding.window_start_ms))
        if window is not None:
            window.settled -= reservation.billed_nanos
            window.changed = True
    assumed_model = claim.grant.candidates[0].model if claim.grant.candidates else ""
    assumption = dataclasses.replace(claim, engine_id="", model=assumed_model, amounts={}, outcome=Outcome.ASSUMED)
    rows.inserts.append(UsageRow(assumption, "correction", -reservation.billed_nanos, 0))
    reservation.billed_nanos = 0


def _pay(grant: grant_pb2.Grant, wanted: int, rows: Rows, *, from_lease: bool) -> int:
    """Bill every budget in scope alike; return how much, which is less than wanted only where a budget can't pay."""
    sources = []
    bill = wanted
    for funding in grant.funding:
        window = rows.windows.get((funding.budget_id, funding.window_start_ms))
        if window is None:
            # A grant of a database that is not this one: there is no budget to bill.
            return 0
        # A closed reservation has given its hold back, and what the lease has now is held for others.
        lease = rows.leases.get(funding.lease_id) if from_lease else None
        sources.append((window, lease))
        bill = min(bill, window.available + (lease.remaining if lease is not None else 0))
    for window, lease in sources:
        if lease is not None:
            taken = min(bill, lease.remaining)
            lease.remaining -= taken
            lease.version += 1
            lease.changed = True
            window.leased -= taken
        window.settled += bill
        window.changed = True
    return bill
