"""The Llama architecture in plain PyTorch, small enough to read in one sitting.

It exists so that the weights can be trained without a model library. It knows nothing about text,
files or GGUF: token ids go in, logits or a loss come out. Rotary embeddings use the half-split
layout (first half of a head rotates with the second half); the exporter reorders the rows for
runtimes that expect neighbouring pairs.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """The numbers that determine the shape of the network."""

    vocabulary: int
    """Rows of the embedding table, which is also the output layer (tied)."""
    width: int = 256
    """Size of the residual stream."""
    layers: int = 6
    heads: int = 4
    """Query heads; ``width`` is divided evenly among them."""
    kv_heads: int = 4
    """Key and value heads; ``heads`` is a multiple of it."""
    hidden: int = 704
    """Inner size of the gated feed-forward block."""
    context: int = 1024
    """Longest sequence, in tokens, that the model is trained on."""
    rope_base: float = 10000.0
    norm_epsilon: float = 1e-5

    @property
    def head_width(self) -> int:
        """Size of one head's vectors."""
        return self.width // self.heads

    def as_dict(self) -> dict[str, int | float]:
        """The fields by name, for a checkpoint."""
        return asdict(self)


class RMSNorm(nn.Module):
    """Root-mean-square normalisation over the last axis, with a learned gain."""

    def __init__(self, *, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self._shape = (width,)
        self._epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Any shape that ends in ``width``, kept."""
        return functional.rms_norm(x, self._shape, self.weight, self._epsilon)


def rotary_tables(shape: ModelShape) -> tuple[Tensor, Tensor]:
    """Cosines and sines, each ``(context, head_width / 2)``."""
    half = shape.head_width // 2
    rates = shape.rope_base ** (-torch.arange(half, dtype=torch.float32) / half)
    angles = torch.arange(shape.context, dtype=torch.float32)[:, None] * rates[None, :]
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn ``x`` (batch, heads, time, head_width) by its position."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosines - second * sines, second * cosines + first * sines), dim=-1)


def document_mask(tokens: Tensor, *, boundary: int) -> Tensor:
    """Return the earlier positions that each position sees: ``(batch, 1, time, time)``, those of its document."""
    documents = (tokens == boundary).cumsum(dim=1)
    same = documents[:, None, :, None] == documents[:, None, None, :]
    return same.tril()


class Attention(nn.Module):
    """Causal self-attention with rotary positions."""

    def __init__(self, *, shape: ModelShape) -> None:
        super().__init__()
        self._shape = shape
        kv_width = shape.kv_heads * shape.head_width
        self.q = nn.Linear(shape.width, shape.width, bias=False)
        self.k = nn.Linear(shape.width, kv_width, bias=False)
        self.v = nn.Linear(shape.width, kv_width, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor, cosines: Tensor, sines: Tensor, visible: Tensor | None) -> Tensor:
        """``(batch, time, width)``, kept; the tables are cut to ``time``."""
        batch, time, width = x.shape
        head = self._shape.head_width

        def split(y: Tensor) -> Tensor:
            return y.view(batch, time, -1, head).transpose(1, 2)

        q = rotate(split(self.q(x)), cosines, sines)
        k = rotate(split(self.k(x)), cosines, sines)
        y = functional.scaled_dot_product_attention(
            q,
            k,
            split(self.v(x)),
            attn_mask=visible,
            is_causal=visible is None,
            enable_gqa=self._shape.kv_heads != self._shape.heads,
        )
        mixed: Tensor = self.out(y.transpose(1, 2).reshape(batch, time, width))
        return mixed


class FeedForward(nn.Module):
    """The gated (SiLU) feed-forward block."""

    def __init__(self, *, shape: ModelShape) -> None:
        super().__init__()
        self.gate = nn.Linear(shape.width, shape.hidden, bias=False)
        self.up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, time, width)``, kept."""
        y: Tensor = self.down(functional.silu(self.gate(x)) * self.up(x))
        return y


class Block(nn.Module):
    """One layer: attention, then feed-forward, each on a normalised copy of the stream."""

    def __init__(self, *, shape: ModelShape, dropout: float) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(width=shape.width, epsilon=shape.norm_epsilon)
        self.attention = Attention(shape=shape)
        self.feed_norm = RMSNorm(width=shape.width, epsilon=shape.norm_epsilon)
        self.feed = FeedForward(shape=shape)
        self._dropout = dropout

    def forward(self, x: Tensor, cosines: Tensor, sines: Tensor, visible: Tensor | None) -> Tensor:
        """``(batch, time, width)``, kept."""
        mixed = self.attention(self.attention_norm(x), cosines, sines, visible)
        x = x + functional.dropout(mixed, self._dropout, self.training)
        fed = self.feed(self.feed_norm(x))
        return x + functional.dropout(fed, self._dropout, self.training)


class StoryModel(nn.Module):
    """A causal language model whose output layer is its embedding table."""

    cosines: Tensor
    sines: Tensor

    def __init__(self, *, shape: ModelShape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape=shape, dropout=dropout) for _ in range(shape.layers))
        self.final_norm = RMSNorm(width=shape.width, epsilon=shape.norm_epsilon)
        cosines, sines = rotary_tables(shape)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.normal_(self.embedding.weight, std=0.02)
        residual_scale = 1.0 / math.sqrt(2 * self.shape.layers)
        for name, parameter in self.blocks.named_parameters():
            if parameter.ndim < 2:
                continue
            std = 0.5 / math.sqrt(parameter.shape[1])
            if name.endswith(("out.weight", "down.weight")):
                std *= residual_scale
            nn.init.normal_(parameter, std=std)

    def hidden_states(self, tokens: Tensor, *, boundary: int | None = None) -> Tensor:
        """``(batch, time)`` token ids to ``(batch, time, width)`` normalised states.

        With a ``boundary`` token, which begins each document of a row, documents don't see each other.
        """
        time = tokens.shape[1]
        x = self.embedding(tokens)
        cosines, sines = self.cosines[:time], self.sines[:time]
        visible = None if boundary is None else document_mask(tokens, boundary=boundary)
        for block in self.blocks:
            x = block(x, cosines, sines, visible)
        normalised: Tensor = self.final_norm(x)
        return normalised

    def forward(self, tokens: Tensor) -> Tensor:
        """``(batch, time)`` token ids to ``(batch, time, vocabulary)`` logits."""
        return functional.linear(self.hidden_states(tokens), self.embedding.weight)

    def token_losses(
        self,
        tokens: Tensor,
        targets: Tensor,
        *,
        boundary: int | None = None,
        chosen: Tensor | None = None,
    ) -> Tensor:
        """Cross entropy in nats of each target, in one row; for ``boundary`` see above.

        ``chosen``, ``(batch, time)`` of booleans, leaves the other targets out and saves their logits.
        """
        states = self.hidden_states(tokens, boundary=boundary)
        if chosen is not None:
            states, targets = states[chosen], targets[chosen]
        logits = functional.linear(states, self.embedding.weight)
        return functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), reduction="none")

    def parameter_count(self) -> int:
        """The number of learnt parameters; the tied table counts once."""
        return sum(parameter.numel() for parameter in self.parameters())
