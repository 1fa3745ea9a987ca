"""Control of experiments and rollouts by their results. The replica that takes the lock first does the work."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.kit.tasks import BackgroundTask
from enginehouse.router.clock import Clock
from enginehouse.router.database import ChangeReader, DatabaseUnavailable, translate_db_errors
from enginehouse.router.experiments._arms import Experiment, ExperimentState, Rollout
from enginehouse.router.experiments._assignment import Assignment
from enginehouse.router.experiments._results import ExperimentResults
from enginehouse.router.experiments._store import ExperimentStore
from enginehouse.router.experiments._verdicts import find_winner, next_move

_log = logging.getLogger(__name__)

# An advisory lock's number: any constant that nothing else in the database locks.
_LOCK = 0x65787065


class ExperimentController:
    """Keeps the assignment in memory current, ends experiments and moves rollouts.

    Args:
        database: PostgreSQL.
        store: experiments, rollouts, flags.
        results: their results.
        assignment: the assignment that decisions use; its content is replaced whenever something changes.
        clock: milliseconds since 1970 UTC.
        every_s: seconds between two evaluations of the results.
    """

    def __init__(
        self,
        *,
        database: AsyncEngine,
        store: ExperimentStore,
        results: ExperimentResults,
        assignment: Assignment,
        clock: Clock,
        every_s: float,
    ) -> None:
        self._database = database
        self._store = store
        self._results = results
        self._assignment = assignment
        self._clock = clock
        self._every_s = every_s
        self._reading = asyncio.Lock()
        self._reader = ChangeReader(read=lambda _: self.reload(), what="experiment")
        self._task = BackgroundTask(self._evaluate_regularly, name="experiments-evaluate")

    def changed(self, _payload: str) -> None:
        """Read everything again soon, because something changed; it is small."""
        self._reader.changed("")

    def start(self) -> None:
        """Start evaluating results."""
        self._task.start()

    async def close(self) -> None:
        """Stop."""
        await self._reader.close()
        await self._task.close()

    async def reload(self) -> None:
        """Read everything again."""
        # One reload at a time: an earlier reading must not replace a later one.
        async with self._reading:
            experiments, rollouts, flags = await self._store.current()
            self._assignment.replace(experiments=experiments, rollouts=rollouts, flags=flags)

    async def apply(self) -> None:
        """Apply this router's own write here at once; the others are notified of it.

        If PostgreSQL goes away in between, the write stands, and applies once PostgreSQL is back.
        """
        with contextlib.suppress(DatabaseUnavailable), translate_db_errors():
            await self.reload()

    async def evaluate(self) -> None:
        """Evaluate the results once, unless another replica is doing so."""
        async with self._database.connect() as connection:
            # The lock lasts until this connection's transaction ends; changes are written over other connections.
            locked = await connection.execute(sa.text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            if not locked.scalar_one():
                return
            experiments, rollouts, _ = await self._store.current()
            for experiment in experiments:
                if experiment.automatic and experiment.state is ExperimentState.RUNNING:
                    await self._conclude(experiment)
            for rollout in rollouts:
                if rollout.state.unfinished:
                    await self._move(rollout)

    async def _conclude(self, experiment: Experiment) -> None:
        found = find_winner(experiment, await self._results.of(experiment.experiment_id))
        if found is not None:
            name, reason = found
            await self._store.end_experiment(
                experiment.experiment_id,
                state=ExperimentState.CONCLUDED,
                winner=name,
                reason=reason,
                now_ms=self._clock(),
            )
            _log.info(
                "an experiment has a winner",
                extra={"experiment": experiment.experiment_id, "winner": name, "reason": reason},
            )

    async def _move(self, rollout: Rollout) -> None:
        step = await self._results.of(rollout.rollout_id, since_ms=rollout.step_started_at_ms, by_request=True)
        whole = await self._results.of(rollout.rollout_id, by_request=True)
        after = next_move(rollout, step, whole, now_ms=self._clock())
        if after is not None and await self._store.move_rollout(rollout, after) is not None:
            _log.info(
                "a rollout has moved",
                extra={
                    "rollout": rollout.rollout_id,
                    "state": after.state,
                    "percent": after.percent,
                    "why": after.reason,
                },
            )

    async def _evaluate_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                with translate_db_errors():
                    await self.evaluate()
            except DatabaseUnavailable:
                continue
            except Exception:
                _log.exception("could not evaluate experiments")
