"""Verdicts on results: a winner, a step forward, a rollback. Pure functions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from enginehouse.router.experiments._arms import Experiment, Rollout, RolloutState
from enginehouse.router.experiments._results import NO_RESULTS, ArmResults
from enginehouse.router.experiments._sequential import Difference, Sample, difference

# A guard must catch large differences, and soon.
_GUARD_EFFECT = 0.5
_GUARD_ALPHA = 0.05
# With fewer requests of the old model in a step, its requests in earlier steps count too.
_MIN_REQUESTS = 20


def compare(experiment: Experiment, results: Mapping[str, ArmResults]) -> dict[str, Difference]:
    """Return each arm's difference from the control in the experiment's metric. All intervals hold together."""
    control, *others = experiment.arms
    base = results.get(control.name, NO_RESULTS).of(experiment.metric)
    alpha = experiment.alpha_bp / 10_000 / len(others)
    return {
        arm.name: difference(results.get(arm.name, NO_RESULTS).of(experiment.metric), base, alpha=alpha)
        for arm in others
    }


def find_winner(experiment: Experiment, results: Mapping[str, ArmResults]) -> tuple[str, str] | None:
    """Return the arm that has won and the reason, or None as long as nothing is certain."""
    metric = experiment.metric
    if any(results.get(arm.name, NO_RESULTS).of(metric).n < experiment.min_units for arm in experiment.arms):
        return None
    sign = 1 if metric.more_is_better else -1
    differences = compare(experiment, results)
    better = [name for name, found in differences.items() if found.significant and found.value * sign > 0]
    if better:
        best = max(better, key=lambda name: differences[name].value * sign)
        found = differences[best]
        return best, f"{metric} {found.value:+.4g} against the control (interval {found.low:+.4g} to {found.high:+.4g})"
    if all(found.significant for found in differences.values()):
        return experiment.arms[0].name, f"every other arm is worse in {metric}"
    return None


def next_move(
    rollout: Rollout, step: Mapping[str, ArmResults], whole: Mapping[str, ArmResults], *, now_ms: int
) -> Rollout | None:
    """Return the rollout after its next move, or None if it stays.

    Args:
        rollout: the rollout now.
        step: results of the current step, by model and request.
        whole: the same since the rollout began.
        now_ms: milliseconds since 1970 UTC.
    """
    new = step.get(rollout.to_model, NO_RESULTS)
    old = step.get(rollout.from_model, NO_RESULTS)
    if old.requests < _MIN_REQUESTS:
        old = whole.get(rollout.from_model, NO_RESULTS)
    broken = broken_guard(rollout, new, old)
    if broken:
        return roll_back(rollout, broken, now_ms=now_ms)
    if rollout.state is not RolloutState.ROLLING:
        return None
    waited = now_ms - rollout.step_started_at_ms >= rollout.step_seconds * 1000
    if not waited or new.errors.n < rollout.step_requests:
        return None
    # No more users get a model that already looks broken. Wait until that is certain, or no longer looks so.
    if broken_guard(rollout, new, old, certainly=False):
        return None
    return advance(rollout, f"{new.errors.n} requests at {rollout.percent} % broke no guard", now_ms=now_ms)


def broken_guard(rollout: Rollout, new: ArmResults, old: ArmResults, *, certainly: bool = True) -> str:
    """Return in words the guard that the new model breaks; empty for none.

    Args:
        rollout: the rollout with its guards.
        new: results of the model that is rolled out.
        old: results of the model that it replaces.
        certainly: True if it must be certain; otherwise the means alone count.
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
    # For ratings more is better.
    if guards.quality_bp and worse(_negated(new.quality), _negated(old.quality), guards.quality_bp / 10_000):
        return f"{rollout.to_model} is rated {new.quality.mean:.2f}, {rollout.from_model} {old.quality.mean:.2f}"
    return ""


def _negated(sample: Sample) -> Sample:
    return dataclasses.replace(sample, mean=-sample.mean)


def advance(rollout: Rollout, reason: str, *, now_ms: int) -> Rollout:
    """Return the rollout at its next step, or done after the last."""
    if rollout.step + 1 == len(rollout.steps):
        return dataclasses.replace(rollout, state=RolloutState.DONE, reason=reason, ended_at_ms=now_ms)
    return dataclasses.replace(rollout, step=rollout.step + 1, reason=reason, step_started_at_ms=now_ms)


def roll_back(rollout: Rollout, reason: str, *, now_ms: int) -> Rollout:
    """Return the rollout rolled back: the old model gets all requests again."""
    return dataclasses.replace(rollout, state=RolloutState.ROLLED_BACK, reason=reason, ended_at_ms=now_ms)
