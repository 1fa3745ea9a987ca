"""The spool: a file of JSON lines, written before what they tell is done, read again at the next start."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

from enginehouse.api.common.v1.usage_pb2 import Usage
from enginehouse.api.router.v1 import usage_pb2
from enginehouse.api.router.v1.grant_pb2 import Grant, GrantCandidate
from engines.kit.tests.conformance.minimal.errors import CallError
from engines.kit.tests.conformance.minimal.grants import WINDOW_MS


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def cost_nanos(candidate: GrantCandidate | None, amounts: dict[int, int]) -> int:
    """Rounded up once, over all units together."""
    return -(-price_numerator(candidate, amounts) // 1_000_000)


def price_numerator(candidate: GrantCandidate | None, amounts: dict[int, int]) -> int:
    prices = {price.unit: price.nanos_per_million for price in candidate.prices} if candidate is not None else {}
    return sum(prices.get(unit, 0) * amount for unit, amount in amounts.items())


class Accepted:
    """A grant that is being spent."""

    def __init__(self, reference: int, grant: Grant, token: str, model: str, started_ms: int) -> None:
        self.reference = reference
        self.grant = grant
        self.token = token
        self.model = model
        self.started_ms = started_ms
        self.amounts: dict[int, int] = {}
        self.first_output_ms = 0

    @property
    def candidate(self) -> GrantCandidate | None:
        return next((entry for entry in self.grant.candidates if entry.model == self.model), None)

    @property
    def cost_nanos(self) -> int:
        return cost_nanos(self.candidate, self.amounts)


class Spool:
    def __init__(self, directory: Path, *, engine_id: str) -> None:
        self.engine_id = engine_id
        self.used: set[str] = set()
        self.open: dict[int, Accepted] = {}
        self.pending: dict[int, usage_pb2.UsageRecord] = {}
        self.issued: dict[int, int] = {}
        self.next_reference = 1
        path = directory / "spool.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        self.file = path.open("a")
        for line in lines:
            self.replay(json.loads(line))
        for accepted in list(self.open.values()):
            self.finish(accepted, usage_pb2.OUTCOME_CRASHED)

    def write(self, **event: Any) -> None:
        # To the kernel: what a killed process wrote stays.
        self.file.write(json.dumps(event) + "\n")
        self.file.flush()

    def replay(self, event: dict[str, Any]) -> None:
        reference = event["reference"]
        self.next_reference = max(self.next_reference, reference + 1)
        if event["kind"] == "accept":
            grant = Grant.FromString(base64.b64decode(event["grant"]))
            self.note(Accepted(reference, grant, event["token"], event["model"], event["started_ms"]))
        elif event["kind"] == "count":
            amounts = self.open[reference].amounts
            amounts[event["unit"]] = amounts.get(event["unit"], 0) + event["amount"]
        elif event["kind"] == "final":
            del self.open[reference]
            self.pending[reference] = usage_pb2.UsageRecord.FromString(base64.b64decode(event["record"]))
        else:
            self.forget(reference)

    def note(self, accepted: Accepted) -> None:
        self.used.add(accepted.grant.grant_id)
        self.open[accepted.reference] = accepted
        self.issued[accepted.reference] = accepted.grant.issued_at_ms

    def accept(self, grant: Grant, *, token: str, model: str) -> Accepted:
        self.check_unused(grant)
        accepted = Accepted(self.next_reference, grant, token, model, now_ms())
        self.next_reference += 1
        self.write(
            kind="accept",
            reference=accepted.reference,
            grant=base64.b64encode(grant.SerializeToString()).decode(),
            token=token,
            model=model,
            started_ms=accepted.started_ms,
        )
        self.note(accepted)
        return accepted

    def check_unused(self, grant: Grant) -> None:
        if grant.grant_id in self.used:
            raise CallError("GRANT_REPLAYED", "the grant was used before")

    def count(self, accepted: Accepted, unit: int, amount: int) -> None:
        self.write(kind="count", reference=accepted.reference, unit=unit, amount=amount)
        accepted.amounts[unit] = accepted.amounts.get(unit, 0) + amount

    def finish(self, accepted: Accepted, outcome: usage_pb2.Outcome.ValueType) -> None:
        del self.open[accepted.reference]
        record = self.record(accepted, outcome)
        serialized = base64.b64encode(record.SerializeToString()).decode()
        self.write(kind="final", reference=accepted.reference, record=serialized)
        self.pending[accepted.reference] = record

    def record(self, accepted: Accepted, outcome: usage_pb2.Outcome.ValueType) -> usage_pb2.UsageRecord:
        usage = Usage(cost_nanos=accepted.cost_nanos)
        for unit, amount in sorted(accepted.amounts.items()):
            usage.units.add(unit=unit, amount=amount)  # type: ignore[arg-type]
        return usage_pb2.UsageRecord(
            grant=accepted.token,
            engine_id=self.engine_id,
            model=accepted.model,
            usage=usage,
            outcome=outcome,
            started_at_ms=accepted.started_ms,
            ended_at_ms=max(now_ms(), accepted.started_ms),
            time_to_first_token_ms=accepted.first_output_ms,
        )

    def settle(self, reference: int) -> None:
        self.write(kind="settled", reference=reference)
        self.forget(reference)

    def forget(self, reference: int) -> None:
        self.pending.pop(reference, None)
        self.issued.pop(reference, None)

    def watermark_ms(self) -> int:
        return min(now_ms() - WINDOW_MS, *self.issued.values(), 2**62)
