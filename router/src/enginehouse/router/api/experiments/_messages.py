"""The contract's messages from and to what the router holds, checked on the way in."""

from __future__ import annotations

import math
import re

from enginehouse.api.router.v1 import experiments_pb2 as epb
from enginehouse.api.router.v1 import flags_pb2 as fpb
from enginehouse.api.router.v1 import rollouts_pb2 as rpb
from enginehouse.kit.catalog import Catalog
from enginehouse.kit.validation import Checks, shorten
from enginehouse.router.experiments._arms import (
    DEFAULT_STEPS,
    TOTAL_BP,
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
from enginehouse.router.experiments._results import ArmResults
from enginehouse.router.experiments._sequential import Difference, Sample

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,62}[a-z0-9])?")
_NAME_WORDS = "1-64 characters of [a-z0-9.-], with a letter or digit at either end"
_MAX_PROMPT = 2048
_MAX_IDS = 1000
_DAY_S = 86_400

_UNITS = {
    epb.EXPERIMENT_UNIT_UNSPECIFIED: Unit.USER,
    epb.EXPERIMENT_UNIT_USER: Unit.USER,
    epb.EXPERIMENT_UNIT_KEY: Unit.KEY,
    epb.EXPERIMENT_UNIT_REQUEST: Unit.REQUEST,
}
_METRICS = {
    epb.EXPERIMENT_METRIC_UNSPECIFIED: Metric.COST,
    epb.EXPERIMENT_METRIC_COST: Metric.COST,
    epb.EXPERIMENT_METRIC_LATENCY: Metric.LATENCY,
    epb.EXPERIMENT_METRIC_QUALITY: Metric.QUALITY,
    epb.EXPERIMENT_METRIC_REFUSALS: Metric.REFUSALS,
    epb.EXPERIMENT_METRIC_ERRORS: Metric.ERRORS,
}
_UNIT_NUMBERS = {unit: number for number, unit in _UNITS.items()}
_METRIC_NUMBERS = {metric: number for number, metric in _METRICS.items()}
_STATE_NUMBERS = {
    ExperimentState.RUNNING: epb.EXPERIMENT_STATE_RUNNING,
    ExperimentState.CONCLUDED: epb.EXPERIMENT_STATE_CONCLUDED,
    ExperimentState.STOPPED: epb.EXPERIMENT_STATE_STOPPED,
}
_ROLLOUT_NUMBERS = {
    RolloutState.ROLLING: rpb.ROLLOUT_STATE_ROLLING,
    RolloutState.PAUSED: rpb.ROLLOUT_STATE_PAUSED,
    RolloutState.DONE: rpb.ROLLOUT_STATE_DONE,
    RolloutState.ROLLED_BACK: rpb.ROLLOUT_STATE_ROLLED_BACK,
}


def read_experiment(given: epb.Experiment, *, catalog: Catalog, experiment_id: str, now_ms: int) -> Experiment:
    """The experiment to start. Raises INVALID_REQUEST naming every field that is wrong."""
    checks = Checks()
    checks.matches("experiment.name", given.name, _NAME, _NAME_WORDS)
    checks.matches("experiment.asked_model", given.asked_model, _NAME, _NAME_WORDS)
    _not_an_alias(checks, "experiment.asked_model", given.asked_model, catalog)
    checks.require(given.unit in _UNITS, "experiment.unit", f"{given.unit} is not a unit")
    checks.require(given.metric in _METRICS, "experiment.metric", f"{given.metric} is not a metric")
    checks.size("experiment.arms", given.arms, 2, 8, of="arms")
    names = set()
    for place, arm in enumerate(given.arms):
        field = f"experiment.arms[{place}]"
        checks.matches(f"{field}.name", arm.name, _NAME, _NAME_WORDS)
        checks.require(arm.name not in names, f"{field}.name", f"{shorten(arm.name)} is another arm's")
        names.add(arm.name)
        checks.in_range(f"{field}.share_bp", arm.share_bp, 1, TOTAL_BP)
        if arm.model != "auto":
            _model(checks, f"{field}.model", arm.model, catalog, required=False)
        if not arm.model and given.asked_model != "auto":
            _model(checks, f"{field}.model", given.asked_model, catalog, required=True)
        checks.size(f"{field}.system_prompt", arm.system_prompt.encode(), 0, _MAX_PROMPT, of="bytes")
    total = sum(arm.share_bp for arm in given.arms)
    checks.require(total == TOTAL_BP, "experiment.arms", f"their shares sum to {total}; they must sum to {TOTAL_BP}")
    if given.min_units:
        checks.in_range("experiment.min_units", given.min_units, 20, 10_000_000)
    if given.alpha_bp:
        checks.in_range("experiment.alpha_bp", given.alpha_bp, 1, 2000)
    checks.done()
    return Experiment(
        experiment_id=experiment_id,
        name=given.name,
        asked_model=given.asked_model,
        tenant_id=given.tenant_id,
        unit=_UNITS[given.unit],
        arms=tuple(
            Arm(name=arm.name, share_bp=arm.share_bp, model=arm.model, system_prompt=arm.system_prompt)
            for arm in given.arms
        ),
        metric=_METRICS[given.metric],
        automatic=given.automatic,
        min_units=given.min_units or 100,
        alpha_bp=given.alpha_bp or 500,
        state=ExperimentState.RUNNING,
        winner="",
        reason="",
        created_at_ms=now_ms,
        ended_at_ms=0,
    )


