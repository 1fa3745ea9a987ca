"""Experiments, rollouts and flags, and the arm that a unit falls into."""

from __future__ import annotations

import dataclasses
import enum
import hashlib

# All of the traffic, in the basis points of shares.
TOTAL_BP = 10_000
DEFAULT_STEPS = (10, 25, 50, 75, 100)


class Unit(enum.StrEnum):
    """The unit of assignment: all its requests fall into one arm."""

    USER = "user"
    KEY = "key"
    REQUEST = "request"


class Metric(enum.StrEnum):
    """The metric that decides an experiment."""

    COST = "cost"
    LATENCY = "latency"
    QUALITY = "quality"
    REFUSALS = "refusals"
    ERRORS = "errors"

    @property
    def more_is_better(self) -> bool:
        """True if a higher mean wins."""
        return self is Metric.QUALITY


class ExperimentState(enum.StrEnum):
    """The state of an experiment."""

    RUNNING = "running"
    CONCLUDED = "concluded"
    STOPPED = "stopped"


class RolloutState(enum.StrEnum):
    """The state of a rollout."""

    ROLLING = "rolling"
    PAUSED = "paused"
    DONE = "done"
    ROLLED_BACK = "rolled_back"

    @property
    def unfinished(self) -> bool:
        """True if the rollout may still move."""
        return self in (RolloutState.ROLLING, RolloutState.PAUSED)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A variant. `share_bp` is in basis points; an empty `model` stands for the requested one."""

    name: str
    share_bp: int
    model: str = ""
    system_prompt: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """An experiment; the first arm is the control. Times are milliseconds since 1970 UTC."""

    experiment_id: str
    name: str
    asked_model: str
    tenant_id: str
    unit: Unit
    arms: tuple[Arm, ...]
    metric: Metric
    automatic: bool
    min_units: int
    alpha_bp: int
    state: ExperimentState
    winner: str
    reason: str
    created_at_ms: int
    ended_at_ms: int
    ordinal: int = 0

    @property
    def active(self) -> bool:
        """True if it changes what callers get."""
        return self.state is ExperimentState.RUNNING or bool(self.winner)

    @property
    def chats_only(self) -> bool:
        """True if an arm puts a system message before the conversation."""
        return any(arm.system_prompt for arm in self.arms)

    def arm(self, name: str) -> Arm:
        """Return the arm of that name."""
        return next(arm for arm in self.arms if arm.name == name)

    def arm_of(self, unit: str) -> Arm:
        """Return the arm that the unit falls into: always the same, and independent of other experiments."""
        if self.winner:
            return self.arm(self.winner)
        offset = bucket(self.experiment_id, unit)
        for arm in self.arms:
            offset -= arm.share_bp
            if offset < 0:
                return arm
        return self.arms[-1]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    """The most by which a new model may be worse than the old; 0 disables a guard."""

    error_rate_bp: int = 200
    latency_percent: int = 50
    quality_bp: int = 500


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A rollout at one of its steps. Times are milliseconds since 1970 UTC."""

    rollout_id: str
    asked_model: str
    from_model: str
    to_model: str
    steps: tuple[int, ...]
    step: int
    step_seconds: int
    step_requests: int
    guards: Guards
    state: RolloutState
    reason: str
    created_at_ms: int
    step_started_at_ms: int
    ended_at_ms: int
    ordinal: int = 0

    @property
    def percent(self) -> int:
        """The new model's present share."""
        if self.state is RolloutState.ROLLED_BACK:
            return 0
        return 100 if self.state is RolloutState.DONE else self.steps[self.step]

    def model_of(self, unit: str) -> str:
        """Return the model that the unit gets. A growing share keeps the units that it had."""
        return self.to_model if bucket(self.rollout_id, unit) < self.percent * (TOTAL_BP // 100) else self.from_model


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """A feature flag: on for a share of users, and for named tenants and users."""

    name: str
    description: str
    enabled: bool
    share_bp: int
    tenant_ids: frozenset[str]
    user_ids: frozenset[str]
    updated_at_ms: int

    def on_for(self, *, tenant_id: str, user_id: str, unit: str) -> bool:
        """Return whether the flag is on. Its share is taken over units such as `unit`."""
        if not self.enabled:
            return False
        if tenant_id in self.tenant_ids or (user_id and user_id in self.user_ids):
            return True
        return bucket(f"flag/{self.name}", unit) < self.share_bp


def bucket(salt: str, unit: str) -> int:
    """Return a number from 0 to 9,999 that depends on the two texts alone, in every process and version."""
    digest = hashlib.blake2b(f"{salt}/{unit}".encode(), digest_size=8).digest()
    # 64 bits over 10,000 buckets: the bias of the remainder is too small to measure.
    return int.from_bytes(digest, "big") % TOTAL_BP
