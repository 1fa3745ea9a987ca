"""The breakers of all models and engines, fed by the registry alone: engines tally how their calls end, and every
router sees the same tallies within a fraction of a second. So all replicas judge alike, whoever had the reports, and a
decision waits for nothing.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.router.fleet.health._breaker import Breaker, BreakerState
from enginehouse.router.fleet.health._settings import HealthSettings

_log = logging.getLogger(__name__)


class Health:
    """The health of every model and engine: which of them to send requests to.

    A breaker exists only where something has failed; whoever has none is well.

    Args:
        settings: when breakers open and close.
        clock: monotonic seconds.
        jitter: a number from 0 to 1.
    """

    def __init__(
        self,
        *,
        settings: HealthSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        settings = HealthSettings() if settings is None else settings
        self._endpoint_terms = settings.endpoint_terms()
        self._model_terms = settings.model_terms()
        self._clock = clock
        self._jitter = jitter
        self._pairs: dict[tuple[str, str], Breaker] = {}
        self._models: dict[str, Breaker] = {}
        # Last seen, by engine: the models that it serves, and its tallies.
        self._served: dict[str, tuple[str, ...]] = {}
        self._tallies: dict[str, dict[str, tuple[int, int]]] = {}
        self._refusing: set[tuple[str, str]] = set()
        self.opened: Counter[str] = Counter()
        """The number of times that breakers have opened, by model."""

    @property
    def untroubled(self) -> bool:
        """True if nothing is open anywhere, and nobody needs to be asked about."""
        return not (self._pairs or self._models or self._refusing)

    def state(self, model: str, engine_id: str = "") -> BreakerState:
        """The state of a model's breaker on one engine, or over all engines if none is named."""
        now = self._clock()
        if engine_id:
            if (model, engine_id) in self._refusing:
                return BreakerState.OPEN
            breaker = self._pairs.get((model, engine_id))
        else:
            breaker = self._models.get(model)
        return BreakerState.CLOSED if breaker is None else breaker.state(now)

    def failure_share(self, model: str, engine_id: str = "") -> float:
        """The share of a model's recent calls that failed, on one engine or over all, as far as any did lately."""
        breaker = self._pairs.get((model, engine_id)) if engine_id else self._models.get(model)
        return 0.0 if breaker is None else breaker.failure_share(self._clock())

    def lets_through(self, model: str, engine_id: str = "") -> bool:
        """Return whether a request may be sent: to the model at all, or to that engine. Changes nothing."""
        if engine_id:
            if (model, engine_id) in self._refusing:
                return False
            breaker = self._pairs.get((model, engine_id))
        else:
            breaker = self._models.get(model)
        return breaker is None or breaker.lets_through(self._clock())

    def wait_s(self, model: str, engine_id: str) -> float:
        """Seconds until the engine may be probed, by which the least bad is found where all are open."""
        breaker = self._pairs.get((model, engine_id))
        wait = 0.0 if breaker is None or not breaker.opened else max(0.0, breaker.until - self._clock())
        # Its provider is away: what else is wrong with the others may be over sooner.
        return wait + 3600.0 if (model, engine_id) in self._refusing else wait

    def sent(self, model: str, engine_id: str) -> None:
        """A request goes to that engine first."""
        if self.untroubled:
            return
        now = self._clock()
        for breaker in (self._pairs.get((model, engine_id)), self._models.get(model)):
            if breaker is not None:
                breaker.sent(now)

    def observe(self, engines: Iterable[registry_pb2.LiveEngine]) -> None:
        """Take in the registry's whole set of live engines."""
        now = self._clock()
        served: dict[str, tuple[str, ...]] = {}
        over_all: dict[str, tuple[int, int]] = {}
        refusing = set()
        for live in engines:
            engine_id = live.engine.engine_id
            served[engine_id] = tuple(model.name for model in live.engine.models)
            seen = self._tallies.get(engine_id)
            tallies = self._tallies[engine_id] = {}
            for tally in live.load.tallies:
                if tally.refusing:
                    refusing.add((tally.model, engine_id))
                counts = tallies[tally.model] = (tally.answered, tally.failed)
                # What an engine did before this router knew it is history; what it began to tally since then is not.
                before = counts if seen is None else seen.get(tally.model, (0, 0))
                if counts[0] < before[0] or counts[1] < before[1]:
                    # It has started anew.
                    before = (0, 0)
                answered, failed = counts[0] - before[0], counts[1] - before[1]
                if answered or failed:
                    sum_answered, sum_failed = over_all.get(tally.model, (0, 0))
                    over_all[tally.model] = (sum_answered + answered, sum_failed + failed)
                    self._record_pair(tally.model, engine_id, now, answered, failed)
        for model, (answered, failed) in over_all.items():
            self._record_model(model, now, answered, failed, served)
        for pair in self._refusing - refusing:
            # The engine has let its own breaker go: a probe will tell.
            self._pair(*pair).half_open(now)
        for pair in refusing - self._refusing:
            self.opened[pair[0]] += 1
            _log.warning("an engine refuses a model: its provider is unavailable", extra=_names(pair))
        self._refusing = refusing
        self._note_gone(served, now)
        self._forget(served, now)

    def troubled(self) -> Iterable[tuple[str, str, BreakerState]]:
        """Every model and engine (empty: over all engines) whose breaker is not closed, with its state."""
        now = self._clock()
        for model, breaker in self._models.items():
            if breaker.opened:
                yield model, "", breaker.state(now)
        for model, engine_id in sorted(self._refusing | {pair for pair, one in self._pairs.items() if one.opened}):
            yield model, engine_id, self.state(model, engine_id)

    def _note_gone(self, served: dict[str, tuple[str, ...]], now: float) -> None:
        """An engine that left may have died of what it was asked: when it is back, it is tried with care, and with ever
        more care the oftener it goes."""
        for engine_id, models in self._served.items():
            if engine_id not in served:
                for model in models:
                    self._pair(model, engine_id).open(now)
        self._served = served

    def _forget(self, served: dict[str, tuple[str, ...]], now: float) -> None:
        """Drop breakers that are closed and clean, and those of engines that have been gone for long."""
        for pair, breaker in list(self._pairs.items()):
            away = pair[1] not in served and now - breaker.until > 2 * self._endpoint_terms.max_open_s
            if away or breaker.forgettable(now):
                del self._pairs[pair]
        for model, breaker in list(self._models.items()):
            if breaker.forgettable(now):
                del self._models[model]
        known = {pair[1] for pair in self._pairs}
        for engine_id in [engine for engine in self._tallies if engine not in served and engine not in known]:
            del self._tallies[engine_id]

    def _record_pair(self, model: str, engine_id: str, now: float, answered: int, failed: int) -> None:
        breaker = self._pairs.get((model, engine_id))
        if breaker is None and not failed:
            return
        breaker = self._pair(model, engine_id)
        was = breaker.state(now)
        breaker.record(now, answered=answered, failed=failed)
        self._tell(model, engine_id, was, breaker.state(now))

    def _record_model(
        self, model: str, now: float, answered: int, failed: int, served: dict[str, tuple[str, ...]]
    ) -> None:
        breaker = self._models.get(model)
        if breaker is None:
            if not failed:
                return
            breaker = self._models[model] = Breaker(terms=self._model_terms, jitter=self._jitter)
        # Failures are quick and answers take their time: one bad engine must not speak for those still at work.
        everywhere = all(
            self.failure_share(model, engine_id) >= self._model_terms.failure_share
            or self.state(model, engine_id) is not BreakerState.CLOSED
            for engine_id, models in served.items()
            if model in models
        )
        was = breaker.state(now)
        breaker.record(now, answered=answered, failed=failed, may_open=everywhere)
        self._tell(model, "", was, breaker.state(now))

    def _pair(self, model: str, engine_id: str) -> Breaker:
        breaker = self._pairs.get((model, engine_id))
        if breaker is None:
            breaker = self._pairs[model, engine_id] = Breaker(terms=self._endpoint_terms, jitter=self._jitter)
        return breaker

    def _tell(self, model: str, engine_id: str, was: BreakerState, now: BreakerState) -> None:
        if now is BreakerState.OPEN and was is not BreakerState.OPEN:
            self.opened[model] += 1
            _log.warning("a breaker opened", extra=_names((model, engine_id)))
        elif now is BreakerState.CLOSED and was is not BreakerState.CLOSED:
            _log.info("a breaker closed", extra=_names((model, engine_id)))


def _names(pair: tuple[str, str]) -> dict[str, str]:
    return {"model": pair[0], "engine_id": pair[1] or "all"}
