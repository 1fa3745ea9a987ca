"""Speech models leave memory when they are idle, never under a conversation, and are described all the while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from enginehouse.api.voice.v1.voice_pb2 import ConverseConfig, ConverseRequest, ListVoicesRequest
from enginehouse.kit.loading import LoadState
from engines.voice.tests.voice_engine import VoiceClient, running_engine, speech_model


async def until(engine: VoiceClient, state: LoadState) -> None:
    async with asyncio.timeout(20):
        while engine.engine.models.find("espeak-ng").state is not state:
            await asyncio.sleep(0.01)


async def test_it_unloads_when_idle_and_not_during_a_conversation(tmp_path: Path) -> None:
    async with running_engine([speech_model()], directory=tmp_path, keep_alive_s=0) as engine:
        served = engine.engine.models.find("espeak-ng")
        listed = await engine.stub.ListVoices(
            ListVoicesRequest(language="te"), metadata=engine.metadata("ListVoices", models=[])
        )
        assert listed.voices
        assert served.state is LoadState.UNLOADED, "its voices are known without loading it"
        first = await engine.speak("Hello there.")
        await until(engine, LoadState.UNLOADED)

        begun, told = asyncio.Event(), asyncio.Event()

        async def messages() -> AsyncIterator[ConverseRequest]:
            yield ConverseRequest(config=ConverseConfig())
            await told.wait()
            yield ConverseRequest(text="Hello again.")

        async def converse() -> int:
            size = 0
            call = engine.stub.Converse(messages(), metadata=engine.metadata("Converse"), timeout=60)
            async for response in call:
                begun.set()
                size += len(response.audio)
            assert "x-enginehouse-load-ms" in dict(await call.initial_metadata())
            return size

        conversation = asyncio.create_task(converse())
        await begun.wait()
        loaded = served.loaded
        assert (await engine.speak("Hello there.")).audio == first.audio
        assert served.loaded is loaded is not None, "the silent conversation keeps it"
        told.set()
        assert await conversation > 0
        await until(engine, LoadState.UNLOADED)
