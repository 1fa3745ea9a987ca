"""Languages in a real router: asked for by a header, explained, refused."""

from __future__ import annotations

import grpc
import pytest

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.api.router.v1 import admin_pb2 as pb
from router.tests.harness.registry import RegistryServer
from router.tests.harness.responses import reason_of
from router.tests.harness.router_process import RouterProcess
from router.tests.harness.waiting import wait_until


async def declare(router: RouterProcess, registry: RegistryServer, **languages: list[str]) -> None:
    """Let the engine declare the languages of models, and wait until the router knows."""
    live = next(live for live in registry.engines if live.engine.engine_id == "engine-1")
    changed = registry_pb2.LiveEngine()
    changed.CopyFrom(live)
    for model in changed.engine.models:
        model.languages.extend(languages.get(model.name, ()))
    registry.add(changed)

    async def known() -> dict[str, list[str]]:
        listed = await router.admin(router.key, "ListModels", pb.ListModelsRequest())
        return {model.name: list(model.languages) for model in listed.models if model.name in languages}

    await wait_until(known, languages, within_s=30)


async def test_a_header_asks_for_a_language(shared_router: RouterProcess, registry: RegistryServer) -> None:
    await declare(shared_router, registry, small=["en"], large=["en", "te-IN"])
    key = shared_router.key
    for language, expected in (("en", "small"), ("te", "large")):
        checked = await shared_router.generate(
            key, model="auto", prompt="hi", headers={"x_enginehouse_language": language}
        )
        assert checked.headers["x-enginehouse-model"] == expected
    refused = await shared_router.generate(key, model="auto", headers={"x_enginehouse_language": "fr"})
    assert reason_of(refused) == "UNSUPPORTED_CAPABILITY"
    assert "can write 'fr'" in refused.headers["grpc-message"]
    refused = await shared_router.generate(key, model="auto", headers={"x_enginehouse_language": "French!"})
    assert reason_of(refused) == "INVALID_REQUEST"


async def test_an_explanation_shows_the_language(shared_router: RouterProcess, registry: RegistryServer) -> None:
    await declare(shared_router, registry, small=["en"], large=["en", "te-IN"])
    told = await shared_router.admin(shared_router.key, "Explain", pb.ExplainRequest(prompt="hi", language="te"))
    assert (list(told.languages), told.language_detected) == (["te"], False)
    assert told.rule == "large is the cheapest that is good enough of those that write te"
    small, large = (next(other for other in told.candidates if other.model == name) for name in ("small", "large"))
    assert small.passed_over_because == "it does not write te"
    assert (list(small.languages), list(large.languages)) == (["en"], ["en", "te-IN"])
    with pytest.raises(grpc.aio.AioRpcError, match="language: 'Telugu' is not a language tag"):
        await shared_router.admin(shared_router.key, "Explain", pb.ExplainRequest(prompt="hi", language="Telugu"))
