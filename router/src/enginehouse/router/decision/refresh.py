"""The refresher of decisions' inputs from PostgreSQL: policies, ratings of models, times to the first token."""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.kit.tasks import BackgroundTask
from enginehouse.router.clock import Clock
from enginehouse.router.database import ChangeReader, DatabaseUnavailable, translate_db_errors
from enginehouse.router.decision.decision import State
from enginehouse.router.decision.first_tokens import read_first_tokens
from enginehouse.router.decision.refresh_settings import RefreshSettings
from enginehouse.router.feedback import FeedbackStore, Ratings
from enginehouse.router.policy import PolicyStore

_log = logging.getLogger(__name__)

_MS_A_DAY = 86_400_000


class StateRefresher:
    """Refreshes the state of one replica. Until PostgreSQL answers, and while it is away, the state read last holds."""

    def __init__(
        self,
        *,
        state: State,
        policies: PolicyStore,
        feedback: FeedbackStore,
        database: AsyncEngine,
        clock: Clock,
        settings: RefreshSettings,
    ) -> None:
        self._state = state
        self._policies = policies
        self._feedback = feedback
        self._database = database
        self._clock = clock
        self._settings = settings
        self._reading = asyncio.Lock()
        self._reader = ChangeReader(read=lambda _: self.read_policies(), what="policy")
        self._task = BackgroundTask(self._repeat, name="state-refresh")

    def start(self) -> None:
        """Start reading from time to time."""
        self._task.start()

    async def close(self) -> None:
        """Stop."""
        await self._reader.close()
        await self._task.close()

    async def read_policies(self) -> None:
        """Apply the policy documents that PostgreSQL holds."""
        # One after the other, so that what was read first is not put in force last.
        async with self._reading:
            self._state.policy.replace(await self._policies.active())
            if not self._state.ratings.covers(self._state.policy.half_lives):
                await self._read_ratings()

    async def read_learned(self) -> None:
        """Read feedback and times to the first token."""
        await self._read_ratings()
        since = self._clock() - int(self._settings.first_tokens_s * 1000)
        self._state.first_tokens.replace(await read_first_tokens(self._database, since_ms=since))

    def policy_changed(self, name: str) -> None:
        """Note that a document changed, and read it."""
        self._reader.changed(name)

    async def _read_ratings(self) -> None:
        today = self._clock() // _MS_A_DAY
        self._state.ratings = Ratings(
            {
                half_life: await self._feedback.ratings(half_life_days=half_life, today=today)
                for half_life in self._state.policy.half_lives
            }
        )

    async def _repeat(self) -> None:
        while True:
            try:
                with translate_db_errors():
                    await self.read_learned()
                    await self.read_policies()
            except DatabaseUnavailable as error:
                _log.warning("could not read feedback and policies again", extra={"error": str(error)})
            except Exception:
                _log.exception("could not read feedback and policies again")
            await asyncio.sleep(self._settings.every_s)
