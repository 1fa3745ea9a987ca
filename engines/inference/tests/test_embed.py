"""Embeddings by llama.cpp: any GGUF file makes them, within the limits of the context and the budget."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from enginehouse.api.inference.v1.generation_pb2 import EmbedRequest, ListModelsRequest
from enginehouse.kit.errors import ServiceError
from engines.inference.tests.text_engine import EngineClient, llama_model, running_engine

TEXTS = ["A clever crow found water.", "The bird was thirsty, and smart!", "Stock markets fell sharply."]


@pytest.fixture
async def embedder(tiny: Path, tmp_path: Path) -> AsyncIterator[EngineClient]:
    options = {"threads": 1, "pooling": "last"}
    model = llama_model("llama", tiny, context=128, capabilities=frozenset({"embeddings"}), options=options)
    async with running_engine([model], directory=tmp_path) as client:
        yield client


async def embed(embedder: EngineClient, *texts: str) -> np.ndarray:
    response = await embedder.unary("Embed", EmbedRequest(model="llama", inputs=texts), models=["llama"])
    return np.array([embedding.values for embedding in response.embeddings])


async def test_any_gguf_embeds(embedder: EngineClient) -> None:
    vectors = await embed(embedder, "a", "b")
    assert vectors.shape == (2, 64)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    listed = await embedder.unary("ListModels", ListModelsRequest())
    assert [model.embedding_dimensions for model in listed.models] == [64]


async def test_many_inputs_keep_their_order(embedder: EngineClient) -> None:
    vectors = await embed(embedder, *(TEXTS[number % 3] for number in range(70)))
    alone = await embed(embedder, *TEXTS)
    assert (vectors * np.resize(alone, vectors.shape)).sum(1).min() > 0.999


async def test_what_does_not_fit_is_refused(embedder: EngineClient) -> None:
    long = "x" * 200
    with pytest.raises(ServiceError, match=r"inputs\[1\]: 200 tokens do not fit the model's context of 128") as raised:
        await embed(embedder, "a", long)
    assert raised.value.reason == "CONTEXT_LENGTH_EXCEEDED"
    request = EmbedRequest(model="llama", inputs=["x" * 8])
    with pytest.raises(ServiceError, match="8 tokens; the budget reserved for this request pays for 7") as raised:
        await embedder.unary("Embed", request, models=["llama"], cap_nanos=7 * 50)
    assert raised.value.reason == "BUDGET_EXHAUSTED"
    served = await embedder.unary("Embed", request, models=["llama"], cap_nanos=8 * 50)
    assert served.usage.cost_nanos == 8 * 50
