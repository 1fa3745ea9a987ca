"""Experiments, rollouts and flags in PostgreSQL."""

from __future__ import annotations

import dataclasses
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from enginehouse.router.database._listen import notify
from enginehouse.router.database.tables import experiments, flags, rollouts
from enginehouse.router.experiments._arms import (
    Arm,
    Experiment,
    ExperimentState,
    Flag,
    Guards,
    Metric,
    Rollout,
    RolloutState,
    Unit,
)

# The channel that is notified of every change to these tables.
EXPERIMENTS_CHANNEL = "enginehouse_experiments"
# One transaction at a time adds experiments, or rollouts: the tables' constraints do not see every overlap.
_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")


class Overlap(Exception):
    """The experiment or rollout overlaps with a running one, whose id it carries."""


class ExperimentStore:
    """Experiments, rollouts and flags in PostgreSQL. All replicas are notified of every change."""

    def __init__(self, *, database: AsyncEngine) -> None:
        self._database = database

    async def add_experiment(self, experiment: Experiment) -> Experiment:
        """Start an experiment.

        Raises:
            Overlap: a running one has its name, or applies to the same model for the same tenant.
        """
        table = experiments
        async with self._database.begin() as connection:
            await connection.execute(_LOCK, {"name": "experiments"})
            tenants = table.c.tenant_id == experiment.tenant_id
            if experiment.tenant_id:
                tenants |= table.c.tenant_id == ""
            else:
                tenants = sa.true()
            same = (table.c.asked_model == experiment.asked_model) & tenants
            rival = await connection.execute(
                sa.select(table.c.experiment_id).where(
                    table.c.state == ExperimentState.RUNNING, same | (table.c.name == experiment.name)
                )
            )
            if (found := rival.scalar()) is not None:
                raise Overlap(found)
            values = dataclasses.asdict(experiment)
            del values["ordinal"]
            row = (await connection.execute(table.insert().values(**values).returning(*table.c))).one()
            await notify(connection, EXPERIMENTS_CHANNEL, experiment.experiment_id)
        return _experiment(row)

    async def end_experiment(
        self, experiment_id: str, *, state: ExperimentState, winner: str, reason: str, now_ms: int
    ) -> Experiment | None:
        """End a running experiment. Returns None if it does not run."""
        statement = (
            experiments.update()
            .where(experiments.c.experiment_id == experiment_id, experiments.c.state == ExperimentState.RUNNING)
            .values(state=state, winner=winner, reason=reason, ended_at_ms=now_ms)
            .returning(*experiments.c)
        )
        async with self._database.begin() as connection:
            row = (await connection.execute(statement)).first()
            if row is None:
                return None
            await notify(connection, EXPERIMENTS_CHANNEL, experiment_id)
        return _experiment(row)

    async def get_experiment(self, experiment_id: str) -> Experiment | None:
        """Return an experiment; None if there is no such one."""
        async with self._database.connect() as connection:
            query = sa.select(experiments).where(experiments.c.experiment_id == experiment_id)
            row = (await connection.execute(query)).first()
        return None if row is None else _experiment(row)

    async def list_experiments(self, *, after: int, count: int) -> list[Experiment]:
        """Return the experiments with an ordinal above `after`, oldest first."""
        query = sa.select(experiments).where(experiments.c.ordinal > after)
        async with self._database.connect() as connection:
            rows = await connection.execute(query.order_by(experiments.c.ordinal).limit(count))
            return [_experiment(row) for row in rows]

    async def add_rollout(self, rollout: Rollout) -> Rollout:
        """Start a rollout. Raises Overlap if an unfinished one applies to the same model."""
        async with self._database.begin() as connection:
            await connection.execute(_LOCK, {"name": "rollouts"})
            rival = await connection.execute(
                sa.select(rollouts.c.rollout_id).where(
                    rollouts.c.asked_model == rollout.asked_model,
                    rollouts.c.state.in_([RolloutState.ROLLING, RolloutState.PAUSED]),
                )
            )
            if (found := rival.scalar()) is not None:
                raise Overlap(found)
            values = dataclasses.asdict(rollout)
            del values["ordinal"]
            row = (await connection.execute(rollouts.insert().values(**values).returning(*rollouts.c))).one()
            await notify(connection, EXPERIMENTS_CHANNEL, rollout.rollout_id)
        return _rollout(row)

    async def move_rollout(self, before: Rollout, after: Rollout) -> Rollout | None:
        """Write a change. Returns None if the rollout is no longer in the state and step of `before`."""
        statement = (
            rollouts.update()
            .where(
                rollouts.c.rollout_id == before.rollout_id,
                rollouts.c.state == before.state,
                rollouts.c.step == before.step,
            )
            .values(
                state=after.state,
                step=after.step,
                reason=after.reason,
                step_started_at_ms=after.step_started_at_ms,
                ended_at_ms=after.ended_at_ms,
            )
            .returning(*rollouts.c)
        )
        async with self._database.begin() as connection:
            row = (await connection.execute(statement)).first()
            if row is None:
                return None
            await notify(connection, EXPERIMENTS_CHANNEL, before.rollout_id)
        return _rollout(row)

    async def get_rollout(self, rollout_id: str) -> Rollout | None:
        """Return a rollout; None if there is no such one."""
        async with self._database.connect() as connection:
            query = sa.select(rollouts).where(rollouts.c.rollout_id == rollout_id)
            row = (await connection.execute(query)).first()
        return None if row is None else _rollout(row)

    async def list_rollouts(self, *, after: int, count: int) -> list[Rollout]:
        """Return the rollouts with an ordinal above `after`, oldest first."""
        query = sa.select(rollouts).where(rollouts.c.ordinal > after)
        async with self._database.connect() as connection:
            rows = await connection.execute(query.order_by(rollouts.c.ordinal).limit(count))
            return [_rollout(row) for row in rows]

    async def put_flag(self, flag: Flag) -> None:
        """Create or replace a flag."""
        values: dict[str, Any] = dataclasses.asdict(flag)
        values["tenant_ids"], values["user_ids"] = sorted(flag.tenant_ids), sorted(flag.user_ids)
        async with self._database.begin() as connection:
            statement = insert(flags).values(**values)
            await connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))
            await notify(connection, EXPERIMENTS_CHANNEL, "")

    async def delete_flag(self, name: str) -> bool:
        """Delete a flag. Returns False if there was none."""
        async with self._database.begin() as connection:
            done = await connection.execute(flags.delete().where(flags.c.name == name))
            await notify(connection, EXPERIMENTS_CHANNEL, "")
        return bool(done.rowcount)

    async def list_flags(self, *, after: str, count: int) -> list[Flag]:
        """Return the flags whose names come after `after`, by name."""
        query = sa.select(flags).where(flags.c.name > after).order_by(flags.c.name).limit(count)
        async with self._database.connect() as connection:
            return [_flag(row) for row in await connection.execute(query)]

    async def current(self) -> tuple[list[Experiment], list[Rollout], list[Flag]]:
        """Return all that applies now.

        These are the experiments that run or have a winner, the newest rollout of each model, and all flags.
        """
        async with self._database.connect() as connection:
            active = sa.or_(experiments.c.state == ExperimentState.RUNNING, experiments.c.winner != "")
            experiment_rows = await _all(connection, sa.select(experiments).where(active))
            newest = sa.select(rollouts).ext(distinct_on(rollouts.c.asked_model))
            rollout_rows = await _all(connection, newest.order_by(rollouts.c.asked_model, rollouts.c.ordinal.desc()))
            flag_rows = await _all(connection, sa.select(flags))
        return (
            [_experiment(row) for row in experiment_rows],
            [_rollout(row) for row in rollout_rows],
            [_flag(row) for row in flag_rows],
        )


async def _all(connection: AsyncConnection, query: sa.Select[Any]) -> Any:
    return (await connection.execute(query)).all()


def _experiment(row: Any) -> Experiment:
    values = dict(row._mapping)
    values["arms"] = tuple(Arm(**arm) for arm in values["arms"])
    values["unit"], values["metric"] = Unit(values["unit"]), Metric(values["metric"])
    values["state"] = ExperimentState(values["state"])
    return Experiment(**values)


def _rollout(row: Any) -> Rollout:
    values = dict(row._mapping)
    values["steps"], values["guards"] = tuple(values["steps"]), Guards(**values["guards"])
    values["state"] = RolloutState(values["state"])
    return Rollout(**values)


def _flag(row: Any) -> Flag:
    values = dict(row._mapping)
    values["tenant_ids"], values["user_ids"] = frozenset(values["tenant_ids"]), frozenset(values["user_ids"])
    return Flag(**values)
