"""What follows from results: a winner, a step, a way back. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from enginehouse.router.experiments._arms import Experiment, Rollout, RolloutState
from enginehouse.router.experiments._results import NOTHING, ArmResults
from enginehouse.router.experiments._sequential import Difference, Sample, difference

# A guard is to catch what is plainly worse, and soon.
_GUARD_EFFECT = 0.5
_GUARD_ALPHA = 0.05
# Fewer than this of the old model in a step, and what it did in earlier ones is taken.
_ENOUGH = 20


def compare(experiment: Experiment, results: Mapping[str, ArmResults]) -> dict[str, Difference]:
    """Each other arm's difference from the control in the experiment's metric. All intervals hold together."""
    control, *others = experiment.arms
    base = results.get(control.name, NOTHING).of(experiment.metric)
    alpha = experiment.alpha_bp / 10_000 / len(others)
    return {
        arm.name: difference(results.get(arm.name, NOTHING).of(experiment.metric), base, alpha=alpha) for arm in others
    }


def winner(experiment: Experiment, results: Mapping[str, ArmResults]) -> tuple[str, str] | None:
    """The arm that has won and why, or None for as long as nothing is certain."""
    metric = experiment.metric
    if any(results.get(arm.name, NOTHING).of(metric).n < experiment.min_units for arm in experiment.arms):
        return None
    sign = 1 if metric.more_is_better else -1
    differences = compare(experiment, results)
    better = [name for name, one in differences.items() if one.significant and one.value * sign > 0]
    if better:
        best = max(better, key=lambda name: differences[name].value * sign)
        found = differences[best]
        return best, f"{metric} {found.value:+.4g} against the control (interval {found.low:+.4g} to {found.high:+.4g})"
    if all(difference.significant for difference in differences.values()):
        return experiment.arms[0].name, f"every other arm is worse in {metric}"
    return None


def moved(
    rollout: Rollout, step: Mapping[str, ArmResults], whole: Mapping[str, ArmResults], *, now_ms: int
) -> Rollout | None:
    """The rollout one move on, or None where it stays.

    Args:
        rollout: as it is.
        step: results of the current step, by model and request.
        whole: the same since the rollout began.
        now_ms: milliseconds since 1970 UTC.
    """
    new = step.get(rollout.to_model, NOTHING)
    old = step.get(rollout.from_model, NOTHING)
    if old.requests < _ENOUGH:
        old = whole.get(rollout.from_model, NOTHING)
    broken = broken_guard(rollout, new, old)
    if broken:
        return rolled_back(rollout, broken, now_ms=now_ms)
    if rollout.state is not RolloutState.ROLLING:
        return None
    waited = now_ms - rollout.step_started_at_ms >= rollout.step_seconds * 1000
    if not waited or new.errors.n < rollout.step_requests:
        return None
    # More users must not meet what looks broken already: it waits until that is certain, or no longer looks so.
    if broken_guard(rollout, new, old, certainly=False):
        return None
    return advanced(rollout, f"{new.errors.n} requests at {rollout.percent} % broke no guard", now_ms=now_ms)


def broken_guard(rollout: Rollout, new: ArmResults, old: ArmResults, *, certainly: bool = True) -> str:
    """Which guard the new model breaks, in words; empty for none.

    Args:
        rollout: its guards.
        new: results of the model that is rolled out.
        old: results of the one before it.
        certainly: whether it must be certain, or the means alone tell.
    """
    guards = rollout.guards

    def worse(treated: Sample, control: Sample, allowed: float) -> bool:
        if not certainly:
            return min(treated.n, control.n) > 0 and treated.mean - control.mean > allowed
        return difference(treated, control, alpha=_GUARD_ALPHA, effect=_GUARD_EFFECT).low > allowed

    if guards.error_rate_bp and worse(new.errors, old.errors, guards.error_rate_bp / 10_000):
        return f"{rollout.to_model} fails {new.errors.mean:.1%} of requests, {rollout.from_model} {old.errors.mean:.1%}"
    if guards.latency_percent and worse(new.latency, old.latency, math.log1p(guards.latency_percent / 100)):
        slower = math.expm1(new.latency.mean - old.latency.mean)
        return f"{rollout.to_model} takes {slower:.0%} longer than {rollout.from_model}"
    # Of ratings, more is better.
    if guards.quality_bp and worse(_negated(new.quality), _negated(old.quality), guards.quality_bp / 10_000):
        return f"{rollout.to_model} is rated {new.quality.mean:.2f}, {rollout.from_model} {old.quality.mean:.2f}"
    return ""


def _negated(sample: Sample) -> Sample:
    return dataclasses.replace(sample, mean=-sample.mean)


def advanced(rollout: Rollout, reason: str, *, now_ms: int) -> Rollout:
    """The rollout at its next step, or done after the last."""
    if rollout.step + 1 == len(rollout.steps):
        return dataclasses.replace(rollout, state=RolloutState.DONE, reason=reason, ended_at_ms=now_ms)
    return dataclasses.replace(rollout, step=rollout.step + 1, reason=reason, step_started_at_ms=now_ms)


def rolled_back(rollout: Rollout, reason: str, *, now_ms: int) -> Rollout:
    """The rollout given up: the old model has everything again."""
    return dataclasses.replace(rollout, state=RolloutState.ROLLED_BACK, reason=reason, ended_at_ms=now_ms)
