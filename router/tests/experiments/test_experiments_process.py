"""Experiments, rollouts and flags over real routers and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest, OutputFormat
from enginehouse.api.router.v1 import (
    experiments_pb2,
    flags_pb2,
    rollouts_pb2,
    usage_pb2,
)
from enginehouse.kit.errors import Reason
from enginehouse.kit.grants import peek
from router.tests.harness.admin_calls import call, refusal_of
from router.tests.harness.engine_reports import EngineReports
from router.tests.harness.postgres import PostgresCluster
from router.tests.harness.registry import RegistryServer
from router.tests.harness.router_process import RouterProcess, running_pair
from router.tests.harness.waiting import wait_until

GENERATE = "/enginehouse.api.inference.v1.GenerationService/Generate"


async def started(router: RouterProcess, **changes: Any) -> Any:
    fields: dict[str, Any] = {
        "name": "sizes",
        "asked_model": "auto",
        "metric": experiments_pb2.EXPERIMENT_METRIC_COST,
        "min_units": 20,
        "automatic": True,
        "arms": [
            experiments_pb2.Arm(name="cheap", share_bp=5000, model="small"),
            experiments_pb2.Arm(name="dear", share_bp=5000, model="large"),
        ],
    }
    request = experiments_pb2.CreateExperimentRequest(experiment=experiments_pb2.Experiment(**{**fields, **changes}))
    return (await call(router, router.key, "ExperimentService/CreateExperiment", request)).experiment


@pytest.fixture(scope="module")
def shared_pair_processes(
    postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory, shared_registry: RegistryServer
) -> Iterator[tuple[RouterProcess, RouterProcess]]:
    """Two routers of these tests alone: the winner of an experiment stays in force."""
    uri = asyncio.run(postgres.create_database())
    with running_pair(tmp_path_factory.mktemp("pair"), database_uri=uri, gateway_port=shared_registry.port) as pair:
        yield pair


@pytest.fixture
async def routers(
    shared_pair: tuple[RouterProcess, RouterProcess], registry: RegistryServer
) -> AsyncIterator[tuple[RouterProcess, RouterProcess]]:
    """Two routers on which no experiment runs."""
    registry.put("engine-1", models=["small", "large"])
    yield shared_pair
    router = shared_pair[0]
    listed = await call(
        router, router.key, "ExperimentService/ListExperiments", experiments_pb2.ListExperimentsRequest()
    )
    for experiment in listed.experiments:
        if experiment.state == experiments_pb2.EXPERIMENT_STATE_RUNNING:
            stop = experiments_pb2.StopExperimentRequest(experiment_id=experiment.experiment_id)
            await call(router, router.key, "ExperimentService/StopExperiment", stop)


@pytest.fixture
def router(routers: tuple[RouterProcess, RouterProcess]) -> RouterProcess:
    return routers[0]


async def test_an_experiment_assigns_measures_and_names_its_winner(
    routers: tuple[RouterProcess, RouterProcess],
) -> None:
    router, other = routers
    made = await started(router)

    async def models_at(place: RouterProcess) -> list[str]:
        found = []
        for number in range(12):
            response = await place.generate(router.key, model="auto", headers={"x_enginehouse_user_id": f"u{number}"})
            found.append(response.headers["x-enginehouse-model"])
        return found

    async def assigned() -> bool:
        return "large" in await models_at(other) and "large" in await models_at(router)

    # Once both have heard of it, both put each user into the same arm.
    await wait_until(assigned, True)
    assert await models_at(other) == await models_at(router)
    engine = EngineReports(router)
    served: dict[str, int] = {"small": 0, "large": 0}
    for number in range(60):
        at = other if number % 2 else router
        response = await at.generate(router.key, model="auto", headers={"x_enginehouse_user_id": f"user-{number}"})
        model = response.headers["x-enginehouse-model"]
        served[model] += 1
        await engine.send(engine.record(response.headers["x-enginehouse-grant"], output=10 + number % 3, model=model))
    assert min(served.values()) > 12
    get = experiments_pb2.GetExperimentRequest(experiment_id=made.experiment_id)

    async def state() -> int:
        return (await call(other, other.key, "ExperimentService/GetExperiment", get)).experiment.state

    await wait_until(state, experiments_pb2.EXPERIMENT_STATE_CONCLUDED, within_s=60)
    found = await call(router, router.key, "ExperimentService/GetExperiment", get)
    assert (found.experiment.winner, found.experiment.ended_at_ms > 0) == ("cheap", True)
    assert "every other arm is worse in cost" in found.experiment.reason
    cheap, dear = found.results
    assert cheap.cost_nanos.units >= 20
    assert 9 * 200 < cheap.cost_nanos.mean < 13 * 200
    assert dear.cost_nanos.mean > 9 * cheap.cost_nanos.mean
    assert dear.significant
    assert dear.difference.low > 0
    assert not cheap.HasField("difference")

    # From now on everybody gets the winner, at every replica.
    async def everybody() -> set[str]:
        return set(await models_at(other))

    await wait_until(everybody, {"small"})
    await engine.close()


async def test_a_prompt_variant_travels_in_the_grant_and_refusals_are_counted(router: RouterProcess) -> None:
    made = await started(
        router,
        asked_model="small",
        automatic=False,
        unit=experiments_pb2.EXPERIMENT_UNIT_REQUEST,
        metric=experiments_pb2.EXPERIMENT_METRIC_REFUSALS,
        arms=[
            experiments_pb2.Arm(name="plain", share_bp=1),
            experiments_pb2.Arm(name="brief", share_bp=9999, system_prompt="Answer in one sentence."),
        ],
    )

    async def told() -> str:
        response = await router.generate(router.key)
        return peek(response.headers["x-enginehouse-grant"]).system_prompt

    await wait_until(told, "Answer in one sentence.")
    # A prompt to continue has no place for a system message.
    continued = await router.check(GENERATE, GenerateRequest(model="small", prompt="Once"), router.key)
    assert peek(continued.headers["x-enginehouse-grant"]).system_prompt == ""
    # `small` has no grammars, so this one is refused, in its arm.
    refusal = await router.generate(router.key, format=OutputFormat(grammar='root ::= "a"'))
    assert refusal.status_code != 200
    get = experiments_pb2.GetExperimentRequest(experiment_id=made.experiment_id)

    async def refusals() -> int:
        found = await call(router, router.key, "ExperimentService/GetExperiment", get)
        brief = found.results[1]
        return round(brief.refusals.mean * brief.requests)

    await wait_until(refusals, 1)
    stop = experiments_pb2.StopExperimentRequest(experiment_id=made.experiment_id, winner="nobody")
    error = await refusal_of(router, router.key, "ExperimentService/StopExperiment", stop)
    assert "plain, brief" in error.message
    stop.winner = ""
    ended = await call(router, router.key, "ExperimentService/StopExperiment", stop)
    assert ended.experiment.state == experiments_pb2.EXPERIMENT_STATE_STOPPED
    assert (
        await refusal_of(router, router.key, "ExperimentService/StopExperiment", stop)
    ).reason is Reason.FAILED_PRECONDITION
    await wait_until(told, "")


async def test_a_rollout_moves_by_steps_and_back_on_errors(router: RouterProcess) -> None:
    create = rollouts_pb2.CreateRolloutRequest(
        rollout=rollouts_pb2.Rollout(
            asked_model="writer",
            from_model="small",
            to_model="large",
            steps=[50, 100],
            step_seconds=1,
            step_requests=15,
        )
    )
    made = (await call(router, router.key, "RolloutService/CreateRollout", create)).rollout
    assert (made.percent, made.guards.error_rate_bp) == (50, 200)
    error = await refusal_of(router, router.key, "RolloutService/CreateRollout", create)
    assert made.rollout_id in error.message

    get = rollouts_pb2.GetRolloutRequest(rollout_id=made.rollout_id)
    engine = EngineReports(router)
    numbers = iter(range(10**6))

    async def serve(outcome_of_large: int) -> tuple[int, int]:
        """Serve fewer requests of new users than a step asks for, and return where the rollout stands."""
        for number in (next(numbers) for _ in range(6)):
            response = await router.generate(
                router.key, model="writer", headers={"x_enginehouse_user_id": f"user-{number}"}
            )
            assert response.status_code == 200, response.headers.get("grpc-message")
            model = response.headers["x-enginehouse-model"]
            outcome = outcome_of_large if model == "large" else usage_pb2.OUTCOME_COMPLETED
            record = engine.record(response.headers["x-enginehouse-grant"], output=3, model=model, outcome=outcome)
            await engine.send(record)
        found = (await call(router, router.key, "RolloutService/GetRollout", get)).rollout
        return found.state, found.percent

    async def well() -> tuple[int, int]:
        return await serve(usage_pb2.OUTCOME_COMPLETED)

    async def badly() -> tuple[int, int]:
        return await serve(usage_pb2.OUTCOME_FAILED)

    await wait_until(well, (rollouts_pb2.ROLLOUT_STATE_ROLLING, 100), within_s=90)
    await wait_until(badly, (rollouts_pb2.ROLLOUT_STATE_ROLLED_BACK, 0), within_s=90)
    found = await call(router, router.key, "RolloutService/GetRollout", get)
    assert "fails" in found.rollout.reason
    old, new = found.results
    assert (old.model, new.model) == ("small", "large")
    assert new.error_rate > old.error_rate == 0

    async def models() -> set[str]:
        answers = [await router.generate(router.key, model="writer") for _ in range(3)]
        return {answer.headers["x-enginehouse-model"] for answer in answers}

    await wait_until(models, {"small"})
    change = rollouts_pb2.ChangeRolloutRequest(rollout_id=made.rollout_id, action=rollouts_pb2.ROLLOUT_ACTION_ADVANCE)
    assert "rolled_back" in (await refusal_of(router, router.key, "RolloutService/ChangeRollout", change)).message
    await engine.close()


async def test_a_rollout_by_hand(shared_router: RouterProcess) -> None:
    rollout = rollouts_pb2.Rollout(asked_model="by-hand", from_model="small", to_model="large")
    made = (
        await call(
            shared_router,
            shared_router.key,
            "RolloutService/CreateRollout",
            rollouts_pb2.CreateRolloutRequest(rollout=rollout),
        )
    ).rollout
    assert (list(made.steps), made.step_seconds, made.step_requests) == ([10, 25, 50, 75, 100], 600, 100)

    async def change(action: int) -> tuple[int, int]:
        request = rollouts_pb2.ChangeRolloutRequest(rollout_id=made.rollout_id, action=action)  # type: ignore[arg-type]
        found = (await call(shared_router, shared_router.key, "RolloutService/ChangeRollout", request)).rollout
        return found.state, found.percent

    assert await change(rollouts_pb2.ROLLOUT_ACTION_PAUSE) == (rollouts_pb2.ROLLOUT_STATE_PAUSED, 10)
    assert await change(rollouts_pb2.ROLLOUT_ACTION_RESUME) == (rollouts_pb2.ROLLOUT_STATE_ROLLING, 10)
    assert await change(rollouts_pb2.ROLLOUT_ACTION_ADVANCE) == (rollouts_pb2.ROLLOUT_STATE_ROLLING, 25)
    assert await change(rollouts_pb2.ROLLOUT_ACTION_ROLL_BACK) == (rollouts_pb2.ROLLOUT_STATE_ROLLED_BACK, 0)
    request = rollouts_pb2.ChangeRolloutRequest(rollout_id=made.rollout_id, action=9)  # type: ignore[arg-type]
    assert (
        "PAUSE" in (await refusal_of(shared_router, shared_router.key, "RolloutService/ChangeRollout", request)).message
    )
    listed = await call(
        shared_router, shared_router.key, "RolloutService/ListRollouts", rollouts_pb2.ListRolloutsRequest()
    )
    assert [rollout.rollout_id for rollout in listed.rollouts] == [made.rollout_id]


async def test_flags(shared_router: RouterProcess) -> None:
    flag = flags_pb2.Flag(name="new-editor", description="The editor.", enabled=True, user_ids=["ana"])
    await call(shared_router, shared_router.key, "FlagService/SetFlag", flags_pb2.SetFlagRequest(flag=flag))

    async def on_for(user: str) -> list[str]:
        request = flags_pb2.EvaluateFlagsRequest()
        answer = await call(
            shared_router, shared_router.key, "FlagService/EvaluateFlags", request, x_enginehouse_user_id=user
        )
        return list(answer.enabled)

    # What was written holds on the router that answered as soon as it has answered.
    assert await on_for("ana") == ["new-editor"]
    assert await on_for("bob") == []
    flag.share_bp = 10_000
    await call(shared_router, shared_router.key, "FlagService/SetFlag", flags_pb2.SetFlagRequest(flag=flag))
    assert await on_for("bob") == ["new-editor"]
    listed = await call(shared_router, shared_router.key, "FlagService/ListFlags", flags_pb2.ListFlagsRequest())
    assert [(flag.name, flag.share_bp) for flag in listed.flags] == [("new-editor", 10_000)]
    await call(
        shared_router, shared_router.key, "FlagService/DeleteFlag", flags_pb2.DeleteFlagRequest(name="new-editor")
    )
    assert await on_for("ana") == []
    gone = await refusal_of(
        shared_router, shared_router.key, "FlagService/DeleteFlag", flags_pb2.DeleteFlagRequest(name="new-editor")
    )
    assert gone.reason is Reason.NOT_FOUND


async def test_bad_input_is_named_and_nothing_is_written(router: RouterProcess) -> None:
    async def listed() -> list[Any]:
        return [
            await call(router, router.key, method, request)
            for method, request in (
                ("ExperimentService/ListExperiments", experiments_pb2.ListExperimentsRequest()),
                ("RolloutService/ListRollouts", rollouts_pb2.ListRolloutsRequest()),
                ("FlagService/ListFlags", flags_pb2.ListFlagsRequest()),
            )
        ]

    before = await listed()
    arms = [experiments_pb2.Arm(name="a", share_bp=5000), experiments_pb2.Arm(name="a", share_bp=4000, model="nobody")]
    bad = experiments_pb2.Experiment(name="Bad Name", asked_model="small", arms=arms, alpha_bp=9999, min_units=1)
    error = await refusal_of(
        router,
        router.key,
        "ExperimentService/CreateExperiment",
        experiments_pb2.CreateExperimentRequest(experiment=bad),
    )
    named = {violation.field for violation in error.violations}
    assert named == {
        "experiment.name",
        "experiment.arms[1].name",
        "experiment.arms[1].model",
        "experiment.arms",
        "experiment.alpha_bp",
        "experiment.min_units",
    }
    rollout = rollouts_pb2.Rollout(asked_model="auto", from_model="small", to_model="small", steps=[50, 20])
    error = await refusal_of(
        router, router.key, "RolloutService/CreateRollout", rollouts_pb2.CreateRolloutRequest(rollout=rollout)
    )
    assert {violation.field for violation in error.violations} == {
        "rollout.asked_model",
        "rollout.to_model",
        "rollout.steps",
    }
    flag = flags_pb2.Flag(name="x", share_bp=10_001)
    error = await refusal_of(router, router.key, "FlagService/SetFlag", flags_pb2.SetFlagRequest(flag=flag))
    assert [violation.field for violation in error.violations] == ["flag.share_bp"]
    assert await listed() == before
    # Two at once for one model: the second is told which stands in its way.
    first = await started(router)
    again = experiments_pb2.CreateExperimentRequest(experiment=first)
    again.experiment.name = "another"
    error = await refusal_of(router, router.key, "ExperimentService/CreateExperiment", again)
    assert (error.reason, error.metadata["experiment_id"]) == (Reason.FAILED_PRECONDITION, first.experiment_id)
