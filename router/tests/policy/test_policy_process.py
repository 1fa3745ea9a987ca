"""Policies and feedback over real routers and PostgreSQL: set in one, in force in all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from google.protobuf import json_format

from enginehouse.api.router.v1 import (
    admin_pb2,
    feedback_pb2,
    identity_pb2,
    policy_pb2,
)
from enginehouse.kit.errors import Reason
from enginehouse.kit.grants import peek
from router.tests.harness.admin_calls import call, refusal_of
from router.tests.harness.decision_inputs import document
from router.tests.harness.engine_reports import EngineReports
from router.tests.harness.router_process import RouterProcess
from router.tests.harness.waiting import wait_until


async def set_policy(router: RouterProcess, *, expected_version: int | None = None, **fields: Any) -> policy_pb2.Policy:
    # Whatever the predictor thinks of a prompt, the small model is good enough.
    fields["everyone"] = {"quality_ceiling": 0.2, **fields.get("everyone", {})}
    request = policy_pb2.SetPolicyRequest(policy=document(**fields), expected_version=expected_version)
    answer = await call(router, router.key, "PolicyService/SetPolicy", request)
    return answer.policy


async def get_policy(router: RouterProcess, name: str = "default", version: int = 0) -> policy_pb2.Policy:
    answer = await call(
        router, router.key, "PolicyService/GetPolicy", policy_pb2.GetPolicyRequest(name=name, version=version)
    )
    return answer.policy


@pytest.fixture
async def routers(
    shared_pair: tuple[RouterProcess, RouterProcess],
) -> AsyncIterator[tuple[RouterProcess, RouterProcess]]:
    """Two routers without policies."""
    yield shared_pair
    first = shared_pair[0]
    listed = await call(first, first.key, "PolicyService/ListPolicies", policy_pb2.ListPoliciesRequest())
    for policy in listed.policies:
        if policy.version:
            await call(first, first.key, "PolicyService/DeletePolicy", policy_pb2.DeletePolicyRequest(name=policy.name))


async def auto(router: RouterProcess, **headers: str) -> tuple[str, httpx.Response]:
    """The model that a router chooses for a request, and its grant."""
    response = await router.generate(router.key, model="auto", headers=headers)
    assert response.status_code == 200, response.headers.get("grpc-message")
    return response.headers["x-enginehouse-model"], response


async def test_a_policy_set_in_one_router_applies_in_all(routers: tuple[RouterProcess, RouterProcess]) -> None:
    first, second = routers
    usual = (await auto(first))[0]
    built_in = await get_policy(second)
    assert (built_in.version, built_in.tiers[0].tier) == (0, "free")

    made = await set_policy(
        first,
        tasks=[{"task": "enhance", "rules": {"prefer": ["large"]}}],
        subjects=[{"name": "law", "keywords": ["statute"], "rules": {"models": ["large"]}}],
    )
    assert made.version > 0
    assert made.updated_by == first.key_id
    # The one that was asked at once, the other as soon as it hears of it.
    assert (await auto(first, x_enginehouse_task="enhance"))[0] == "large"

    async def elsewhere() -> int:
        told = await second.admin(second.key, "Explain", admin_pb2.ExplainRequest(prompt="hello"))
        return int(told.policy_version)

    await wait_until(elsewhere, made.version, within_s=60)
    assert (await auto(second, x_enginehouse_task="enhance"))[0] == "large"
    assert (await auto(second))[0] == "small"
    assert (await auto(second, x_enginehouse_subject="law"))[0] == "large"
    told = await second.admin(second.key, "Explain", admin_pb2.ExplainRequest(prompt="the statute says"))
    assert (told.subject, told.policy, told.policy_version) == ("law", "default", made.version)
    assert list(told.layers)[1:] == ["everyone", "subjects.law"]
    weighed = {candidate.model: candidate for candidate in told.candidates}
    assert "subjects.law" in weighed["small"].passed_over_because
    assert weighed["large"].health == "1 live"
    assert 0 < weighed["small"].sufficiency < weighed["large"].sufficiency < 1
    assert weighed["small"].price_difference_nanos < 0

    bad = await auto_refusal(second, x_enginehouse_task="dream")
    assert "'dream' must be one of" in bad

    await call(second, second.key, "PolicyService/DeletePolicy", policy_pb2.DeletePolicyRequest(name="default"))

    async def plain() -> str:
        return (await auto(first, x_enginehouse_task="enhance"))[0]

    await wait_until(plain, usual, within_s=60)


async def test_a_fallback_is_in_the_grant_and_a_slow_model_is_passed_over(
    routers: tuple[RouterProcess, RouterProcess],
) -> None:
    first, second = routers
    await set_policy(first, fallbacks=[{"model": "small", "models": ["large"]}])
    response = await first.generate(first.key, model="auto")
    # Who answers is the engine's to say, now that it may be one of two.
    assert "x-enginehouse-model" not in response.headers
    grant = peek(response.headers["x-enginehouse-grant"])
    assert [candidate.model for candidate in grant.candidates] == ["small", "large"]
    small, large = (candidate.cap_nanos for candidate in grant.candidates)
    assert small < large
    assert grant.prompt_class.startswith("generate/")
    # Without a budget the caps leave room for the whole context; the difference is that of the request's own bounds.
    named, _, difference = response.headers["x-enginehouse-fallbacks"].partition(";difference_nanos=")
    assert named == "large"
    assert 0 < int(difference) < large - small
    # Whoever names a model gets it alone, unless the policy says otherwise.
    named = await first.generate(first.key, model="small")
    assert [candidate.model for candidate in peek(named.headers["x-enginehouse-grant"]).candidates] == ["small"]
    assert "x-enginehouse-fallbacks" not in named.headers

    await set_policy(first, everyone={"max_first_token_ms": 1000})
    _, response = await auto(first)
    engine = EngineReports(first)
    token = response.headers["x-enginehouse-grant"]
    await engine.send(engine.record(token, output=1, time_to_first_token_ms=4000))

    await wait_until(lambda: chosen_by(second), "large", within_s=60)
    told = await second.admin(second.key, "Explain", admin_pb2.ExplainRequest(prompt="hello"))
    weighed = {candidate.model: candidate for candidate in told.candidates}
    assert weighed["small"].first_token_ms >= 4000
    assert not weighed["large"].HasField("first_token_ms")
    assert "the policy asks for at most 1000 ms" in weighed["small"].passed_over_because
    await engine.close()


async def chosen_by(router: RouterProcess) -> str:
    return (await auto(router))[0]


async def test_a_key_made_with_another_is_bound_by_its_rules(routers: tuple[RouterProcess, RouterProcess]) -> None:
    first, _ = routers
    made = await first.admin(
        first.key, "CreateKey", admin_pb2.CreateKeyRequest(name="maker", scopes=["inference", "keys"])
    )
    run = await call(first, made.secret, "IdentityService/CreateRunKey", identity_pb2.CreateRunKeyRequest(run_id="one"))
    assert (await first.generate(run.secret)).status_code == 200
    await set_policy(first, keys=[{"key_id": made.key.key_id, "rules": {"deny": ["small"]}}])
    for secret in (made.secret, run.secret):
        answer = await first.generate(secret)
        assert answer.json()["details"][0]["reason"] == "MODEL_DENIED"
    assert (await first.generate(first.key)).status_code == 200


async def auto_refusal(router: RouterProcess, **headers: str) -> str:
    response = await router.generate(router.key, model="auto", headers=headers)
    assert response.status_code != 200
    return str(response.headers["grpc-message"])


async def test_an_invalid_policy_changes_nothing(routers: tuple[RouterProcess, RouterProcess]) -> None:
    first, second = routers
    version = (await set_policy(first, everyone={"quality_floor": 0.1})).version
    wrong = {
        "everyone": {"quality_floor": 3, "models": ["smal"]},
        "fallbacks": [{"model": "small", "models": ["large"]}, {"model": "large", "models": ["small"]}],
        "keys": [{"key_id": "key_gone"}],
    }
    request = policy_pb2.SetPolicyRequest(policy=document(**wrong))
    error = await refusal_of(first, first.key, "PolicyService/SetPolicy", request)
    assert error.reason is Reason.INVALID_REQUEST
    fields = {violation.field for violation in error.violations}
    assert fields == {"everyone.quality_floor", "everyone.models", "fallbacks", "keys"}
    checked = await call(
        second, second.key, "PolicyService/CheckPolicy", policy_pb2.CheckPolicyRequest(policy=request.policy)
    )
    assert {problem.field for problem in checked.problems} == fields
    assert (await get_policy(second)).version == version
    assert (await get_policy(second)).everyone.quality_floor == 0.1
    plain = await first.admin(first.key, "CreateKey", admin_pb2.CreateKeyRequest(name="plain", scopes=["inference"]))
    denied = await refusal_of(
        first, plain.secret, "PolicyService/GetPolicy", policy_pb2.GetPolicyRequest(name="default")
    )
    assert denied.reason is Reason.SCOPE_DENIED

    # Versions are kept, and nobody's change is lost.
    await set_policy(first, expected_version=version, everyone={"deny": ["asleep"]})
    await set_policy(second, expected_version=version + 1, everyone={"deny": ["asleep", "large"]})
    late = policy_pb2.SetPolicyRequest(policy=document(everyone={"deny": ["small"]}), expected_version=version)
    error = await refusal_of(first, first.key, "PolicyService/SetPolicy", late)
    assert error.reason is Reason.FAILED_PRECONDITION
    assert f"version {version + 2} by now" in error.message
    assert list((await get_policy(first, version=version + 1)).everyone.deny) == ["asleep"]
    assert list((await get_policy(first)).everyone.deny) == ["asleep", "large"]
    logged = await call(
        second, second.key, "IdentityService/ListAudit", identity_pb2.ListAuditRequest(target_id="default", page_size=1)
    )
    assert logged.entries[0].action.endswith("PolicyService/SetPolicy")
    assert logged.entries[0].actor_id == first.key_id
    assert '"large"' in logged.entries[0].after_json
    assert '"large"' not in logged.entries[0].before_json
    await call(first, first.key, "PolicyService/DeletePolicy", policy_pb2.DeletePolicyRequest(name="default"))
    assert (await get_policy(first)).version == 0
    gone = await refusal_of(
        first, first.key, "PolicyService/DeletePolicy", policy_pb2.DeletePolicyRequest(name="default")
    )
    assert gone.reason is Reason.NOT_FOUND
    assert (await set_policy(first, everyone={"deny": ["asleep"]})).version == version + 4
    # One document for a tenant, whoever writes it.
    await set_policy(first, name="ours", tenants=[first.tenant], everyone={"models": ["large"]})
    rival = policy_pb2.SetPolicyRequest(policy=document(name="theirs", tenants=[first.tenant]))
    error = await refusal_of(second, second.key, "PolicyService/SetPolicy", rival)
    assert "in the policy 'ours' already" in error.violations[0].description
    listed = await call(second, second.key, "PolicyService/ListPolicies", policy_pb2.ListPoliciesRequest(page_size=1))
    assert [policy.name for policy in listed.policies] == ["default"]
    rest = policy_pb2.ListPoliciesRequest(page_size=1, page_token=listed.next_page_token)
    assert [
        policy.name for policy in (await call(second, second.key, "PolicyService/ListPolicies", rest)).policies
    ] == ["ours"]


async def test_feedback_is_counted_once_a_source_and_moves_what_is_chosen(
    routers: tuple[RouterProcess, RouterProcess],
) -> None:
    first, second = routers
    await set_policy(first)
    _, response = await auto(first)
    request_id = response.headers["x-enginehouse-request-id"]
    thumb = feedback_pb2.RecordFeedbackRequest(request_id=request_id, thumb=feedback_pb2.THUMB_DOWN)
    unknown = await refusal_of(first, first.key, "FeedbackService/RecordFeedback", thumb)
    assert unknown.reason is Reason.NOT_FOUND
    engine = EngineReports(first)
    await engine.report(response.headers["x-enginehouse-grant"], output=3)

    other_tenant = (
        await first.admin(first.key, "CreateTenant", admin_pb2.CreateTenantRequest(name="other", tier="pro"))
    ).tenant
    stranger = await first.admin(
        first.key, "CreateKey", admin_pb2.CreateKeyRequest(name="s", tenant_id=other_tenant.tenant_id)
    )
    foreign = await refusal_of(first, stranger.secret, "FeedbackService/RecordFeedback", thumb)
    assert foreign.reason is Reason.NOT_FOUND

    recorded = await call(first, first.key, "FeedbackService/RecordFeedback", thumb)
    assert (recorded.model, recorded.replaced) == ("small", False)
    assert recorded.prompt_class == peek(response.headers["x-enginehouse-grant"]).prompt_class
    again = await call(second, second.key, "FeedbackService/RecordFeedback", thumb)
    assert again.replaced
    judged = feedback_pb2.RecordFeedbackRequest(
        request_id=request_id, judge=feedback_pb2.JudgeResult(judge="grader-1", score=0.5)
    )
    assert not (await call(first, first.key, "FeedbackService/RecordFeedback", judged)).replaced
    summary = await call(
        second, second.key, "FeedbackService/SummarizeFeedback", feedback_pb2.SummarizeFeedbackRequest()
    )
    assert [(row.model, row.ratings, row.mean_score) for row in summary.summaries] == [("small", 2, 0.25)]

    # Learning is off until a policy turns it on, and stays within the price that it allows.
    bandit = {"enabled": True, "explore_share": 0.0, "max_price_factor": 1000.0, "prior_weight": 1.0}
    for number in range(6):
        _, answer = await auto(first)
        await engine.report(answer.headers["x-enginehouse-grant"], output=1)
        rated = feedback_pb2.RecordFeedbackRequest(
            request_id=answer.headers["x-enginehouse-request-id"], score=0.0 if number else 0.1
        )
        await call(first, first.key, "FeedbackService/RecordFeedback", rated)
    await wait_until(lambda: chosen_by(second), "small", within_s=60)
    await set_policy(first, bandit=bandit)

    async def learned() -> tuple[str, str]:
        return (await auto(first))[0], (await auto(second))[0]

    await wait_until(learned, ("large", "large"), within_s=60)
    told = await second.admin(second.key, "Explain", admin_pb2.ExplainRequest(prompt="hello"))
    assert told.rule.startswith("feedback on answers")
    await set_policy(first, bandit={**bandit, "max_price_factor": 2.0})
    await wait_until(learned, ("small", "small"), within_s=60)
    await engine.close()


@pytest.mark.parametrize(
    ("rating", "field"),
    [
        ({}, "rating"),
        ({"score": 1.5}, "score"),
        ({"score": "NaN"}, "score"),
        ({"thumb": "THUMB_UNSPECIFIED"}, "thumb"),
        ({"judge": {"judge": "", "score": 0.5}}, "judge.judge"),
        ({"judge": {"judge": "x", "score": -1}}, "judge.score"),
        ({"request_id": "not an id", "score": 1}, "request_id"),
    ],
)
async def test_invalid_ratings_are_refused(shared_router: RouterProcess, rating: dict[str, Any], field: str) -> None:
    request = json_format.ParseDict({"request_id": "req_1", **rating}, feedback_pb2.RecordFeedbackRequest())
    error = await refusal_of(shared_router, shared_router.key, "FeedbackService/RecordFeedback", request)
    assert error.reason is Reason.INVALID_REQUEST
    assert [violation.field for violation in error.violations] == [field]
