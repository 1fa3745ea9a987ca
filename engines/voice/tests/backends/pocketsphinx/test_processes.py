"""PocketSphinx's processes: many callers, callers that leave, processes that die, and failed loads."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from enginehouse.engines.voice.backends.base import Samples
from enginehouse.engines.voice.backends.pocketsphinx import PocketsphinxBackend
from enginehouse.kit.errors import Reason, ServiceError
from engines.voice.tests.backends.processes import children_of
from engines.voice.tests.backends.recordings import DOOR, RATE, WORDS, heard, heard_live, right, text
from engines.voice.tests.voice_engine import recognition_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHILD = "pocketsphinx._child"


async def test_concurrent_recognitions_have_equal_results(recogniser: Any, count: Samples, door: Samples) -> None:
    alone = [await heard(recogniser, samples) for samples in (count, door)]
    live = await heard_live(recogniser, door)
    together = await asyncio.gather(
        heard(recogniser, count),
        heard(recogniser, door),
        heard_live(recogniser, door),
        heard(recogniser, door),
        heard(recogniser, count),
    )
    assert together == [alone[0], alone[1], live, alone[1], alone[0]]
    assert recogniser.info.slots == 2
    assert len(children_of(os.getpid(), CHILD)) == 2


async def test_exceptions_of_the_audio_are_passed_on(recogniser: Any, door: Samples) -> None:
    async def broken() -> AsyncIterator[Samples]:
        yield door[:RATE]
        raise ServiceError(Reason.INVALID_REQUEST, "no more")

    await heard(recogniser, door)
    known = children_of(os.getpid(), CHILD)
    with pytest.raises(ServiceError, match="no more"):
        async for _ in recogniser.transcribe(broken(), WORDS):
            pass
    assert await heard(recogniser, door)
    assert set(known) <= set(children_of(os.getpid(), CHILD)), "no process was lost"


async def test_a_caller_is_cancelled(recogniser: Any, door: Samples) -> None:
    reached = asyncio.Event()

    async def endless() -> AsyncIterator[Samples]:
        yield door
        reached.set()
        await asyncio.Event().wait()

    async def transcribe() -> None:
        async for _ in recogniser.transcribe(endless(), WORDS):
            pass

    callers = [asyncio.create_task(transcribe()) for _ in range(2)]
    await reached.wait()
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    async with asyncio.timeout(30):
        assert right(text(await heard(recogniser, door)), DOOR) >= 2


async def test_a_process_that_dies_fails_its_caller_and_is_replaced(door: Samples) -> None:
    others = set(children_of(os.getpid(), CHILD))

    def kill() -> None:
        [child] = set(children_of(os.getpid(), CHILD)) - others
        os.kill(child, signal.SIGKILL)

    async def deadly() -> AsyncIterator[Samples]:
        yield door[:RATE]
        kill()
        yield door[RATE:]

    loaded = await PocketsphinxBackend().load(recognition_model(options={"workers": 1}))
    try:
        recogniser: Any = loaded.recogniser
        with pytest.raises(ServiceError, match="SIGKILL") as raised:
            async for _ in recogniser.transcribe(deadly(), WORDS):
                pass
        assert raised.value.reason is Reason.BACKEND_FAILED
        with pytest.raises(ServiceError, match="SIGKILL") as raised:
            async with recogniser.live(WORDS) as utterance:
                await utterance.feed(door[:RATE], interim=False)
                kill()
                await utterance.feed(door, interim=True)
        assert raised.value.reason is Reason.BACKEND_FAILED
        assert right(text(await heard(recogniser, door)), DOOR) >= 2
    finally:
        await loaded.close()
    assert set(children_of(os.getpid(), CHILD)) <= others
    with pytest.raises(ServiceError) as raised:
        await heard(recogniser, door)
    assert raised.value.reason is Reason.BACKEND_FAILED


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"options": {"worker": 2}}, "did you mean 'workers'?"),
        ({"options": {"workers": 0}}, "options.workers"),
        ({"source": "file:model"}, "package:pocketsphinx"),
    ],
)
async def test_unloadable_models_are_refused(changes: dict[str, Any], hint: str) -> None:
    with pytest.raises(ServiceError) as raised:
        await PocketsphinxBackend().load(recognition_model(**changes))
    assert raised.value.reason is Reason.INVALID_REQUEST
    assert hint in raised.value.message


async def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(ServiceError, match="pip install pocketsphinx") as raised:
        await PocketsphinxBackend().load(recognition_model())
    assert raised.value.reason is Reason.WEIGHTS_ABSENT
