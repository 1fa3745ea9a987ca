"""Spend as it is asked for: the sum of the records, to the nano-dollar, however it is grouped, cut into pages, or given
out as a file."""

from __future__ import annotations

import asyncio
import csv
import datetime
import io
import json
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enginehouse.api.router.v1 import admin_pb2 as pb
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.pricing import UNITS, unit_of
from enginehouse.router.api.admin import Administrator, SpendAdmin
from enginehouse.router.database import open_database
from enginehouse.router.database.tables import usage
from router.tests.harness.ledger import LedgerHarness
from router.tests.harness.postgres import PostgresCluster

EVERYTHING = Administrator(tenant_id="ten_test", key_id="key_admin", everything=True)
HOUR_MS = 3_600_000
START_MS = 1_800_000_000_000


def moment(ms: int, form: str) -> str:
    return datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC).strftime(form)


GROUPS = {
    pb.SPEND_GROUP_UNSPECIFIED: lambda row: "",
    pb.SPEND_GROUP_TENANT: lambda row: row["tenant_id"],
    pb.SPEND_GROUP_KEY: lambda row: row["key_id"],
    pb.SPEND_GROUP_MODEL: lambda row: row["model"],
    pb.SPEND_GROUP_SERVICE: lambda row: row["service"],
    pb.SPEND_GROUP_USER: lambda row: row["user_id"],
    pb.SPEND_GROUP_RUN: lambda row: row["run_id"],
    pb.SPEND_GROUP_DAY: lambda row: moment(row["settled_at_ms"], "%Y-%m-%d"),
    pb.SPEND_GROUP_HOUR: lambda row: moment(row["settled_at_ms"], "%Y-%m-%dT%H:00Z"),
}

AMOUNT = st.integers(0, 2**40)
RECORDS = st.fixed_dictionaries(
    {
        "grant": st.integers(0, 30),
        "key_id": st.sampled_from(["key_a", "key_b", "Key_a", "k-1"]),
        "user_id": st.sampled_from(["", "anna", "=1+1", "é"]),
        "run_id": st.sampled_from(["", "run 1", "run,2", 'run"3']),
        "model": st.sampled_from(["small", "large"]),
        "service": st.sampled_from(["inference", "voice"]),
        "kind": st.sampled_from(["report", "assumed", "correction"]),
        "settled_at_ms": st.integers(START_MS, START_MS + 50 * HOUR_MS),
        "cost_nanos": AMOUNT,
        "input_tokens": AMOUNT,
        "audio_milliseconds": AMOUNT,
        "other_units": st.dictionaries(st.sampled_from(["frames", "steps"]), AMOUNT, max_size=2),
    }
)


def record(number: int, tenant: str, drawn: dict[str, Any]) -> dict[str, Any]:
    """A row of usage; a correction takes back what was assumed."""
    row: dict[str, Any] = dict.fromkeys(UNITS, 0)
    row |= {name: value for name, value in drawn.items() if name != "grant"}
    if row["kind"] == "correction":
        row["cost_nanos"] = -row["cost_nanos"]
    return row | {
        "tenant_id": tenant,
        "grant_id": f"{tenant}-{drawn['grant']}",
        "engine_id": f"engine-{number}",
        "request_id": f"req_{number}",
        "attempt": 1,
        "unbilled_nanos": 0,
        "outcome": "completed",
        "started_at_ms": 1,
        "ended_at_ms": 2,
        "time_to_first_token_ms": 3,
    }


async def pages(spend: SpendAdmin, size: int = 0, **fields: Any) -> tuple[dict[str, pb.SpendRow], int]:
    """Every group by its name, and the total, which is the same on each page."""
    found: dict[str, pb.SpendRow] = {}
    totals = set()
    token = ""
    while True:
        request = pb.QuerySpendRequest(page_size=size, page_token=token, **fields)
        answer = await spend.query(request, EVERYTHING)
        assert not size or len(answer.rows) <= size
        for row in answer.rows:
            assert row.group not in found
            found[row.group] = row
        totals.add(answer.total_nanos)
        token = answer.next_page_token
        if not token:
            break
    (total,) = totals
    return found, total


