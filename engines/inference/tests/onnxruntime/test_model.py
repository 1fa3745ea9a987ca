"""The grouping of texts into steps, and what a cancelled request leaves undone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from enginehouse.engines.inference.backends.base import TextModelInfo
from enginehouse.engines.inference.backends.onnxruntime._batches import plan_batches
from enginehouse.engines.inference.backends.onnxruntime._model import OnnxRuntimeModel

THREADS = 2


@given(lengths=st.lists(st.integers(1, 600), max_size=60), step_tokens=st.integers(1, 1000))
def test_every_text_is_read_once_in_steps_that_are_bounded(lengths: list[int], step_tokens: int) -> None:
    batches = plan_batches(lengths, step_tokens=step_tokens)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    widths = [max(lengths[index] for index in batch) for batch in batches]
    assert widths == sorted(widths, reverse=True)
    for batch, width in zip(batches, widths, strict=True):
        assert len(batch) == 1 or len(batch) * width <= step_tokens


class HeldSession:
    """An encoder whose steps end when they are let go."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.go = threading.Event()
        self.started = threading.Semaphore(0)

    def run(self, texts: Sequence[Sequence[int]]) -> Any:
        self.steps.append(len(texts))
        self.started.release()
        self.go.wait()
        return np.ones((len(texts), 4), dtype=np.float32) / 2


def model_on(session: Any) -> OnnxRuntimeModel:
    tokenizer = Tokenizer(WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]
    return OnnxRuntimeModel(
        name="held",
        session=session,
        tokenizer=tokenizer,
        info=TextModelInfo(slots=1, memory_bytes=0, context_tokens=8, embedding_dimensions=4),
        threads=THREADS,
        step_tokens=1,
    )


async def test_a_cancelled_request_starts_no_further_step() -> None:
    session = HeldSession()
    model = model_on(session)
    request = asyncio.create_task(model.embed(["a"] * 50, max_input_tokens=50))
    for _ in range(THREADS):
        await asyncio.to_thread(session.started.acquire)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    session.go.set()
    # Later than any step that was left in the queue.
    assert await model.tokenize("a b") == [0, 1]
    await model.close()
    assert session.steps == [1] * THREADS


async def test_a_request_in_steps_lets_another_have_its_turn() -> None:
    session = HeldSession()
    model = model_on(session)
    long = asyncio.create_task(model.embed(["a"] * 50, max_input_tokens=50))
    for _ in range(THREADS):
        await asyncio.to_thread(session.started.acquire)
    short = asyncio.create_task(model.embed(["a"], max_input_tokens=1))
    await asyncio.sleep(0)
    session.go.set()
    done, _ = await asyncio.wait({long, short}, return_when=asyncio.FIRST_COMPLETED)
    assert short in done
    assert (await long).vectors == [[0.5] * 4] * 50
    await model.close()
