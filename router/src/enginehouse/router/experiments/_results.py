"""ExperimentResults of each arm, aggregated by PostgreSQL over exposures, their usage and their feedback."""

from __future__ import annotations

import dataclasses
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.router.database.tables import exposures, feedback, usage
from enginehouse.router.experiments._arms import Metric
from enginehouse.router.experiments._sequential import Sample

# The outcomes that count as errors. The caller causes `cancelled`, and the budget `capped`.
_FAILED = ("failed", "crashed", "refused")
_NO_VALUES = Sample()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ArmResults:
    """An arm's samples; `latency` is of the natural logarithm of milliseconds, `latency_ms` of milliseconds."""

    requests: int = 0
    units: int = 0
    cost: Sample = _NO_VALUES
    latency: Sample = _NO_VALUES
    latency_ms: Sample = _NO_VALUES
    quality: Sample = _NO_VALUES
    refusals: Sample = _NO_VALUES
    errors: Sample = _NO_VALUES

    def of(self, metric: Metric) -> Sample:
        """Return the metric's sample."""
        return {
            Metric.COST: self.cost,
            Metric.LATENCY: self.latency,
            Metric.QUALITY: self.quality,
            Metric.REFUSALS: self.refusals,
            Metric.ERRORS: self.errors,
        }[metric]


NO_RESULTS = ArmResults()


class ExperimentResults:
    """Reads the results of experiments and rollouts."""

    def __init__(self, *, database: AsyncEngine) -> None:
        self._database = database

    async def of(self, subject_id: str, *, since_ms: int = 0, by_request: bool = False) -> dict[str, ArmResults]:
        """Return the results of an experiment's arms or a rollout's models; those without exposures are missing.

        Args:
            subject_id: the id of the experiment or rollout.
            since_ms: the time of the earliest exposure that counts, in milliseconds since 1970 UTC.
            by_request: True if every request is a value. Otherwise every unit is one value, the mean of its requests:
                requests of one user are alike, and counting each would make intervals too narrow.
        """
        spent = (
            sa.select(
                sa.func.sum(usage.c.cost_nanos).label("cost"),
                sa.func.max(usage.c.ended_at_ms - usage.c.started_at_ms)
                .filter(usage.c.kind == "report")
                .label("milliseconds"),
                # If one engine fails and another serves the request, the request has not failed.
                sa.func.bool_and(usage.c.outcome.in_(_FAILED)).filter(usage.c.kind == "report").label("failed"),
            )
            .where(usage.c.grant_id == exposures.c.grant_id)
            .lateral("spent")
        )
        # Match the tenant too: callers choose request ids, and two tenants may choose the same one.
        rated = (
            sa.select((sa.func.avg(feedback.c.score_millionths) / 1_000_000).label("score"))
            .where(feedback.c.tenant_id == exposures.c.tenant_id, feedback.c.request_id == exposures.c.request_id)
            .lateral("rated")
        )
        milliseconds = sa.func.greatest(spent.c.milliseconds, 1)
        values: dict[str, Any] = {
            "cost": spent.c.cost,
            "latency": sa.func.ln(milliseconds),
            "latency_ms": spent.c.milliseconds,
            "quality": rated.c.score,
            "refusals": (exposures.c.refusal != "").cast(sa.Integer),
            "errors": spent.c.failed.cast(sa.Integer),
        }
        unit = exposures.c.grant_id if by_request else exposures.c.unit
        units = (
            sa.select(
                exposures.c.arm,
                sa.func.count().label("requests"),
                *(sa.func.avg(value).cast(sa.Float).label(name) for name, value in values.items()),
            )
            .select_from(exposures)
            .join(spent, sa.true(), isouter=True)
            .join(rated, sa.true(), isouter=True)
            .where(exposures.c.subject_id == subject_id, exposures.c.exposed_at_ms >= since_ms)
            .group_by(exposures.c.arm, unit)
            .subquery("units")
        )
        columns = []
        for name in values:
            column = units.c[name]
            columns += [
                sa.func.count(column).label(f"{name}_n"),
                sa.func.avg(column).label(f"{name}_mean"),
                sa.func.var_samp(column).label(f"{name}_variance"),
            ]
        query = sa.select(
            units.c.arm,
            sa.func.sum(units.c.requests).label("requests"),
            sa.func.count().label("units"),
            *columns,
        ).group_by(units.c.arm)
        async with self._database.connect() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return {
            row["arm"]: ArmResults(
                requests=int(row["requests"]), units=row["units"], **{name: _sample(row, name) for name in values}
            )
            for row in rows
        }


def _sample(row: Any, name: str) -> Sample:
    return Sample(row[f"{name}_n"], float(row[f"{name}_mean"] or 0), float(row[f"{name}_variance"] or 0))
