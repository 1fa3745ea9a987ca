"""The spool: what was counted is reported, once the process is back, whatever killed it and whenever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.api.common.v1.usage_pb2 import UNIT_INPUT_TOKENS, UNIT_OUTPUT_TOKENS
from enginehouse.api.router.v1 import usage_pb2
from enginehouse.api.router.v1.grant_pb2 import Grant
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.grants import peek, sign
from enginehouse.kit.pricing import Unit, unit_of
from enginehouse.kit.testing import GrantIssuer
from enginehouse.kit.usage import Accepted, Spool, SpoolError
from enginehouse.kit.usage._segments import framed
from enginehouse.kit.usage.meter import Meter

METHOD = "/package.Service/Method"
PRICES = {UNIT_INPUT_TOKENS: 1_000_000, UNIT_OUTPUT_TOKENS: 2_000_000}
Open = Callable[..., Spool]


def accept(spool: Spool, issuer: GrantIssuer, **grant: object) -> tuple[Accepted, Meter, Grant]:
    permission = issuer.grant(METHOD, models=["m"], prices=PRICES, **grant)  # type: ignore[arg-type]
    accepted = spool.accept(permission, token=sign(permission, keys=issuer.keys), model="m")
    return accepted, Meter(prices=PRICES, cap_nanos=10**9, counters=accepted.counters), permission


def finish(spool: Spool, accepted: Accepted, meter: Meter, outcome: int = usage_pb2.OUTCOME_COMPLETED) -> None:
    meter.close()
    spool.finish(accepted, meter=meter, outcome=outcome, first_output_ms=3)  # type: ignore[arg-type]


def accept_many(spool: Spool, issuer: GrantIssuer) -> None:
    for _ in range(1000):
        accept(spool, issuer)


def records(spool: Spool) -> list[usage_pb2.UsageRecord]:
    return [usage_pb2.UsageRecord.FromString(record) for record in spool.pending.values()]


@pytest.fixture
def spool(open_spool: Open) -> Iterator[Spool]:
    opened = open_spool()
    yield opened
    opened.close()


def test_a_change_of_model_outlives_a_crash(open_spool: Open, issuer: GrantIssuer) -> None:
    spool = open_spool()
    permission = issuer.grant(METHOD, models=["m"], prices=PRICES)
    permission.candidates.add(model="n").prices.add(unit=UNIT_OUTPUT_TOKENS, nanos_per_million=5_000_000)
    accepted = spool.accept(permission, token=sign(permission, keys=issuer.keys), model="m")
    spool.switch(accepted, model="n")
    meter = Meter(prices={UNIT_OUTPUT_TOKENS: 5_000_000}, cap_nanos=10**9, counters=accepted.counters)
    meter.take(UNIT_OUTPUT_TOKENS, 3)
    spool.close()
    again = open_spool()
    (record,) = records(again)
    assert (record.model, record.usage.cost_nanos, record.outcome) == ("n", 15, usage_pb2.OUTCOME_CRASHED)
    again.settled([next(iter(again.pending))])
    again.close()
    assert not open_spool().pending


@pytest.mark.parametrize("finished", [True, False])
def test_units_that_only_have_names_outlive_a_crash(open_spool: Open, issuer: GrantIssuer, finished: bool) -> None:
    prices: dict[Unit, int] = {UNIT_OUTPUT_TOKENS: 2_000_000, "steps": 0, "frames": 3_000_000}
    spool = open_spool()
    permission = issuer.grant(METHOD, models=["m"], prices=prices)
    accepted = spool.accept(permission, token=sign(permission, keys=issuer.keys), model="m")
    meter = Meter(prices=prices, cap_nanos=10**9, counters=accepted.counters)
    meter.take("frames", 5)
    meter.take("steps", 40)
    meter.take(UNIT_OUTPUT_TOKENS, 1)
    expected: dict[Unit, int] = {UNIT_OUTPUT_TOKENS: 1, "frames": 5, "steps": 40}
    if finished:
        finish(spool, accepted, meter)
        (record,) = records(spool)
        assert {unit_of(entry): entry.amount for entry in record.usage.units} == expected
    spool.close()
    (record,) = records(open_spool())
    assert {unit_of(entry): entry.amount for entry in record.usage.units} == expected
    assert record.usage.cost_nanos == 17


def test_a_record_is_kept_until_it_is_settled(open_spool: Open, issuer: GrantIssuer) -> None:
    spool = open_spool()
    accepted, meter, grant = accept(spool, issuer)
    meter.add(UNIT_INPUT_TOKENS, 5)
    meter.add(UNIT_OUTPUT_TOKENS, 7)
    finish(spool, accepted, meter)
    (record,) = before = records(spool)
    assert record.engine_id == "engine-test"
    assert record.model == "m"
    assert record.usage.cost_nanos == 19
    assert {unit.unit: unit.amount for unit in record.usage.units} == {UNIT_INPUT_TOKENS: 5, UNIT_OUTPUT_TOKENS: 7}
    assert record.time_to_first_token_ms == 3
    assert spool.watermark_ms() <= grant.issued_at_ms
    spool.close()

    spool = open_spool()
    assert records(spool) == before
    assert spool.recovered == 0
    (reference,) = spool.pending
    spool.settled([reference])
    spool.settled([reference])
    assert not spool.pending
    spool.close()

    spool = open_spool()
    assert not spool.pending
    spool.close()


def test_a_grant_is_used_once_even_over_a_restart(open_spool: Open, issuer: GrantIssuer) -> None:
    spool = open_spool()
    accepted, meter, grant = accept(spool, issuer)
    token = accepted.token
    for _ in range(2):
        with pytest.raises(ServiceError) as caught:
            spool.accept(grant, token=token, model="m")
        assert caught.value.reason is Reason.GRANT_REPLAYED
        if spool.open_calls:
            finish(spool, accepted, meter)
            (reference,) = spool.pending
            spool.settled([reference])
        spool.close()
        spool = open_spool()
    spool.close()


def test_segments_go_once_settled_and_past_their_window(open_spool: Open, issuer: GrantIssuer, tmp_path: Path) -> None:
    now = time.time_ns() // 1_000_000
    clock = [now]
    spool = open_spool(segment_bytes=4096, now_ms=lambda: clock[0])
    held, held_meter, _ = accept(spool, issuer)
    for _ in range(60):
        accepted, meter, _ = accept(spool, issuer)
        finish(spool, accepted, meter)
    for reference in list(spool.pending):
        spool.settled([reference])
    files = len(list(tmp_path.glob("spool/*.log")))
    assert files > 5
    clock[0] = now + 60_000
    spool.sweep()
    assert len(list(tmp_path.glob("spool/*.log"))) == files, "the oldest segment holds a call that runs"
    finish(spool, held, held_meter)
    (reference,) = spool.pending
    spool.settled([reference])
    spool.sweep()
    assert len(list(tmp_path.glob("spool/*.log"))) == 1
    spool.close()


def test_a_grant_older_than_the_window_is_refused(spool: Spool, issuer: GrantIssuer) -> None:
    with pytest.raises(ServiceError) as caught:
        accept(spool, issuer, issued_ago_s=31.0)
    assert caught.value.reason is Reason.GRANT_EXPIRED
    assert "31." in caught.value.message
    # So no report can come for a grant issued before a watermark that was published.
    assert spool.watermark_ms() >= time.time_ns() // 1_000_000 - 30_100


def test_the_watermark_waits_for_the_oldest_unsettled_grant(spool: Spool, issuer: GrantIssuer) -> None:
    first, meter, old = accept(spool, issuer, issued_ago_s=20.0)
    accept(spool, issuer)
    assert spool.watermark_ms() == min(old.issued_at_ms, spool.watermark_ms())
    finish(spool, first, meter)
    assert spool.watermark_ms() <= old.issued_at_ms


def test_a_fresh_grant_does_not_move_the_watermark_past_the_accept_window(spool: Spool, issuer: GrantIssuer) -> None:
    accept(spool, issuer)
    # Another grant, issued up to 30 s before this one, may still arrive and be reported.
    assert spool.watermark_ms() <= time.time_ns() // 1_000_000 - 30_000
    accept(spool, issuer, issued_ago_s=20.0)


def test_another_process_is_kept_out(open_spool: Open, tmp_path: Path) -> None:
    spool = open_spool()
    code = f"""