def experiment_message(one: Experiment) -> epb.Experiment:
    """An experiment as the contract describes it."""
    return epb.Experiment(
        experiment_id=one.experiment_id,
        name=one.name,
        asked_model=one.asked_model,
        tenant_id=one.tenant_id,
        unit=_UNIT_NUMBERS[one.unit],
        arms=[
            epb.Arm(name=arm.name, share_bp=arm.share_bp, model=arm.model, system_prompt=arm.system_prompt)
            for arm in one.arms
        ],
        metric=_METRIC_NUMBERS[one.metric],
        automatic=one.automatic,
        min_units=one.min_units,
        alpha_bp=one.alpha_bp,
        state=_STATE_NUMBERS[one.state],
        winner=one.winner,
        reason=one.reason,
        created_at_ms=one.created_at_ms,
        ended_at_ms=one.ended_at_ms,
    )


def result_message(name: str, result: ArmResults, difference: Difference | None) -> epb.ArmResult:
    """An arm's results as the contract describes them."""
    message = epb.ArmResult(
        arm=name,
        requests=result.requests,
        units=result.units,
        cost_nanos=_estimate(result.cost),
        latency_ms=_estimate(result.latency_ms),
        quality=_estimate(result.quality),
        refusals=_estimate(result.refusals),
        errors=_estimate(result.errors),
    )
    if difference is not None:
        message.difference.CopyFrom(
            epb.Estimate(mean=difference.value, low=difference.low, high=difference.high, units=result.units)
        )
        message.significant = difference.significant
    return message


def read_rollout(given: rpb.Rollout, *, catalog: Catalog, rollout_id: str, now_ms: int) -> Rollout:
    """The rollout to start. Raises INVALID_REQUEST naming every field that is wrong."""
    checks = Checks()
    checks.matches("rollout.asked_model", given.asked_model, _NAME, _NAME_WORDS)
    checks.require(
        given.asked_model != "auto", "rollout.asked_model", "'auto' is the policy's; roll out a model's name"
    )
    _not_an_alias(checks, "rollout.asked_model", given.asked_model, catalog)
    _model(checks, "rollout.from_model", given.from_model, catalog, required=True)
    _model(checks, "rollout.to_model", given.to_model, catalog, required=True)
    checks.require(given.from_model != given.to_model, "rollout.to_model", "must not be from_model")
    steps = tuple(given.steps) or DEFAULT_STEPS
    rising = all(low < high for low, high in zip((0, *steps), steps, strict=False))
    checks.require(
        rising and steps[-1] == 100 and len(steps) <= 100,
        "rollout.steps",
        f"{list(steps)[:20]} must rise from above 0 to 100, the last",
    )
    checks.in_range("rollout.step_seconds", given.step_seconds, 0, 90 * _DAY_S)
    checks.in_range("rollout.step_requests", given.step_requests, 0, 10_000_000)
    guards = given.guards
    checks.in_range("rollout.guards.error_rate_bp", guards.error_rate_bp, 0, TOTAL_BP)
    checks.in_range("rollout.guards.latency_percent", guards.latency_percent, 0, 10_000)
    checks.in_range("rollout.guards.quality_bp", guards.quality_bp, 0, TOTAL_BP)
    checks.done()
    given_guards = guards.error_rate_bp or guards.latency_percent or guards.quality_bp
    return Rollout(
        rollout_id=rollout_id,
        asked_model=given.asked_model,
        from_model=given.from_model,
        to_model=given.to_model,
        steps=steps,
        step=0,
        step_seconds=given.step_seconds or 600,
        step_requests=given.step_requests or 100,
        guards=Guards(
            error_rate_bp=guards.error_rate_bp, latency_percent=guards.latency_percent, quality_bp=guards.quality_bp
        )
        if given_guards
        else Guards(),
        state=RolloutState.ROLLING,
        reason="started",
        created_at_ms=now_ms,
        step_started_at_ms=now_ms,
        ended_at_ms=0,
    )


