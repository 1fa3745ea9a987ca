"""Names of the catalog that stand for models, in a real router."""

from __future__ import annotations

import json

import grpc
import pytest

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.router.v1 import admin_pb2 as pb
from enginehouse.api.router.v1 import experiments_pb2, rollouts_pb2
from enginehouse.kit.catalog import Catalog
from enginehouse.kit.errors import ServiceError
from enginehouse.kit.grants import peek
from enginehouse.router.api.experiments._messages import read_experiment, read_rollout
from router.tests.harness.decision_inputs import model
from router.tests.harness.responses import reason_of
from router.tests.harness.router_process import RouterProcess

ALIASES = {"gpt-4o-mini": "small", "author": "large"}


@pytest.mark.parametrize("alias", ALIASES)
async def test_a_grant_names_the_model_that_an_alias_stands_for(shared_router: RouterProcess, alias: str) -> None:
    typed = await shared_router.generate(shared_router.key, model=alias, prompt="hi")
    body = {"model": alias, "messages": [{"role": "user", "content": "hi"}]}
    for checked in (typed, await shared_router.openai(shared_router.key, "CreateChatCompletion", body)):
        assert checked.status_code == 200
        grant = peek(checked.headers["x-enginehouse-grant"])
        assert [candidate.model for candidate in grant.candidates] == [ALIASES[alias]]
        assert ALIASES[alias] in json.dumps(dict(checked.headers))


async def test_a_free_method_takes_an_alias_too(shared_router: RouterProcess) -> None:
    request = generation_pb2.TokenizeRequest(model="author", text="hello")
    method = "/enginehouse.api.inference.v1.GenerationService/Tokenize"
    checked = await shared_router.check(method, request, shared_router.key)
    assert [candidate.model for candidate in peek(checked.headers["x-enginehouse-grant"]).candidates] == ["large"]


async def test_an_alias_opens_no_model_to_a_key(shared_router: RouterProcess) -> None:
    made = await shared_router.admin(
        shared_router.key, "CreateKey", pb.CreateKeyRequest(name="narrow", allowed_models=["small"])
    )
    assert reason_of(await shared_router.generate(made.secret, model="author")) == "MODEL_DENIED"
    auto = await shared_router.generate(made.secret, model="gpt-4o-mini", prompt="Prove it; derive each step. " * 40)
    assert [candidate.model for candidate in peek(auto.headers["x-enginehouse-grant"]).candidates] == ["small"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("author", "is an alias of 'large', not a model; name 'large' itself"), ("gpt-4o-mini", "is an alias of 'auto'")],
)
async def test_keys_and_prices_name_models_themselves(shared_router: RouterProcess, name: str, said: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="alias") as refused:
        await shared_router.admin(
            shared_router.key, "CreateKey", pb.CreateKeyRequest(name="aliased", allowed_models=[name])
        )
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert said in (refused.value.details() or "")


def test_experiments_and_rollouts_are_of_models_themselves() -> None:
    catalog = Catalog([model("small"), model("large")], {"author": "large"})
    rollout = rollouts_pb2.Rollout(asked_model="author", from_model="small", to_model="large")
    with pytest.raises(ServiceError, match=r"rollout\.asked_model: 'author' is an alias of 'large'"):
        read_rollout(rollout, catalog=catalog, rollout_id="rol_1", now_ms=0)
    arms = [experiments_pb2.Arm(name=name, share_bp=5000, model=name) for name in ("small", "large")]
    experiment = experiments_pb2.Experiment(name="e", asked_model="author", arms=arms)
    with pytest.raises(ServiceError, match=r"experiment\.asked_model: 'author' is an alias of 'large'"):
        read_experiment(experiment, catalog=catalog, experiment_id="exp_1", now_ms=0)


async def test_an_explanation_says_that_an_alias_was_followed(shared_router: RouterProcess) -> None:
    named = await shared_router.admin(shared_router.key, "Explain", pb.ExplainRequest(model="author", prompt="hello"))
    assert (named.alias, named.rule) == ("author", "the request names large by its alias author")
    free = await shared_router.admin(shared_router.key, "Explain", pb.ExplainRequest(model="gpt-4o-mini", prompt="hi"))
    assert (free.alias, free.rule) == ("gpt-4o-mini", "small is the cheapest that is good enough")
    plain = await shared_router.admin(shared_router.key, "Explain", pb.ExplainRequest(model="large", prompt="hello"))
    assert (plain.alias, plain.rule) == ("", "the request names large")


async def test_a_name_that_is_almost_an_alias_is_suggested(shared_router: RouterProcess) -> None:
    checked = await shared_router.generate(shared_router.key, model="gpt-4o-min")
    assert reason_of(checked) == "UNKNOWN_MODEL"
    assert "gpt-4o-mini" in checked.headers["grpc-message"]
