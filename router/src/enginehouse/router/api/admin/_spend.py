"""Spend, summed by PostgreSQL over the usage itself, so that it is exact to the nano-dollar."""

from __future__ import annotations

import asyncio
import csv
import datetime
import io
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import sqlalchemy as sa
from google.api import httpbody_pb2
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from enginehouse.api.router.v1 import admin_pb2
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.pricing import Unit, to_usage, unit_named
from enginehouse.kit.validation import invalid
from enginehouse.router.api.access import Administrator
from enginehouse.router.api.fields import check_id
from enginehouse.router.api.paging import page_start, page_token
from enginehouse.router.database.tables import UNIT_COLUMNS, usage

_UTC = sa.func.timezone("UTC", sa.func.to_timestamp(usage.c.settled_at_ms / 1000))
_GROUPS: dict[int, Any] = {
    admin_pb2.SPEND_GROUP_UNSPECIFIED: sa.literal(""),
    admin_pb2.SPEND_GROUP_TENANT: usage.c.tenant_id,
    admin_pb2.SPEND_GROUP_KEY: usage.c.key_id,
    admin_pb2.SPEND_GROUP_MODEL: usage.c.model,
    admin_pb2.SPEND_GROUP_SERVICE: usage.c.service,
    admin_pb2.SPEND_GROUP_DAY: sa.func.to_char(_UTC, sa.literal("YYYY-MM-DD")),
    admin_pb2.SPEND_GROUP_USER: usage.c.user_id,
    admin_pb2.SPEND_GROUP_RUN: usage.c.run_id,
    admin_pb2.SPEND_GROUP_HOUR: sa.func.to_char(_UTC, sa.literal('YYYY-MM-DD"T"HH24":00Z"')),
}
_MOST = 2**63 - 1
_DEFAULT_GROUPS = 1_000
_MAX_GROUPS = 10_000
# One export holds one connection for as long as its reader takes.
_MAX_EXPORTS = 2
# Rows held at once: about a megabyte of text.
_ROWS = 4_000
_COLUMNS = (
    "settled_at", "kind", "request_id", "attempt", "grant_id", "tenant_id", "key_id", "user_id", "run_id", "model",
    "service", "engine_id", "outcome", *UNIT_COLUMNS.values(), "cost_nanos", "unbilled_nanos", "started_at_ms",
    "ended_at_ms", "time_to_first_token_ms", "other_units",
)  # fmt: skip
# What spreadsheets take for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

_Request = admin_pb2.QuerySpendRequest | admin_pb2.ExportSpendRequest