def rollout_message(one: Rollout) -> rpb.Rollout:
    """A rollout as the contract describes it."""
    return rpb.Rollout(
        rollout_id=one.rollout_id,
        asked_model=one.asked_model,
        from_model=one.from_model,
        to_model=one.to_model,
        steps=one.steps,
        step_seconds=one.step_seconds,
        step_requests=one.step_requests,
        guards=rpb.RolloutGuards(
            error_rate_bp=one.guards.error_rate_bp,
            latency_percent=one.guards.latency_percent,
            quality_bp=one.guards.quality_bp,
        ),
        state=_ROLLOUT_NUMBERS[one.state],
        percent=one.percent,
        reason=one.reason,
        created_at_ms=one.created_at_ms,
        step_started_at_ms=one.step_started_at_ms,
        ended_at_ms=one.ended_at_ms,
    )


def rollout_result(model: str, result: ArmResults) -> rpb.RolloutResult:
    """A model's results, as the contract describes them."""
    return rpb.RolloutResult(
        model=model,
        requests=result.errors.n,
        error_rate=result.errors.mean,
        latency_ms=math.exp(result.latency.mean) if result.latency.n else 0,
        quality=result.quality.mean,
        rated=result.quality.n,
    )


def read_flag(given: fpb.Flag, *, now_ms: int) -> Flag:
    """The flag to set. Raises INVALID_REQUEST naming every field that is wrong."""
    checks = Checks()
    checks.matches("flag.name", given.name, _NAME, _NAME_WORDS)
    checks.size("flag.description", given.description, 0, 256, of="characters")
    checks.in_range("flag.share_bp", given.share_bp, 0, TOTAL_BP)
    checks.size("flag.tenant_ids", given.tenant_ids, 0, _MAX_IDS)
    checks.size("flag.user_ids", given.user_ids, 0, _MAX_IDS)
    checks.done()
    return Flag(
        name=given.name,
        description=given.description,
        enabled=given.enabled,
        share_bp=given.share_bp,
        tenant_ids=frozenset(given.tenant_ids),
        user_ids=frozenset(given.user_ids),
        updated_at_ms=now_ms,
    )


def flag_message(one: Flag) -> fpb.Flag:
    """A flag as the contract describes it."""
    return fpb.Flag(
        name=one.name,
        description=one.description,
        enabled=one.enabled,
        share_bp=one.share_bp,
        tenant_ids=sorted(one.tenant_ids),
        user_ids=sorted(one.user_ids),
        updated_at_ms=one.updated_at_ms,
    )


def _model(checks: Checks, field: str, name: str, catalog: Catalog, *, required: bool) -> None:
    if (name or required) and catalog.get(name) is None:
        checks.violate(field, catalog.absence(name))


def _not_an_alias(checks: Checks, field: str, name: str, catalog: Catalog) -> None:
    # An alias is followed first, so that requests would never get here by it.
    if name in catalog.aliases:
        checks.violate(field, catalog.absence(name))


def _estimate(sample: Sample) -> epb.Estimate:
    low, high = sample.interval()
    return epb.Estimate(mean=sample.mean, low=low, high=high, units=sample.n)
