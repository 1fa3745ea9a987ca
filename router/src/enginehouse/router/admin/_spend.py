"""What was spent, summed by PostgreSQL over the usage itself, so that it is exact to the nano-dollar."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.router.v1 import admin_pb2
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError
from enginehouse.router.admin._access import Administrator
from enginehouse.router.admin._accounts import check_id
from enginehouse.router.database.tables import usage
from enginehouse.router.ledger._settlement import unit_columns

_UTC_DAY = sa.func.to_char(
    sa.func.timezone("UTC", sa.func.to_timestamp(usage.c.settled_at_ms / 1000)), sa.literal("YYYY-MM-DD")
)
_GROUPS: dict[int, Any] = {
    admin_pb2.SPEND_GROUP_UNSPECIFIED: sa.literal(""),
    admin_pb2.SPEND_GROUP_TENANT: usage.c.tenant_id,
    admin_pb2.SPEND_GROUP_KEY: usage.c.key_id,
    admin_pb2.SPEND_GROUP_MODEL: usage.c.model,
    admin_pb2.SPEND_GROUP_SERVICE: usage.c.service,
    admin_pb2.SPEND_GROUP_DAY: _UTC_DAY,
}
_MOST = 2**63 - 1


class SpendAdmin:
    """Sums usage."""

    def __init__(self, *, database: AsyncEngine) -> None:
        self._database = database

    async def query(self, request: admin_pb2.QuerySpendRequest, caller: Administrator) -> admin_pb2.QuerySpendResponse:
        """Sums by the group asked for; without the scope "admin", of one's own tenant."""
        if request.group_by not in _GROUPS:
            raise _invalid("group_by", f"{request.group_by} is not a group")
        for field in ("from_ms", "until_ms"):
            if getattr(request, field) < 0:
                raise _invalid(field, f"{getattr(request, field)} must not be negative")
        if request.until_ms and request.from_ms > request.until_ms:
            raise _invalid("until_ms", f"{request.until_ms} is before from_ms, {request.from_ms}")
        filters = {
            usage.c.tenant_id: caller.tenant_filter(request.tenant_id),
            usage.c.key_id: request.key_id,
            usage.c.model: request.model,
            usage.c.service: request.service,
        }
        units = unit_columns()
        # A label of our own, so that grouping by a constant is not taken for a column's position.
        group = _GROUPS[request.group_by].label("spend_group")
        query = sa.select(
            group,
            sa.func.count(sa.distinct(usage.c.grant_id)).label("requests"),
            sa.func.sum(usage.c.cost_nanos).label("cost_nanos"),
            *(sa.func.sum(usage.c[column]).label(column) for column in units.values()),
        )
        for column, wanted in filters.items():
            if wanted:
                check_id(column.name, wanted)
                query = query.where(column == wanted)
        if request.from_ms:
            query = query.where(usage.c.settled_at_ms >= request.from_ms)
        if request.until_ms:
            query = query.where(usage.c.settled_at_ms < request.until_ms)
        if request.group_by:
            query = query.group_by(sa.text("spend_group"))
        async with self._database.connect() as connection:
            rows = (await connection.execute(query)).all()
        response = admin_pb2.QuerySpendResponse()
        for row in sorted(rows, key=lambda one: one.spend_group):
            if not row.requests:
                continue
            values = row._mapping
            response.rows.add(
                group=row.spend_group,
                requests=row.requests,
                usage=usage_pb2.Usage(
                    units=[
                        usage_pb2.UnitAmount(unit=unit, amount=min(int(values[column]), _MOST))  # type: ignore[arg-type]
                        for unit, column in units.items()
                        if values[column]
                    ],
                    cost_nanos=int(row.cost_nanos),
                ),
            )
            response.total_nanos += int(row.cost_nanos)
        return response


def _invalid(field: str, description: str) -> ServiceError:
    return ServiceError(
        Reason.INVALID_REQUEST, f"{field}: {description}", violations=[FieldViolation(field, description)]
    )
