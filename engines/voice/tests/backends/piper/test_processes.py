"""Piper's processes: many callers, callers that leave, processes that die."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import aclosing
from pathlib import Path

import pytest

from enginehouse.kit.errors import Reason, ServiceError
from engines.voice.tests.backends.piper.voices import STEADY, piper
from engines.voice.tests.backends.processes import children_of
from engines.voice.tests.backends.speech import said, utterance

CHILD = "piper._child"
LONG = "The crow found a jug, and the water was low, " * 6


def mapped() -> str:
    return Path("/proc/self/maps").read_text()


async def test_the_engine_process_does_not_load_piper() -> None:
    async with piper() as speaker:
        await said(speaker, "One.")
    assert not any(name == "piper" or name.startswith("piper.") for name in sys.modules)
    assert "espeakbridge" not in mapped()


async def test_many_callers_share_the_processes() -> None:
    async with piper(slots=2, **STEADY) as speaker:
        assert speaker.info.slots == 2
        assert len(children_of(os.getpid(), CHILD)) == 2
        alone = await said(speaker, "Two.")
        audio = await asyncio.gather(*(said(speaker, "Two.") for _ in range(6)))
        assert {samples.tobytes() for samples in audio} == {alone.tobytes()}
        assert len(children_of(os.getpid(), CHILD)) == 2
    assert children_of(os.getpid(), CHILD) == []


async def test_a_long_sentence_lets_others_through() -> None:
    async with piper() as speaker, aclosing(speaker.speak(utterance(LONG))) as audio:
        await anext(audio)
        assert len(await said(speaker, "One.")), "though the other has not ended"
        assert len(await anext(audio))


async def test_a_caller_that_leaves_costs_no_process() -> None:
    async with piper(**STEADY) as speaker:
        whole = await said(speaker, "Two.")
        [child] = children_of(os.getpid(), CHILD)
        speaking = asyncio.create_task(said(speaker, LONG))
        await asyncio.sleep(0)
        speaking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await speaking
        async with aclosing(speaker.speak(utterance(LONG))) as audio:
            await anext(audio)
        assert (await said(speaker, "Two.")).tobytes() == whole.tobytes()
        assert children_of(os.getpid(), CHILD) == [child]


async def test_a_process_that_dies_fails_its_caller_and_is_replaced() -> None:
    async with piper(**STEADY) as speaker:
        whole = await said(speaker, "Two.")
        [child] = children_of(os.getpid(), CHILD)
        os.kill(child, signal.SIGSTOP)
        speaking = asyncio.create_task(said(speaker, "Two."))
        while not speaking.done() and children_of(os.getpid(), CHILD):
            await asyncio.sleep(0.01)
            os.kill(child, signal.SIGKILL)
        with pytest.raises(ServiceError, match="the piper process was ended by SIGKILL") as raised:
            await speaking
        assert raised.value.reason is Reason.BACKEND_FAILED
        assert (await said(speaker, "Two.")).tobytes() == whole.tobytes()
        assert children_of(os.getpid(), CHILD) != [child]


async def test_a_closed_model_speaks_no_more() -> None:
    async with piper() as speaker:
        pass
    with pytest.raises(ServiceError) as raised:
        await said(speaker, "One.")
    assert raised.value.reason is Reason.BACKEND_FAILED