async def exported(spend: SpendAdmin, caller: Administrator = EVERYTHING, **fields: Any) -> list[dict[str, str]]:
    parts = [part async for part in spend.export(pb.ExportSpendRequest(**fields), caller)]
    assert {part.content_type for part in parts} == {"text/csv; charset=utf-8"}
    text = b"".join(part.data for part in parts).decode()
    assert text.count("\n") == text.count("\r\n")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_spend_is_the_sum_of_the_records_however_it_is_asked_for(postgres: PostgresCluster) -> None:
    loop = asyncio.new_event_loop()
    database = open_database(loop.run_until_complete(postgres.create_database()))
    spend = SpendAdmin(database=database)
    numbers = iter(range(10**9))

    @given(
        st.lists(RECORDS, max_size=40),
        st.sampled_from(sorted(GROUPS)),
        st.sampled_from([0, 1, 3]),
        st.sampled_from(["", "key_a", "k-1"]),
        st.sampled_from(["", "anna", "=1+1"]),
        st.tuples(st.integers(0, 50), st.integers(0, 50)),
    )
    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    def holds(drawn: list[dict[str, Any]], group: int, size: int, key: str, user: str, span: tuple[int, int]) -> None:
        # A tenant of its own for each example: no need to empty the table.
        tenant = f"ten_{next(numbers)}"
        rows = [record(next(numbers), tenant, fields) for fields in drawn]
        from_ms, until_ms = (START_MS + hour * HOUR_MS for hour in sorted(span))

        async def check() -> None:
            if rows:
                async with database.begin() as connection:
                    await connection.execute(usage.insert(), rows)
            fields = {"tenant_id": tenant, "key_id": key, "user_id": user, "from_ms": from_ms, "until_ms": until_ms}
            wanted: dict[str, list[dict[str, Any]]] = {}
            for row in rows:
                within = from_ms <= row["settled_at_ms"] < until_ms
                if within and key in ("", row["key_id"]) and user in ("", row["user_id"]):
                    wanted.setdefault(GROUPS[group](row), []).append(row)
            found, total = await pages(spend, size, group_by=group, **fields)
            assert list(found) == sorted(wanted, key=str.encode)
            for name, members in wanted.items():
                units = {unit_of(entry): entry.amount for entry in found[name].usage.units}
                assert found[name].usage.cost_nanos == sum(row["cost_nanos"] for row in members)
                assert found[name].requests == len({row["grant_id"] for row in members})
                for unit in ("input_tokens", "audio_milliseconds"):
                    assert units.get(UNITS[unit], 0) == sum(row[unit] for row in members)
                for unit in ("frames", "steps"):
                    assert units.get(unit, 0) == sum(row["other_units"].get(unit, 0) for row in members)
            selected = [row for members in wanted.values() for row in members]
            assert total == sum(row["cost_nanos"] for row in selected)
            lines = await exported(spend, **fields)
            assert sum(int(line["cost_nanos"]) for line in lines) == total
            assert [line["request_id"] for line in lines] == [row["request_id"] for row in rows if row in selected]
            others = [json.loads(line["other_units"] or "{}") for line in lines]
            assert others == [row["other_units"] for row in rows if row in selected]

        loop.run_until_complete(check())

    try:
        holds()
    finally:
        loop.run_until_complete(database.dispose())
        loop.close()


async def test_what_was_assumed_and_corrected_adds_up(harness: LedgerHarness) -> None:
    """With reports, an assumption and its correction, the sum over all is what the budget's window has settled."""
    budget = await harness.budget(10_000)
    ledger = await harness.replica()
    spend = SpendAdmin(database=harness.database)
    first, second = await harness.grant(ledger, 900), await harness.grant(ledger, 800)
    await ledger.flush_journal()
    await ledger.settle_now([harness.report(first, 333)])
    harness.now_ms += 600_000
    await harness.watermark(ledger, 1)
    await ledger.sweep()
    for late in (None, 77):
        if late is not None:
            await ledger.settle_now([harness.report(second, late)])
        _, total = await pages(spend, group_by=pb.SPEND_GROUP_MODEL)
        assert total == (await harness.window(budget))[1] == 333 + (800 if late is None else late)
        lines = await exported(spend)
        assert sum(int(line["cost_nanos"]) for line in lines) == total
    assert [(line["kind"], line["cost_nanos"]) for line in await exported(spend)] == [
        ("report", "333"), ("assumed", "800"), ("correction", "-800"), ("report", "77")
    ]  # fmt: skip


