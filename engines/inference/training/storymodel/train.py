"""The training loop: a budget of minutes, checkpoints on the way, and resuming after a stop.

The schedule follows the share of the time budget that is spent, not a number of steps, because how
many steps fit depends on what else the machine is doing.
"""

from __future__ import annotations

import json
import logging
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engines.inference.training.storymodel.model import ModelShape, StoryModel
from engines.inference.training.storymodel.muon import Muon
from engines.inference.training.storymodel.samples import SampleMaker
from engines.inference.training.storymodel.tokenizer import DOCUMENT_ID

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The length of the training, and its parameters."""

    minutes: float
    """Wall-clock budget over all resumed parts, time spent in checkpoints included."""
    tokens_per_step: int = 2048
    tokens_per_pass: int = 2048
    """One forward and backward pass; one or several make a step. Small passes stay in the cache."""
    short_row: int = 512
    long_row: int = 1024
    long_rows_from: float = 0.75
    """Share of the budget after which rows are as long as the context."""
    warm_up: float = 0.02
    decay_from: float = 0.6
    matrix_rate: float = 0.008
    embedding_rate: float = 0.002
    weight_decay: float = 0.02
    checkpoint_seconds: float = 180.0

    def rate(self, progress: float) -> float:
        """Multiplier of both learning rates: up, flat, then straight down to 2 %."""
        if progress < self.warm_up:
            return max(0.02, progress / self.warm_up)
        if progress < self.decay_from:
            return 1.0
        return max(0.02, (1.0 - progress) / (1.0 - self.decay_from))

    def row_length(self, progress: float) -> int:
        """Tokens in a row."""
        return self.short_row if progress < self.long_rows_from else self.long_row


class Trainer:
    """A training run: the model, its optimisers and its place in the schedule."""

    def __init__(
        self,
        *,
        shape: ModelShape,
        schedule: Schedule,
        samples: SampleMaker,
        checkpoint: Path,
        seed: int,
        dropout: float,
    ) -> None:
        torch.manual_seed(seed)
        self._schedule = schedule
        self._samples = samples
        self._checkpoint = checkpoint
        self._rng = random.Random(seed)
        self.model = StoryModel(shape=shape, dropout=dropout)
        matrices = [p for p in self.model.blocks.parameters() if p.ndim == 2]
        inside = {id(p) for p in matrices}
        others = [p for p in self.model.parameters() if id(p) not in inside]
        self._optimisers: tuple[torch.optim.Optimizer, ...] = (
            Muon(matrices, lr=schedule.matrix_rate, weight_decay=schedule.weight_decay),
            torch.optim.AdamW(others, lr=schedule.embedding_rate, betas=(0.9, 0.95), weight_decay=0.0, eps=1e-10),
        )
        self._base_rates = (schedule.matrix_rate, schedule.embedding_rate)
        self._elapsed = 0.0
        self._tokens = 0
        self._steps = 0

    @property
    def progress(self) -> float:
        """Share of the time budget that is spent, 0..1."""
        return min(1.0, self._elapsed / (60.0 * self._schedule.minutes))

    def run(self) -> None:
        """Train until the budget is spent; continues from the checkpoint if there is one.

        Ctrl-C saves a checkpoint before it stops.
        """
        if self._checkpoint.exists():
            self._load()
        try:
            self._run()
        except KeyboardInterrupt:
            _LOG.info("stopped at step %d", self._steps)
        self._save()

    def _run(self) -> None:
        self.model.train()
        last_saved = self._elapsed
        average: float | None = None
        while self.progress < 1.0:
            started = time.monotonic()
            loss = self._step()
            self._elapsed += time.monotonic() - started
            average = loss if average is None else 0.98 * average + 0.02 * loss
            if self._steps % 50 == 0:
                _LOG.info(
                    "step %d, %.1f min, %.2f M tokens, loss %.3f nats/token, progress %.3f",
                    self._steps, self._elapsed / 60, self._tokens / 1e6, average, self.progress,
                )  # fmt: skip
            if self._elapsed - last_saved > self._schedule.checkpoint_seconds:
                last_saved = self._elapsed
                self._save()

    def _step(self) -> float:
        progress = self.progress
        multiplier = self._schedule.rate(progress)
        for optimiser, base in zip(self._optimisers, self._base_rates, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = base * multiplier
        passes = self._schedule.tokens_per_step // self._schedule.tokens_per_pass
        total = 0.0
        for _ in range(passes):
            tokens, learnt = self._batch(progress)
            losses = self.model.token_losses(tokens[:, :-1], tokens[:, 1:], boundary=DOCUMENT_ID, chosen=learnt[:, 1:])
            loss = losses.sum() / max(1, losses.numel())
            (loss / passes).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach()) / passes
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimiser in self._optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self._steps += 1
        if not math.isfinite(total):
            raise FloatingPointError(f"the loss became {total} at step {self._steps}")
        return total

    def _batch(self, progress: float) -> tuple[Tensor, Tensor]:
        """Token ids and which are learnt, each ``(rows, row_length + 1)``."""
        length = self._schedule.row_length(progress)
        rows = [
            self._samples.row(self._rng, length=length + 1, progress=progress)
            for _ in range(self._schedule.tokens_per_pass // length)
        ]
        self._tokens += len(rows) * length
        return torch.tensor([ids for ids, _ in rows]), torch.tensor([learnt for _, learnt in rows], dtype=torch.bool)

    def _save(self) -> None:
        partial = self._checkpoint.with_suffix(".partial")
        state: dict[str, Any] = {
            "shape": self.model.shape.as_dict(),
            "model": self.model.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self._optimisers],
            "random": json.dumps(self._rng.getstate()),
            "torch_random": torch.get_rng_state(),
            "elapsed": self._elapsed,
            "tokens": self._tokens,
            "steps": self._steps,
        }
        torch.save(state, partial)
        partial.replace(self._checkpoint)

    def _load(self) -> None:
        state = torch.load(self._checkpoint, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimiser, saved in zip(self._optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        version, internal, gauss = json.loads(state["random"])
        self._rng.setstate((version, tuple(internal), gauss))
        torch.set_rng_state(state["torch_random"])
        self._elapsed, self._tokens = state["elapsed"], state["tokens"]
        self._steps = state["steps"]
        _LOG.info("continuing at step %d, %.1f min", self._steps, self._elapsed / 60)


def load_model(checkpoint: Path) -> tuple[StoryModel, dict[str, Any]]:
    """The model of a checkpoint, ready to evaluate, and the whole checkpoint."""
    state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    model = StoryModel(shape=ModelShape(**state["shape"]))
    model.load_state_dict(state["model"])
    return model.eval(), state