class SpendAdmin:
    """Sums usage, and gives it out."""

    def __init__(self, *, database: AsyncEngine) -> None:
        self._database = database
        self._exports = 0

    async def query(self, request: admin_pb2.QuerySpendRequest, caller: Administrator) -> admin_pb2.QuerySpendResponse:
        """Sums by the group asked for; without the scope "admin", of one's own tenant."""
        if request.group_by not in _GROUPS:
            raise invalid("group_by", f"{request.group_by} is not a group")
        if not 0 <= request.page_size <= _MAX_GROUPS:
            raise invalid("page_size", f"{request.page_size} must be from 0 to {_MAX_GROUPS}")
        size = request.page_size or _DEFAULT_GROUPS
        selected = _selected(request, caller)
        listing = _listing(request)
        # PostgreSQL's own order of text depends on the database; this one is the order of bytes, the same everywhere.
        group = sa.cast(_GROUPS[request.group_by], sa.Text).collate("C").label("spend_group")
        query = sa.select(
            group,
            sa.func.count(sa.distinct(usage.c.grant_id)).label("requests"),
            sa.func.sum(usage.c.cost_nanos).label("cost_nanos"),
            *(sa.func.sum(usage.c[column]).label(column) for column in UNIT_COLUMNS.values()),
            sa.func.bool_or(usage.c.other_units != sa.text("'{}'::jsonb")).label("others"),
        ).where(*selected)
        if request.page_token:
            after = page_start(request.page_token, listing)
            # The mark before it keeps an empty group's token from being an empty one.
            query = query.where(group.element > after[1:])
        query = query.group_by(sa.text("spend_group")).order_by(sa.text("spend_group")).limit(size + 1)
        total = sa.select(sa.func.coalesce(sa.func.sum(usage.c.cost_nanos), 0)).where(*selected)
        async with self._database.connect() as connection:
            # One snapshot for both, so that the total is the groups' sum whatever settles meanwhile.
            await connection.execution_options(isolation_level="REPEATABLE READ")
            rows = (await connection.execute(query)).all()
            others = await _other_units(connection, group, selected, rows[:size])
            total_nanos = int((await connection.execute(total)).scalar_one())
        response = admin_pb2.QuerySpendResponse(total_nanos=total_nanos)
        for row in rows[:size]:
            values = row._mapping
            response.rows.add(
                group=row.spend_group,
                requests=row.requests,
                usage=to_usage(
                    {
                        **{unit: min(int(values[column]), _MOST) for unit, column in UNIT_COLUMNS.items()},
                        **others.get(row.spend_group, {}),
                    },
                    cost=int(row.cost_nanos),
                ),
            )
        if len(rows) > size:
            response.next_page_token = page_token(listing, f"={rows[size - 1].spend_group}")
        return response

    async def export(
        self, request: admin_pb2.ExportSpendRequest, caller: Administrator
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """Yield CSV, some thousand records at a time, in the order of settlement, as of one moment.

        Raises:
            ServiceError: INVALID_REQUEST, SCOPE_DENIED, or CONCURRENCY_LIMITED when others are exporting here.
        """
        query = sa.select(*[usage.c[name] for name in (*_COLUMNS[1:], "settled_at_ms")]).where(
            *_selected(request, caller)
        )
        if self._exports >= _MAX_EXPORTS:
            raise ServiceError(
                Reason.CONCURRENCY_LIMITED,
                f"{_MAX_EXPORTS} exports run at this router already; retry when one has ended",
                retry_after_s=5.0,
                metadata={"limit": str(_MAX_EXPORTS)},
            )
        self._exports += 1
        try:
            yield httpbody_pb2.HttpBody(content_type="text/csv; charset=utf-8", data=_csv([_COLUMNS]))
            async with self._database.connect() as connection:
                # A cursor of the server's: neither it nor we ever hold the whole.
                found = await connection.stream(query.order_by(usage.c.ordinal), execution_options={"yield_per": _ROWS})
                async for rows in found.partitions():
                    lines = await asyncio.to_thread(_csv, [_cells(row) for row in rows])
                    yield httpbody_pb2.HttpBody(content_type="text/csv; charset=utf-8", data=lines)
        finally:
            self._exports -= 1


async def _other_units(
    connection: AsyncConnection,
    group: sa.Label[str],
    selected: Sequence[sa.ColumnElement[bool]],
    rows: Sequence[sa.Row[Any]],
) -> dict[str, dict[Unit, int]]:
    """Return the sums of units that have no column, by group and unit, for those groups that have any."""
    groups = [row.spend_group for row in rows if row.others]
    if not groups:
        return {}
    entry = sa.func.jsonb_each_text(usage.c.other_units).table_valued("key", "value", name="entry")
    query = (
        sa.select(group, entry.c.key, sa.func.sum(sa.cast(entry.c.value, sa.Numeric)).label("amount"))
        .select_from(usage.join(entry, sa.true()))
        # The groups of a page lie side by side.
        .where(*selected, group.element >= groups[0], group.element <= groups[-1])
        .group_by(sa.text("spend_group"), entry.c.key)
    )
    found: dict[str, dict[Unit, int]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.spend_group, {})[unit_named(row.key)] = min(int(row.amount), _MOST)
    return found


def _selected(request: _Request, caller: Administrator) -> list[sa.ColumnElement[bool]]:
    """The records that a request asks for and its caller may see."""
    for field in ("from_ms", "until_ms"):
        if getattr(request, field) < 0:
            raise invalid(field, f"{getattr(request, field)} must not be negative")
    if request.until_ms and request.from_ms > request.until_ms:
        raise invalid("until_ms", f"{request.until_ms} is before from_ms, {request.from_ms}")
    filters = {
        usage.c.tenant_id: caller.tenant_filter(request.tenant_id),
        usage.c.key_id: request.key_id,
        usage.c.model: request.model,
        usage.c.service: request.service,
        usage.c.user_id: request.user_id,
        usage.c.run_id: request.run_id,
    }
    found: list[sa.ColumnElement[bool]] = [sa.true()]
    for column, wanted in filters.items():
        if wanted:
            check_id(column.name, wanted)
            found.append(column == wanted)
    if request.from_ms:
        found.append(usage.c.settled_at_ms >= request.from_ms)
    if request.until_ms:
        found.append(usage.c.settled_at_ms < request.until_ms)
    return found


def _listing(request: admin_pb2.QuerySpendRequest) -> str:
    same = admin_pb2.QuerySpendRequest()
    same.CopyFrom(request)
    same.ClearField("page_token")
    same.ClearField("page_size")
    return "spend/" + same.SerializeToString(deterministic=True).hex()


def _cells(row: sa.Row[Any]) -> list[object]:
    values: list[object] = list(row)
    settled_at_ms = row.settled_at_ms
    values.pop()
    values[-1] = json.dumps(row.other_units, sort_keys=True) if row.other_units else ""
    settled = datetime.datetime.fromtimestamp(settled_at_ms // 1000, datetime.UTC)
    cells = [f"{settled:%Y-%m-%dT%H:%M:%S}.{settled_at_ms % 1000:03d}Z", *values]
    # Callers choose request, user and run ids; a spreadsheet must not calculate with them.
    return [f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell for cell in cells]


def _csv(rows: Sequence[Sequence[object]]) -> bytes:
    """RFC 4180: commas, quotes where needed and doubled inside, lines that end with CRLF."""
    text = io.StringIO(newline="")
    csv.writer(text, dialect="excel").writerows(rows)
    return text.getvalue().encode()
