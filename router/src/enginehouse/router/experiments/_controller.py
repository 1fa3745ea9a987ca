"""Ends experiments and moves rollouts by what came of them. One replica does, whichever comes first."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.kit.tasks import BackgroundTask
from enginehouse.router.clock import Clock
from enginehouse.router.database import DatabaseUnavailable, translate_db_errors
from enginehouse.router.experiments._arms import Experiment, ExperimentState, Rollout
from enginehouse.router.experiments._assignment import Assignment
from enginehouse.router.experiments._results import Results
from enginehouse.router.experiments._store import ExperimentStore
from enginehouse.router.experiments._verdicts import moved, winner

_log = logging.getLogger(__name__)

# Any constant that nothing else in the database locks.
_LOCK = 0x65787065


class ExperimentController:
    """Keeps the assignment in memory current, and lets time and results change it.

    Args:
        database: PostgreSQL.
        store: experiments, rollouts, flags.
        results: what came of them.
        assignment: what decisions look at; replaced whenever something changes.
        clock: milliseconds since 1970 UTC.
        every_s: seconds between two looks at the results.
    """

    def __init__(
        self,
        *,
        database: AsyncEngine,
        store: ExperimentStore,
        results: Results,
        assignment: Assignment,
        clock: Clock,
        every_s: float,
    ) -> None:
        self._database = database
        self._store = store
        self._results = results
        self._assignment = assignment = assignment = assignment = assignment = assignment = assignment = assignment
        self._clock = clock
        self._every_s = every_s
        self._changed = asyncio.Event()
        self._reading = asyncio.Lock()
        self._tasks = (
            BackgroundTask(self._follow, name="assignment-follow"),
            BackgroundTask(self._look, name="assignment-judge"),
        )

    def changed(self, _payload: str) -> None:
        """Something changed somewhere: read it all again. It is small."""
        self._changed.set()

    def start(self) -> None:
        """Begins to follow changes and to look at results."""
        for task in self._tasks:
            task.start()

    async def close(self) -> None:
        """Stops."""
        for task in self._tasks:
            await task.close()

    async def reload(self) -> None:
        """Reads everything again."""
        # One after the other: what was read first must not replace what was read last.
        async with self._reading:
            experiments, rollouts, flags = await self._store.current()
            self._assignment.replace(experiments=experiments, rollouts=rollouts, flags=flags)

    async def apply(self) -> None:
        """Makes what this router wrote hold here at once; the others hear of it. What was written stays written where
        PostgreSQL goes away in between, and holds once it is back.
        """
        with contextlib.suppress(DatabaseUnavailable), translate_db_errors():
            await self.reload()

    async def look(self) -> None:
        """Looks at the results once, unless another replica is doing so."""
        async with self._database.connect() as connection:
            # Held until this connection's transaction ends: the verdicts are written through others.
            locked = await connection.execute(sa.text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            if not locked.scalar_one():
                return
            experiments, rollouts, _ = await self._store.current()
            for experiment in experiments:
                if experiment.automatic and experiment.state is ExperimentState.RUNNING:
                    await self._judge(experiment)
            for rollout in rollouts:
                if rollout.state.under_way:
                    await self._move(rollout)

    async def _judge(self, experiment: Experiment) -> None:
        found = winner(experiment, await self._results.of(experiment.experiment_id))
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
        after = moved(rollout, step, whole, now_ms=self._clock())
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

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                with translate_db_errors():
                    await self.reload()
            except DatabaseUnavailable:
                # The reload at reconnection brings whatever was missed.
                continue
            except Exception:
                _log.exception("could not read experiments")

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                with translate_db_errors():
                    await self.look()
            except DatabaseUnavailable:
                continue
            except Exception:
                _log.exception("could not judge experiments")