async def test_the_file_is_exact_safe_in_a_spreadsheet_and_one_tenants_alone(harness: LedgerHarness) -> None:
    spend = SpendAdmin(database=harness.database)
    names = ["=HYPERLINK()", "+1", "-1", "@x", 'say "hi"', "a,b", "plain"]
    drawn = {"grant": 1, "key_id": "k", "run_id": "", "model": "m", "service": "inference", "kind": "report"}
    rows = [
        record(number, f"ten_{number % 2}", {**drawn, "user_id": name, "settled_at_ms": START_MS + 7, "cost_nanos": 5})
        for number, name in enumerate(names)
    ]
    async with harness.database.begin() as connection:
        await connection.execute(usage.insert(), rows)
    lines = await exported(spend)
    assert [line["user_id"] for line in lines] == ["'=HYPERLINK()", "'+1", "'-1", "'@x", *names[4:]]
    assert lines[0]["settled_at"] == moment(START_MS, "%Y-%m-%dT%H:%M:%S") + ".007Z"
    own = await exported(spend, Administrator(tenant_id="ten_1", key_id="k", everything=False))
    assert [line["request_id"] for line in own] == ["req_1", "req_3", "req_5"]
    with pytest.raises(ServiceError) as refused:
        await exported(spend, Administrator(tenant_id="ten_1", key_id="k", everything=False), tenant_id="ten_0")
    assert refused.value.reason is Reason.SCOPE_DENIED
    assert len(await exported(spend, from_ms=START_MS + 8)) == 0


async def test_many_records_come_piece_by_piece_and_few_readers_at_once(harness: LedgerHarness) -> None:
    spend = SpendAdmin(database=harness.database)
    columns = [column.name for column in usage.columns if column.name != "ordinal"]
    values = dict.fromkeys(columns, "'x'") | {
        name: "1" for name in columns if isinstance(usage.c[name].type, sa.Integer | sa.BigInteger)
    }
    values |= {"grant_id": "'g' || n", "kind": "'report'", "cost_nanos": "n", "other_units": "'{}'"}
    async with harness.database.begin() as connection:
        await connection.execute(
            sa.text(
                f"INSERT INTO usage ({', '.join(values)}) SELECT {', '.join(values.values())}"
                " FROM generate_series(1, 10000) AS n"
            )
        )
    sizes, total = [], 0
    async for part in spend.export(pb.ExportSpendRequest(), EVERYTHING):
        rows = list(csv.reader(io.StringIO(part.data.decode(), newline="")))
        sizes.append(len(rows))
        if len(sizes) == 1:
            header = rows[0]
        else:
            total += sum(int(row[header.index("cost_nanos")]) for row in rows)
    assert sum(sizes) == 10_001
    assert max(sizes) < 5_000
    assert total == sum(range(10_001)) == (await pages(spend))[1]
    reading = [spend.export(pb.ExportSpendRequest(), EVERYTHING) for _ in range(2)]
    for reader in reading:
        await anext(reader)
    with pytest.raises(ServiceError) as refused:
        await anext(spend.export(pb.ExportSpendRequest(), EVERYTHING))
    assert refused.value.reason is Reason.CONCURRENCY_LIMITED
    for reader in reading:
        await reader.aclose()
    assert len(await exported(spend)) == 10_000


BAD = [
    ({"group_by": 99}, "group_by"),
    ({"from_ms": -1}, "from_ms"),
    ({"until_ms": -1}, "until_ms"),
    ({"from_ms": 9, "until_ms": 8}, "until_ms"),
    ({"page_size": 10_001}, "page_size"),
    ({"page_token": "nonsense"}, "page_token"),
    ({"user_id": "\x00"}, "user_id"),
    ({"run_id": "x" * 300}, "run_id"),
]


async def test_a_bad_question_is_refused_by_the_fields_name(harness: LedgerHarness) -> None:
    spend = SpendAdmin(database=harness.database)
    for fields, field in BAD:
        with pytest.raises(ServiceError) as refused:
            await spend.query(pb.QuerySpendRequest(**fields), EVERYTHING)
        assert [violation.field for violation in refused.value.violations] == [field], fields
    page = await spend.query(pb.QuerySpendRequest(group_by=pb.SPEND_GROUP_KEY), EVERYTHING)
    assert not page.next_page_token
