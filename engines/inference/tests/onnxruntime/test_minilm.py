"""Embeddings of all-MiniLM-L6-v2 as its weights define them, and their limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from enginehouse.api.inference.v1.generation_pb2 import (
    EmbedRequest,
    GenerateRequest,
    ListModelsRequest,
    TokenizeRequest,
)
from enginehouse.engines.inference.backends.onnxruntime import OnnxRuntimeBackend
from enginehouse.kit.backends.packages import PackagedWeights
from enginehouse.kit.errors import ServiceError
from engines.inference.tests.onnxruntime.bert_reference import BertReference
from engines.inference.tests.onnxruntime.conftest import PACKAGE, MakeEntry
from engines.inference.tests.text_engine import INPUT, EngineClient, running_engine, user

TEXTS = [
    "A clever crow found water.",
    "The bird was thirsty, and smart!",
    "Stock markets fell sharply on Monday.",
    "Café naïve: 123-456",
    "unbelievable tokenization of supercalifragilistic words",
    "నమస్కారం, ఒక కథ చెప్పు",
    "x",
    " ",
    "the crow and the fox " * 12,
]


@pytest.fixture
async def embedder(backend: OnnxRuntimeBackend, entry: MakeEntry, tmp_path: Path) -> AsyncIterator[EngineClient]:
    models = [entry("fp32", precision="fp32"), entry("int8", precision="int8", threads=2)]
    async with running_engine(models, directory=tmp_path, backends=[backend]) as client:
        yield client


async def embed(embedder: EngineClient, model: str, *texts: str) -> np.ndarray:
    response = await embedder.unary("Embed", EmbedRequest(model=model, inputs=texts), models=[model])
    return np.array([embedding.values for embedding in response.embeddings])


async def test_the_vectors_are_those_that_the_weights_define(embedder: EngineClient, packages: PackagedWeights) -> None:
    reference = BertReference(packages.folder(PACKAGE))
    tokens = [reference.tokens(text) for text in TEXTS]
    expected = [reference.embed(ids) for ids in tokens]
    for model, least, apart in (("fp32", 0.999999, 1e-4), ("int8", 0.98, 0.1)):
        response = await embedder.unary("Embed", EmbedRequest(model=model, inputs=TEXTS), models=[model])
        [units] = response.usage.units
        assert (units.unit, units.amount) == (INPUT, sum(map(len, tokens)))
        for right, text, embedding in zip(expected, TEXTS, response.embeddings, strict=True):
            vector = np.array(embedding.values)
            assert vector.shape == (384,)
            assert abs(np.linalg.norm(vector) - 1) < 1e-5
            assert float(vector @ right) >= least, text
            assert np.abs(vector - right).max() < apart, text


async def test_texts_of_one_meaning_are_near(embedder: EngineClient) -> None:
    for model in ("fp32", "int8"):
        crow, bird, stocks = await embed(embedder, model, *TEXTS[:3])
        assert crow @ bird > 0.3 > abs(crow @ stocks), model


async def test_a_thousand_inputs_keep_their_order(embedder: EngineClient) -> None:
    inputs = [f"{TEXTS[number % 3]}{' so it was' * (number % 4)}" for number in range(1000)]
    for model, count in (("int8", 1000), ("fp32", 100)):
        first = await embed(embedder, model, *inputs[:12])
        vectors = await embed(embedder, model, *inputs[:count])
        assert (vectors * np.resize(first, vectors.shape)).sum(1).min() > 0.9999, model


async def test_an_int8_vector_does_not_depend_on_its_neighbours(embedder: EngineClient) -> None:
    alone = [(await embed(embedder, "int8", text))[0] for text in TEXTS]
    assert np.array_equal(alone, await embed(embedder, "int8", *TEXTS))


async def test_fewer_dimensions_are_a_unit_vector_still(embedder: EngineClient) -> None:
    [whole] = await embed(embedder, "fp32", "crow")
    request = EmbedRequest(model="fp32", inputs=["crow"], dimensions=64)
    short = (await embedder.unary("Embed", request, models=["fp32"])).embeddings[0].values
    assert np.allclose(short, whole[:64] / np.linalg.norm(whole[:64]), atol=1e-6)
    with pytest.raises(ServiceError, match="385 is more than the model's 384"):
        await embedder.unary("Embed", EmbedRequest(model="fp32", inputs=["x"], dimensions=385), models=["fp32"])
    listed = await embedder.unary("ListModels", ListModelsRequest())
    assert [model.embedding_dimensions for model in listed.models] == [384, 384]


async def test_what_does_not_fit_is_refused(embedder: EngineClient) -> None:
    whole = await embedder.unary("Embed", EmbedRequest(model="int8", inputs=["x " * 510]), models=["int8"])
    assert whole.usage.units[0].amount == 512
    for text, said in (("x " * 600, "602 tokens do not"), ("long" * 100_000, "at least 1562 tokens do not")):
        with pytest.raises(ServiceError, match=rf"inputs\[1\]: {said} fit the model's context of 512") as raised:
            await embed(embedder, "int8", "a", text)
        assert raised.value.reason == "CONTEXT_LENGTH_EXCEEDED"
    with pytest.raises(ServiceError, match=r"inputs\[0\]: must not be empty"):
        await embed(embedder, "int8", "")


async def test_a_budget_is_checked_before_the_model_runs(embedder: EngineClient) -> None:
    request = EmbedRequest(model="int8", inputs=[TEXTS[0]])
    with pytest.raises(ServiceError, match="8 tokens; the budget reserved for this request pays for 7") as raised:
        await embedder.unary("Embed", request, models=["int8"], cap_nanos=7 * 50)
    assert raised.value.reason == "BUDGET_EXHAUSTED"
    assert (await embedder.unary("Embed", request, models=["int8"], cap_nanos=8 * 50)).usage.cost_nanos == 8 * 50


async def test_it_splits_texts_and_generates_nothing(
    embedder: EngineClient, backend: OnnxRuntimeBackend, entry: MakeEntry, packages: PackagedWeights
) -> None:
    reference = BertReference(packages.folder(PACKAGE))
    split = await embedder.unary("Tokenize", TokenizeRequest(model="int8", text=TEXTS[0]), models=["int8"])
    assert list(split.token_ids) == reference.tokens(TEXTS[0])[1:-1]
    refused = await embedder.refused(GenerateRequest(model="int8", messages=[user("Hello")]))
    assert refused.reason == "UNSUPPORTED_CAPABILITY"
    loaded = await backend.load(entry("chatty"))
    with pytest.raises(ServiceError, match="'chatty' makes embeddings only") as raised:
        await loaded.prepare(GenerateRequest(prompt="x"))
    assert raised.value.reason == "UNSUPPORTED_CAPABILITY"
    await loaded.close()
