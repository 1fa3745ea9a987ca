"""An extended grant survives the engine's own crash."""

from __future__ import annotations

from pathlib import Path

from enginehouse.api.common.v1.usage_pb2 import UNIT_OUTPUT_TOKENS
from enginehouse.api.router.v1 import usage_pb2
from enginehouse.kit.grants import peek, sign
from enginehouse.kit.testing import GrantIssuer
from enginehouse.kit.usage import Spool


def test_what_a_crashed_engine_spent_is_reported_with_the_extended_grant(tmp_path: Path) -> None:
    issuer = GrantIssuer()
    grant = issuer.grant("/s/M", models=["m"], prices={UNIT_OUTPUT_TOKENS: 1_000_000}, cap_nanos=10)
    spool = Spool(directory=tmp_path / "spool", engine_id="e")
    accepted = spool.accept(grant, token=sign(grant, keys=issuer.keys), model="m")
    grant.candidates[0].cap_nanos = 50
    spool.extend(accepted, token=sign(grant, keys=issuer.keys))
    accepted.counters[UNIT_OUTPUT_TOKENS] = 40
    spool.close()
    again = Spool(directory=tmp_path / "spool", engine_id="e")
    (pending,) = again.pending.values()
    record = usage_pb2.UsageRecord.FromString(pending)
    assert (record.outcome, record.usage.cost_nanos) == (usage_pb2.OUTCOME_CRASHED, 40)
    assert peek(record.grant).candidates[0].cap_nanos == 50
    again.close()
