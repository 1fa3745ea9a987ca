"""The tiny model computed by NumPy, from the same file: what its log probabilities are, without llama.cpp."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np


def log_probabilities(path: Path, tokens: Sequence[int], *, heads: int = 4) -> Any:
    """Return the log probabilities of every token after each prefix of `tokens`: one row a prefix."""
    weights = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}
    state = weights["token_embd.weight"][list(tokens)].astype(np.float64)
    count, width = state.shape
    size = width // heads
    future = np.triu(np.full((count, count), -np.inf), 1)
    layer = 0
    while f"blk.{layer}.attn_q.weight" in weights:
        block = {name: weights[f"blk.{layer}.{name}.weight"] for name in _MATRICES}
        seen = _normal(state) * block["attn_norm"]
        query, key, value = (
            (seen @ block[name].T).reshape(count, heads, size) for name in ("attn_q", "attn_k", "attn_v")
        )
        scores = np.einsum("ihd,jhd->hij", _turned(query), _turned(key)) / np.sqrt(size) + future
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        state = state + np.einsum("hij,jhd->ihd", shares, value).reshape(count, width) @ block["attn_output"].T
        seen = _normal(state) * block["ffn_norm"]
        gate = seen @ block["ffn_gate"].T
        state = state + (gate / (1 + np.exp(-gate)) * (seen @ block["ffn_up"].T)) @ block["ffn_down"].T
        layer += 1
    logits = (_normal(state) * weights["output_norm.weight"]) @ weights["output.weight"].T
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


_MATRICES = (
    "attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down",
)  # fmt: skip


def _normal(state: Any) -> Any:
    return state / np.sqrt((state * state).mean(-1, keepdims=True) + 1e-5)


def _turned(vectors: Any) -> Any:
    """Return the vectors with rotary positions: each pair of neighbours is turned by its position."""
    count, _, size = vectors.shape
    angles = np.arange(count)[:, None] * 10_000.0 ** (-np.arange(0, size, 2) / size)
    sine, cosine = np.sin(angles)[:, None], np.cos(angles)[:, None]
    even, odd = vectors[..., 0::2], vectors[..., 1::2]
    turned = np.empty_like(vectors)
    turned[..., 0::2] = even * cosine - odd * sine
    turned[..., 1::2] = even * sine + odd * cosine
    return turned
