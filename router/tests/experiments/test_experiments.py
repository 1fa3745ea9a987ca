"""Experiments, rollouts and flags as pure parts: who falls where, and what follows from results."""

from __future__ import annotations

import dataclasses
import math
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.router.experiments import Assignment, ExperimentSubject
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
    bucket,
)
from enginehouse.router.experiments._results import ArmResults
from enginehouse.router.experiments._sequential import Sample, difference
from enginehouse.router.experiments._verdicts import find_winner, next_move
from enginehouse.router.request import InferenceRequest, Task


def experiment(**changes: Any) -> Experiment:
    fields: dict[str, Any] = {
        "experiment_id": "exp_1",
        "name": "one",
        "asked_model": "auto",
        "tenant_id": "",
        "unit": Unit.USER,
        "arms": (Arm(name="a", share_bp=2500), Arm(name="b", share_bp=7500, model="large")),
        "metric": Metric.COST,
        "automatic": True,
        "min_units": 20,
        "alpha_bp": 500,
        "state": ExperimentState.RUNNING,
        "winner": "",
        "reason": "",
        "created_at_ms": 0,
        "ended_at_ms": 0,
    }
    return Experiment(**{**fields, **changes})


def rollout(**changes: Any) -> Rollout:
    fields: dict[str, Any] = {
        "rollout_id": "rol_1",
        "asked_model": "writer",
        "from_model": "old",
        "to_model": "new",
        "steps": (10, 50, 100),
        "step": 0,
        "step_seconds": 60,
        "step_requests": 50,
        "guards": Guards(),
        "state": RolloutState.ROLLING,
        "reason": "",
        "created_at_ms": 0,
        "step_started_at_ms": 0,
        "ended_at_ms": 0,
    }
    return Rollout(**{**fields, **changes})


def asked(model: str = "auto", **changes: Any) -> InferenceRequest:
    return InferenceRequest(Task.GENERATE, model=model, input_bytes=100, capabilities=frozenset({"chat"}), **changes)


def person(name: str, *, tenant: str = "t", request: str = "r") -> ExperimentSubject:
    return ExperimentSubject(tenant, "key", name, request)


def everything(_: str) -> bool:
    return True


def assignment(**what: Any) -> Assignment:
    made = Assignment()
    made.replace(**{"experiments": (), "rollouts": (), "flags": (), **what})
    return made


def test_arms_get_their_shares_and_keep_their_units() -> None:
    one = experiment()
    found = Counter(one.arm_of(f"t/user-{number}").name for number in range(20_000))
    # Four standard deviations of a binomial share.
    assert abs(found["a"] / 20_000 - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 20_000)
    assert all(one.arm_of(f"u{number}") == one.arm_of(f"u{number}") for number in range(100))


def test_one_experiments_arms_tell_nothing_about_anothers() -> None:
    first, second = experiment(experiment_id="exp_1"), experiment(experiment_id="exp_2")
    inside = [unit for unit in map(str, range(20_000)) if first.arm_of(unit).name == "a"]
    share = sum(second.arm_of(unit).name == "a" for unit in inside) / len(inside)
    assert abs(share - 0.25) < 4 * math.sqrt(0.25 * 0.75 / len(inside))


@given(st.text(), st.integers(0, 2), st.integers(0, 2))
def test_a_later_step_keeps_the_users_of_an_earlier_one(unit: str, first: int, later: int) -> None:
    low, high = sorted((first, later))
    if rollout(step=low).model_of(unit) == "new":
        assert rollout(step=high).model_of(unit) == "new"
    assert rollout(step=2).model_of(unit) == "new"
    assert rollout(step=2, state=RolloutState.ROLLED_BACK).model_of(unit) == "old"


def test_a_bucket_depends_on_nothing_but_its_words() -> None:
    # Written down once: a change would move every user of every experiment that runs.
    assert [bucket("exp_1", f"user-{number}") for number in range(4)] == [4613, 9252, 9740, 6487]


def test_an_experiment_steers_only_its_own() -> None:
    prompts = (Arm(name="a", share_bp=5000), Arm(name="b", share_bp=5000, system_prompt="Be brief."))
    lives = assignment(experiments=[experiment(arms=prompts, tenant_id="t")])
    found = [lives.assign(asked(), person(f"u{number}"), may_use=everything) for number in range(50)]
    assigned = [assignment for assignment in found if assignment is not None]
    assert len(assigned) == 50
    told = [assignment for assignment in assigned if assignment.system_prompt]
    assert 10 < len(told) < 40
    # The message is read by the model, so it counts in what the request may cost.
    assert all(assignment.request.input_bytes >= 100 + len("Be brief.") for assignment in told)
    assert all(assignment.request.input_bytes == 100 for assignment in assigned if not assignment.system_prompt)
    for other in (
        lives.assign(asked(), person("u", tenant="other"), may_use=everything),
        lives.assign(asked("small"), person("u"), may_use=everything),
        lives.assign(dataclasses.replace(asked(), capabilities=frozenset()), person("u"), may_use=everything),
    ):
        assert other is None


