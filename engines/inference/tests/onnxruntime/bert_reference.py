"""BERT's forward pass and WordPiece, written from their definitions, in double precision; and a tiny random BERT."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

TINY = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "max_position_embeddings": 40,
    "layer_norm_eps": 1e-12,
}


class BertReference:
    """The encoder whose `model.safetensors`, `config.json` and `tokenizer.json` lie in a folder."""

    def __init__(self, folder: Path) -> None:
        self.tensors = {
            name: np.asarray(t, dtype=np.float64) for name, t in load_file(folder / "model.safetensors").items()
        }
        self.config = json.loads((folder / "config.json").read_text())
        tokenizer = folder / "tokenizer.json"
        self.ids = json.loads(tokenizer.read_text())["model"]["vocab"] if tokenizer.exists() else {}

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

    def embed(self, ids: Sequence[int]) -> Any:
        width, heads = self.config["hidden_size"], self.config["num_attention_heads"]
        x = self.tensors["embeddings.word_embeddings.weight"][list(ids)]
        x = x + self.tensors["embeddings.position_embeddings.weight"][: len(ids)]
        x = self._norm(x + self.tensors["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for layer in range(self.config["num_hidden_layers"]):
            at = f"encoder.layer.{layer}"
            q, k, v = (
                self._linear(x, f"{at}.attention.self.{part}")
                .reshape(len(ids), heads, width // heads)
                .transpose(1, 0, 2)
                for part in ("query", "key", "value")
            )
            scores = np.einsum("hid,hjd->hij", q, k) / math.sqrt(width // heads)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            mixed = np.einsum("hij,hjd->ihd", weights / weights.sum(-1, keepdims=True), v).reshape(len(ids), width)
            x = self._norm(x + self._linear(mixed, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
            inner = self._linear(x, f"{at}.intermediate.dense")
            inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
            x = self._norm(x + self._linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
        mean = x.mean(0)
        return mean / np.linalg.norm(mean)


def write_tiny_bert(folder: Path, *, words: int = 50, seed: int = 7) -> Path:
    """Write a random encoder's weights and configuration; return the folder."""
    random = np.random.default_rng(seed)
    width, inner = int(str(TINY["hidden_size"])), int(str(TINY["intermediate_size"]))
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (words, width),
        "embeddings.position_embeddings.weight": (40, width),
        "embeddings.token_type_embeddings.weight": (2, width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
    }
    for layer in range(2):
        for name, rows, columns in (
            ("attention.self.query", width, width),
            ("attention.self.key", width, width),
            ("attention.self.value", width, width),
            ("attention.output.dense", width, width),
            ("intermediate.dense", inner, width),
            ("output.dense", width, inner),
        ):
            shapes[f"encoder.layer.{layer}.{name}.weight"] = (rows, columns)
            shapes[f"encoder.layer.{layer}.{name}.bias"] = (rows,)
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[f"encoder.layer.{layer}.{name}.weight"] = (width,)
            shapes[f"encoder.layer.{layer}.{name}.bias"] = (width,)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: (random.standard_normal(shape) * 0.4).astype(np.float32) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(TINY))
    return folder
