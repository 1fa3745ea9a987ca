"""Loading a provider's model, and vectors from it."""

import math

import pytest

from enginehouse.engines.inference.backends.upstream import UpstreamBackend
from enginehouse.kit.errors import Reason, ServiceError
from engines.inference.tests.upstream.scripted_provider import answer, catalog_model


def vectors(*entries, **usage):
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in entries]
    return answer(200, {"data": data, "usage": usage or None})


async def test_vectors_come_in_order_and_at_unit_length(provider, load):
    provider.answers = [vectors((1, [0.0, 2.0]), (0, [3.0, 4.0]), prompt_tokens=5, total_tokens=5)]
    model = await load(embedding_dimensions=2, model="embed-1")
    embedded = await model.embed(["a", "b"], max_input_tokens=100)
    assert [list(vector) for vector in embedded.vectors] == [[0.6, 0.8], [0.0, 1.0]]
    assert embedded.input_tokens == 5
    assert model.info.embedding_dimensions == 2
    assert provider.asked[0].body == {"model": "embed-1", "input": ["a", "b"], "encoding_format": "float"}
    assert provider.asked[0].path == "/v1/embeddings"


async def test_more_than_the_budget_pays_for_is_never_sent(provider, load):
    with pytest.raises(ServiceError) as raised:
        await (await load()).embed(["x" * 10], max_input_tokens=9)
    assert raised.value.reason is Reason.BUDGET_EXHAUSTED
    assert "10" in raised.value.message
    assert provider.asked == []


@pytest.mark.parametrize(
    "bad",
    [
        answer(200, b"no json"),
        answer(200, {"data": "x"}),
        vectors((0, [0.0, 0.0]), prompt_tokens=1),
        vectors((0, [1.0]), (1, [1.0]), prompt_tokens=1),
        vectors((0, [1.0])),
    ],
)
async def test_answers_that_are_not_vectors(provider, load, bad):
    provider.answers = [bad]
    with pytest.raises(ServiceError) as raised:
        await (await load()).embed(["a"], max_input_tokens=9)
    assert raised.value.reason is Reason.UPSTREAM_FAILED


async def test_estimated_usage(provider, load):
    provider.answers = [answer(503, {}), vectors((0, [1.0]))]
    embedded = await (await load(usage="estimate")).embed(["x" * 10], max_input_tokens=99)
    assert embedded.input_tokens == math.ceil(10 / 4)


async def test_tokenize_is_refused(load):
    with pytest.raises(ServiceError) as raised:
        await (await load()).tokenize("x")
    assert raised.value.reason is Reason.UNSUPPORTED_CAPABILITY


@pytest.mark.parametrize(
    ("source", "options", "environ", "reason", "said"),
    [
        ("https://h/v1", {}, {}, Reason.FAILED_PRECONDITION, "FAR_KEY"),
        ("https://h/v1", {}, {"FAR_KEY": " "}, Reason.FAILED_PRECONDITION, "FAR_KEY"),
        ("ftp://h/v1", {}, {"FAR_KEY": "k"}, Reason.INVALID_REQUEST, "ftp://h/v1"),
        ("https://", {}, {"FAR_KEY": "k"}, Reason.INVALID_REQUEST, "http"),
        ("https://me:pass@h/v1", {}, {"FAR_KEY": "k"}, Reason.INVALID_REQUEST, "no credentials"),
        ("https://h/v1?key=pass", {}, {"FAR_KEY": "k"}, Reason.INVALID_REQUEST, "no credentials"),
        ("https://h/v1", {"retrys": 1}, {"FAR_KEY": "k"}, Reason.INVALID_REQUEST, "options.retrys"),
        ("https://h/v1", {"slots": 0}, {"FAR_KEY": "k"}, Reason.INVALID_REQUEST, "options.slots"),
    ],
)
async def test_models_that_cannot_work_are_refused_at_load(source, options, environ, reason, said):
    with pytest.raises(ServiceError) as raised:
        await UpstreamBackend(environ=environ).load(catalog_model(source, **options))
    assert raised.value.reason is reason
    assert said in raised.value.message
    assert "pass" not in raised.value.message.replace("password", "")


async def test_model_without_a_key_sends_none(provider, load):
    provider.answers = [vectors((0, [1.0]), prompt_tokens=1)]
    await (await load(key_variable="")).embed(["a"], max_input_tokens=9)
    assert "authorization" not in provider.asked[0].headers