def test_a_caller_who_may_not_use_an_arm_is_left_out() -> None:
    lives = assignment(experiments=[experiment()])
    assert lives.assign(asked(), person("u"), may_use=lambda model: model != "large") is None


def test_requests_units_spread_and_persons_do_not() -> None:
    by_request = assignment(experiments=[experiment(unit=Unit.REQUEST)])
    by_person = assignment(experiments=[experiment()])

    def arms(lives: Assignment) -> set[str]:
        assigned = [lives.assign(asked(), person("u", request=f"r{n}"), may_use=everything) for n in range(60)]
        return {assignment.exposures[0].arm for assignment in assigned if assignment is not None}

    assert arms(by_request) == {"a", "b"}
    assert len(arms(by_person)) == 1


def test_a_winner_gets_everybody_and_is_no_longer_logged() -> None:
    ended = experiment(state=ExperimentState.CONCLUDED, winner="b")
    assigned = assignment(experiments=[ended]).assign(asked(), person("u"), may_use=everything)
    assert assigned is not None
    assert (assigned.request.model, assigned.exposures) == ("large", [])
    nobody = experiment(state=ExperimentState.STOPPED)
    assert assignment(experiments=[nobody]).assign(asked(), person("u"), may_use=everything) is None


def test_a_rollout_takes_what_an_experiment_chose() -> None:
    arms = (Arm(name="a", share_bp=1, model="auto"), Arm(name="b", share_bp=9999, model="writer"))
    both = assignment(experiments=[experiment(arms=arms)], rollouts=[rollout(step=2)])
    assigned = both.assign(asked(), person("u"), may_use=everything)
    assert assigned is not None
    assert assigned.request.model == "new"
    assert [exposure.subject_id for exposure in assigned.exposures] == ["exp_1", "rol_1"]


def test_flags_by_share_tenant_and_user() -> None:
    def flag(name: str, **changes: Any) -> Flag:
        fields: dict[str, Any] = {
            "description": "", "enabled": True, "share_bp": 0, "tenant_ids": frozenset(), "user_ids": frozenset(),
            "updated_at_ms": 0,
        }  # fmt: skip
        return Flag(name=name, **{**fields, **changes})

    lives = assignment(
        flags=[
            flag("all", share_bp=10_000),
            flag("off", share_bp=10_000, enabled=False),
            flag("theirs", tenant_ids=frozenset({"t"})),
            flag("hers", user_ids=frozenset({"ana"})),
            flag("half", share_bp=5000),
        ]
    )
    assert set(lives.flags(person("ana"))) - {"half"} == {"all", "theirs", "hers"}
    assert lives.flags(person("bob", tenant="x"), ["all", "hers", "nothing"]) == ["all"]
    share = sum("half" in lives.flags(person(f"u{number}")) for number in range(2000)) / 2000
    assert abs(share - 0.5) < 0.06