from pathlib import Path
from enginehouse.kit.usage import Spool, SpoolError
try:
    Spool(directory=Path({str(tmp_path / "spool")!r}), engine_id="other")
except SpoolError as error:
    print(error)
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert f"in use by process {os.getpid()}" in shown
    spool.close()
    open_spool().close()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match=r"file/spool: Not a directory"):
        Spool(directory=tmp_path / "file" / "spool", engine_id="e")


def test_a_full_spool_refuses_work_and_loses_nothing(open_spool: Open, issuer: GrantIssuer) -> None:
    spool = open_spool(segment_bytes=8192, max_bytes=3 * 8192)
    running: list[tuple[Accepted, Meter, Grant]] = []
    with pytest.raises(ServiceError) as caught:
        while len(running) < 1000:
            running.append(accept(spool, issuer))
    assert caught.value.reason is Reason.LEDGER_UNAVAILABLE
    assert "full" in caught.value.message
    assert len(running) > 5
    for accepted, meter, _ in running:
        meter.add(UNIT_OUTPUT_TOKENS, 2)
        finish(spool, accepted, meter)
    assert len(spool.pending) == len(running)
    before = records(spool)
    spool.close()
    # Every end had room kept for it: all are on the disk.
    spool = open_spool(segment_bytes=8192, max_bytes=3 * 8192)
    assert spool.recovered == 0
    assert records(spool) == before
    with pytest.raises(ServiceError):
        accept_many(spool, issuer)
    for reference in list(spool.pending):
        spool.settled([reference])
    spool.close()


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="needs posix_fallocate")
def test_a_full_disk_refuses_work(open_spool: Open, issuer: GrantIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = open_spool(segment_bytes=4096)
    accepted, meter, _ = accept(spool, issuer)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(ServiceError) as caught:
            accept_many(spool, issuer)
        assert caught.value.reason is Reason.LEDGER_UNAVAILABLE
        finish(spool, accepted, meter)
    accept(spool, issuer)
    spool.close()


CHILD = """
import sys, time
from pathlib import Path
from enginehouse.api.common.v1.usage_pb2 import UNIT_INPUT_TOKENS, UNIT_OUTPUT_TOKENS
from enginehouse.api.router.v1 import usage_pb2
from enginehouse.kit.grants import GrantKeys
from enginehouse.kit.testing import GrantIssuer
from enginehouse.kit.grants import sign
from enginehouse.kit.usage.meter import Meter
from enginehouse.kit.usage import Spool

directory, keys_file = sys.argv[1:]
issuer = GrantIssuer(GrantKeys.load(Path(keys_file)))
spool = Spool(directory=Path(directory), engine_id="engine-test", segment_bytes=16384)
prices = {UNIT_INPUT_TOKENS: 1_000_000, UNIT_OUTPUT_TOKENS: 2_000_000}
n = 0
while True:
    n += 1
    grant = issuer.grant("/package.Service/Method", models=["m"], prices=prices)
    accepted = spool.accept(grant, token=sign(grant, keys=issuer.keys), model="m")
    print("accepted", grant.grant_id, flush=True)
    meter = Meter(prices=prices, cap_nanos=10**9, counters=accepted.counters)
    meter.add(UNIT_INPUT_TOKENS, 10)
    for sent in range(1, 2 + n % 7):
        meter.add(UNIT_OUTPUT_TOKENS, 1)
        print("sent", grant.grant_id, sent, flush=True)
    if n % 3:
        meter.close()
        spool.finish(accepted, meter=meter, outcome=usage_pb2.OUTCOME_COMPLETED, first_output_ms=1)
        print("finished", grant.grant_id, flush=True)
"""


def test_kill_9_at_any_moment_loses_nothing_that_was_counted(
    open_spool: Open, issuer: GrantIssuer, tmp_path: Path
) -> None:
    issuer.keys.generate(tmp_path / "keys")
    reported: dict[str, usage_pb2.UsageRecord] = {}
    for kill_at_line in (1, 2, 3, 40, 777):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path / "spool"), str(tmp_path / "keys")],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        lines = []
        for line in child.stdout:
            if line.endswith("\n"):  # a kill may tear the last one
                lines.append(line.split())
            if len(lines) == kill_at_line:
                child.send_signal(signal.SIGKILL)
        child.wait(30)
        child.stdout.close()
        sent: dict[str, int] = {}
        finished = set()
        for kind, grant_id, *count in lines:
            if kind == "finished":
                finished.add(grant_id)
            else:
                sent[grant_id] = int(count[0]) if count else 0

        spool = open_spool()
        new = {peek(record.grant).grant_id: record for record in records(spool)}
        assert not set(new) & set(reported)
        # A line may be lost in the pipe's last instant, a count may not: it was made before the line was written.
        assert set(sent) <= set(new)
        assert len(new) <= len(sent) + 1
        for grant_id, record in new.items():
            amounts = {unit.unit: unit.amount for unit in record.usage.units}
            said = sent.get(grant_id, 0)
            assert said <= amounts.get(UNIT_OUTPUT_TOKENS, 0) <= said + 1
            assert record.usage.cost_nanos == 10 * (UNIT_INPUT_TOKENS in amounts) + 2 * amounts.get(
                UNIT_OUTPUT_TOKENS, 0
            )
            if grant_id in finished:
                assert record.outcome == usage_pb2.OUTCOME_COMPLETED
            elif said:
                assert record.outcome in (usage_pb2.OUTCOME_CRASHED, usage_pb2.OUTCOME_COMPLETED)
        # None, where the kill fell between one grant's end and the next one's acceptance.
        assert spool.recovered == sum(record.outcome == usage_pb2.OUTCOME_CRASHED for record in new.values())
        reported |= new
        for reference in list(spool.pending):
            spool.settled([reference])
        spool.close()
    assert len(reported) > 100


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_torn_tail_costs_only_what_was_torn(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    directory = tmp_path_factory.mktemp("torn") / "spool"
    issuer = GrantIssuer()
    spool = Spool(directory=directory, engine_id="e")
    for _ in range(5):
        accepted, meter, _ = accept(spool, issuer)
        meter.add(UNIT_OUTPUT_TOKENS, 4)
        finish(spool, accepted, meter)
    whole = {record.grant for record in records(spool)}
    spool.close()
    (segment,) = directory.glob("*.log")
    content = segment.read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    garbage = data.draw(st.binary(max_size=20))
    segment.write_bytes(content[:cut] + garbage)
    spool = Spool(directory=directory, engine_id="e")
    for record in records(spool):
        assert record.grant in whole
        # The counters are on record apart, so even an end that was torn off tells what was spent.
        assert {unit.unit: unit.amount for unit in record.usage.units} == {UNIT_OUTPUT_TOKENS: 4}
        assert record.outcome in (usage_pb2.OUTCOME_COMPLETED, usage_pb2.OUTCOME_CRASHED)
    if cut == len(content):
        assert len(spool.pending) == 5
    spool.close()


def test_a_foreign_file_is_not_taken_for_a_segment(open_spool: Open, tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "000000000001.log").write_bytes(framed(b"another format"))
    with pytest.raises(SpoolError, match="not a spool file of this version"):
        open_spool()
