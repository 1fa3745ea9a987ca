"""The parser of engines' usage reports: a record becomes a claim on its grant's reservation."""

from __future__ import annotations

import logging

from enginehouse.api.router.v1 import grant_pb2, usage_pb2
from enginehouse.kit.catalog import Catalog
from enginehouse.kit.errors import ServiceError
from enginehouse.kit.grants import GrantKeys, authenticate
from enginehouse.kit.pricing import (
    MAX_NAMED_UNITS,
    MAX_NANOS,
    PER_MILLION,
    UNIT_NAME,
    Unit,
    prices_of,
    unit_name,
    unit_of,
)
from enginehouse.kit.validation import is_printable
from enginehouse.router.ledger._billing import Claim, Kind, Outcome

_log = logging.getLogger(__name__)

_OUTCOMES = {
    usage_pb2.OUTCOME_COMPLETED: Outcome.COMPLETED,
    usage_pb2.OUTCOME_CANCELLED: Outcome.CANCELLED,
    usage_pb2.OUTCOME_FAILED: Outcome.FAILED,
    usage_pb2.OUTCOME_CAPPED: Outcome.CAPPED,
    usage_pb2.OUTCOME_CRASHED: Outcome.CRASHED,
    usage_pb2.OUTCOME_REFUSED: Outcome.REFUSED,
}
MAX_TIME_MS = 2**53
"""The latest time that a report may name, in milliseconds since 1970."""


class Unsettleable(Exception):
    """A record that can never be settled; the text says why."""


class UsageReportParser:
    """Parses records into claims: the grant must be ours; the cost comes from its prices, not from the engine."""

    def __init__(self, *, grant_keys: GrantKeys, catalog: Catalog) -> None:
        self._grant_keys = grant_keys
        self._clusters = {model.name: model.cluster for model in catalog.models}

    def read(self, record: usage_pb2.UsageRecord) -> Claim:
        """The claim of a record. Raises Unsettleable."""
        try:
            grant = authenticate(record.grant, keys=self._grant_keys)
        except ServiceError as error:
            raise Unsettleable(error.message) from None
        if not grant.grant_id:
            raise Unsettleable("the grant has no id")
        if not 1 <= len(record.engine_id) <= 64 or not is_printable(record.engine_id):
            raise Unsettleable("engine_id must be 1-64 printable characters")
        outcome = _OUTCOMES.get(record.outcome)
        if outcome is None:
            raise Unsettleable(f"outcome {record.outcome} is not known")
        if min(record.started_at_ms, record.ended_at_ms, record.time_to_first_token_ms) < 0 or (
            max(record.started_at_ms, record.ended_at_ms) > MAX_TIME_MS
        ):
            raise Unsettleable("times must be milliseconds since 1970, none negative")
        amounts = _amounts(record)
        candidate = _candidate(grant, record.model)
        cost = _cost(candidate, amounts)
        cap = candidate.cap_nanos if candidate is not None else 0
        if cost != record.usage.cost_nanos:
            _log.warning(
                "an engine's cost differs from that of its amounts; ours is billed",
                extra={"grant_id": grant.grant_id, "reported_nanos": record.usage.cost_nanos, "computed_nanos": cost},
            )
        return Claim(
            kind=Kind.REPORT,
            grant=grant,
            engine_id=record.engine_id,
            model=record.model,
            service=self.service_of(grant, record.model),
            amounts=amounts,
            cost_nanos=min(cost, cap),
            over_nanos=min(MAX_NANOS, max(0, cost - cap)),
            outcome=outcome,
            started_at_ms=record.started_at_ms,
            ended_at_ms=record.ended_at_ms,
            time_to_first_token_ms=record.time_to_first_token_ms,
        )

    def service_of(self, grant: grant_pb2.Grant, model: str = "") -> str:
        """The cluster of engines that a grant is for: its model's, or what its method's package is called."""
        name = model or (grant.candidates[0].model if grant.candidates else "")
        cluster = self._clusters.get(name)
        if cluster is not None:
            return cluster
        package = grant.method.lstrip("/").partition("/")[0].split(".")
        return package[2] if len(package) > 3 else ""


def _amounts(record: usage_pb2.UsageRecord) -> dict[Unit, int]:
    amounts: dict[Unit, int] = {}
    for entry in record.usage.units:
        unit = unit_of(entry)
        if entry.amount < 0:
            raise Unsettleable(f"the amount of unit {unit_name(unit)} is negative: {entry.amount}")
        if unit in amounts:
            raise Unsettleable(f"unit {unit_name(unit)} is named twice")
        if isinstance(unit, str) and not UNIT_NAME(unit):
            raise Unsettleable(f"unit {unit[:64]!r} must be 1-63 of [a-z0-9_] and begin with a letter")
        amounts[unit] = entry.amount
    if sum(isinstance(unit, str) for unit in amounts) > 2 * MAX_NAMED_UNITS:
        raise Unsettleable(f"more than {2 * MAX_NAMED_UNITS} units without a number")
    return amounts


def _candidate(grant: grant_pb2.Grant, model: str) -> grant_pb2.GrantCandidate | None:
    for candidate in grant.candidates:
        if candidate.model == model:
            return candidate
    if model:
        raise Unsettleable(f"the grant does not name the model {model[:128]!r}")
    return None


def _cost(candidate: grant_pb2.GrantCandidate | None, amounts: dict[Unit, int]) -> int:
    if candidate is None:
        return 0
    total = sum(amounts.get(unit, 0) * price for unit, price in prices_of(candidate.prices).items())
    return -(-total // PER_MILLION)