def sample(values: list[float]) -> Sample:
    mean = sum(values) / len(values)
    return Sample(len(values), mean, sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def test_looking_at_every_step_finds_no_difference_where_none_is() -> None:
    """A plain interval that is looked at a hundred times excludes the truth far more often than one time in twenty."""
    chance = random.Random(7)
    plain = sequential = 0
    rounds = 200
    for _ in range(rounds):
        left: list[float] = []
        right: list[float] = []
        peeked = fooled = False
        for _ in range(100):
            left += [chance.expovariate(1) for _ in range(10)]
            right += [chance.expovariate(1) for _ in range(10)]
            one, other = sample(left), sample(right)
            half = 1.96 * math.sqrt(one.variance / one.n + other.variance / other.n)
            fooled = fooled or abs(one.mean - other.mean) > half
            # As the controller does: not before both have twenty.
            peeked = peeked or (len(left) >= 20 and difference(one, other, alpha=0.05).significant)
        plain += fooled
        sequential += peeked
    assert plain / rounds > 0.2
    assert sequential / rounds <= 0.05


def test_a_difference_that_is_there_is_found() -> None:
    chance = random.Random(11)
    cheap = sample([chance.gauss(100, 20) for _ in range(400)])
    dear = sample([chance.gauss(110, 20) for _ in range(400)])
    found = difference(dear, cheap, alpha=0.05)
    assert found.significant
    assert found.low < 10 < found.high
    assert not difference(dear, Sample(1, 0, 0), alpha=0.05).significant
    # Nobody failed among few: that is no proof that nobody will.
    assert not difference(Sample(3, 1, 0), Sample(3, 0, 0), alpha=0.05).significant
    assert difference(Sample(30, 1, 0), Sample(30, 0, 0), alpha=0.05).significant


def arm(**samples: Sample) -> ArmResults:
    return ArmResults(requests=1000, units=1000, **samples)


@pytest.mark.parametrize(
    ("metric", "field", "a", "b", "expected"),
    [
        (Metric.COST, "cost", 100.0, 50.0, "b"),
        (Metric.COST, "cost", 50.0, 100.0, "a"),
        (Metric.QUALITY, "quality", 0.5, 0.9, "b"),
        (Metric.QUALITY, "quality", 0.9, 0.5, "a"),
        (Metric.ERRORS, "errors", 0.2, 0.6, "a"),
        (Metric.COST, "cost", 100.0, 100.01, None),
    ],
)
def test_a_winner_is_the_better_arm_of_the_metric(
    metric: Metric, field: str, a: float, b: float, expected: str | None
) -> None:
    results = {"a": arm(**{field: Sample(1000, a, 0.1)}), "b": arm(**{field: Sample(1000, b, 0.1)})}
    found = find_winner(experiment(metric=metric), results)
    assert (found[0] if found else None) == expected
    # However plain it is: not before every arm has its units.
    assert find_winner(experiment(metric=metric, min_units=1001), results) is None


def test_a_rollout_moves_when_time_and_requests_allow() -> None:
    good = arm(errors=Sample(60, 0.0, 0.0), latency=Sample(60, 5.0, 0.01))
    results = {"old": good, "new": good}
    one = rollout()
    assert next_move(one, results, results, now_ms=59_000) is None
    few = {"old": good, "new": arm(errors=Sample(49, 0.0, 0.0))}
    assert next_move(one, few, few, now_ms=60_000) is None
    second = next_move(one, results, results, now_ms=60_000)
    assert second is not None
    assert (second.percent, second.step_started_at_ms) == (50, 60_000)
    last = next_move(second, results, results, now_ms=120_000)
    assert last is not None
    done = next_move(last, results, results, now_ms=180_000)
    assert done is not None
    assert (done.state, done.percent) == (RolloutState.DONE, 100)
    paused = dataclasses.replace(one, state=RolloutState.PAUSED)
    assert next_move(paused, results, results, now_ms=10**9) is None


@pytest.mark.parametrize(
    ("field", "old", "new", "word"),
    [
        ("errors", Sample(100, 0.0, 0.0), Sample(40, 0.5, 0.25), "fails"),
        ("latency", Sample(100, 5.0, 0.1), Sample(40, 6.5, 0.1), "longer"),
        ("quality", Sample(100, 0.9, 0.02), Sample(40, 0.3, 0.02), "rated"),
    ],
)
def test_a_rollout_goes_back_when_the_new_model_is_worse(field: str, old: Sample, new: Sample, word: str) -> None:
    results = {"old": arm(**{field: old}), "new": arm(**{field: new})}
    for state in (RolloutState.ROLLING, RolloutState.PAUSED):
        back = next_move(rollout(state=state, step=1), results, results, now_ms=1)
        assert back is not None
        assert (back.state, back.percent) == (RolloutState.ROLLED_BACK, 0)
        assert word in back.reason
    # With everything moved, the old model's earlier requests are what the new one is held against.
    alone = {"new": arm(**{field: new})}
    back = next_move(rollout(step=2), alone, results, now_ms=1)
    assert back is not None
    assert back.state is RolloutState.ROLLED_BACK
    # Too few to be certain of: it does not go back, and goes no further either.
    few = {name: arm(**{field: dataclasses.replace(numbers, n=2)}) for name, numbers in (("old", old), ("new", new))}
    assert next_move(rollout(step_requests=0), few, few, now_ms=10**9) is None
    # A guard left out guards nothing.
    guards = Guards(error_rate_bp=0, latency_percent=0, quality_bp=0)
    assert next_move(rollout(guards=guards), results, results, now_ms=1) is None
