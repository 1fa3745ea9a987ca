"""The graph of a BERT sentence encoder: token ids in, vectors of unit length out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Tensors: TypeAlias = Mapping[str, np.ndarray[Any, Any]]

# Gelu as an operator of its own.
_OPSET = 20
_IR_VERSION = 10
# Subtracted from the scores of padding: its weight is then zero.
_FAR = 10_000.0


class BertGraph:
    """A graph that is built from weights by standard operators: embeddings, layers, mean of the tokens, unit length.

    Args:
        tensors: the weights, named as in Hugging Face's `BertModel`.
        config: the model's `config.json`.
    """

    def __init__(self, tensors: Tensors, config: Mapping[str, Any]) -> None:
        self._tensors = tensors
        self._width = int(config["hidden_size"])
        self._heads = int(config["num_attention_heads"])
        self._layers = int(config["num_hidden_layers"])
        self._epsilon = float(config["layer_norm_eps"])
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def model(self, *, properties: Mapping[str, str]) -> onnx.ModelProto:
        """Return the model, with properties that say what it was made from; raise KeyError for a missing tensor."""
        bias = self._padding_bias()
        states = self._embeddings()
        for layer in range(self._layers):
            states = self._layer(states, bias, f"encoder.layer.{layer}")
        self._pool(states)
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
            for name in ("input_ids", "attention_mask")
        ]
        output = helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["batch", self._width])
        graph = helper.make_graph(self._nodes, "bert", inputs, [output], list(self._constants.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
        helper.set_model_props(model, dict(properties))
        onnx.checker.check_model(model)
        return model

    def _embeddings(self) -> str:
        words = self._add("Gather", self._weights("embeddings.word_embeddings.weight"), "input_ids")
        # All tokens are of the first type, so its vector is a part of every position's.
        positions = self._tensors["embeddings.position_embeddings.weight"]
        typed = positions + self._tensors["embeddings.token_type_embeddings.weight"][0]
        length = self._add("Gather", self._add("Shape", "input_ids"), self._integers(1))
        read = self._add("Slice", self._constant("positions", typed), self._integers(0), length, self._integers(0))
        return self._norm(self._add("Add", words, read), "embeddings.LayerNorm")

    def _padding_bias(self) -> str:
        """Return what is added to the scores of each token: 0, or for padding a number that leaves it no weight."""
        mask = self._add("Cast", "attention_mask", to=TensorProto.FLOAT)
        absent = self._add("Sub", self._number(1.0), self._add("Unsqueeze", mask, self._integers(1, 2)))
        return self._add("Mul", absent, self._number(-_FAR))

    def _layer(self, states: str, bias: str, at: str) -> str:
        size = self._width // self._heads
        split = self._integers(0, 0, self._heads, size)
        query, key, value = (
            self._add("Reshape", self._linear(states, f"{at}.attention.self.{part}"), split)
            for part in ("query", "key", "value")
        )
        scores = self._add(
            "MatMul",
            self._add("Transpose", query, perm=[0, 2, 1, 3]),
            self._add("Transpose", key, perm=[0, 2, 3, 1]),
        )
        scaled = self._add("Add", self._add("Mul", scores, self._number(1 / math.sqrt(size))), bias)
        mixed = self._add(
            "MatMul", self._add("Softmax", scaled, axis=-1), self._add("Transpose", value, perm=[0, 2, 1, 3])
        )
        joined = self._add(
            "Reshape", self._add("Transpose", mixed, perm=[0, 2, 1, 3]), self._integers(0, 0, self._width)
        )
        attended = self._add("Add", self._linear(joined, f"{at}.attention.output.dense"), states)
        states = self._norm(attended, f"{at}.attention.output.LayerNorm")
        inner = self._add("Gelu", self._linear(states, f"{at}.intermediate.dense"))
        return self._norm(self._add("Add", self._linear(inner, f"{at}.output.dense"), states), f"{at}.output.LayerNorm")

    def _pool(self, states: str) -> None:
        # The sum has the direction of the mean, and only the direction is kept.
        mask = self._add("Cast", "attention_mask", to=TensorProto.FLOAT)
        axis = self._integers(1)
        total = self._add("Squeeze", self._add("MatMul", self._add("Unsqueeze", mask, axis), states), axis)
        length = self._add("ReduceL2", total, axis, keepdims=1)
        self._nodes.append(helper.make_node("Div", [total, length], ["sentence_embedding"], name="Div"))

    def _linear(self, states: str, name: str) -> str:
        weights = self._constant(f"{name}.weight", self._tensors[f"{name}.weight"].T)
        return self._add("Add", self._add("MatMul", states, weights), self._weights(f"{name}.bias"))

    def _norm(self, states: str, name: str) -> str:
        return self._add(
            "LayerNormalization",
            states,
            self._weights(f"{name}.weight"),
            self._weights(f"{name}.bias"),
            axis=-1,
            epsilon=self._epsilon,
        )

    def _weights(self, name: str) -> str:
        return self._constant(name, self._tensors[name])

    def _number(self, value: float) -> str:
        return self._constant(f"number {value!r}", np.array(value, dtype=np.float32))

    def _integers(self, *values: int) -> str:
        return self._constant(f"integers {values}", np.array(values, dtype=np.int64))

    def _constant(self, name: str, value: np.ndarray[Any, Any]) -> str:
        if name not in self._constants:
            plain = value if value.dtype == np.int64 else value.astype(np.float32)
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(plain).reshape(plain.shape), name)
        return name

    def _add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        output = f"{kind}.{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output
