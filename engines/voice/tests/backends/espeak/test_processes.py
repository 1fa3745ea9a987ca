"""espeak-ng's processes: many callers, callers that leave, processes that die, and failed loads."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enginehouse.engines.voice.backends.base import ClonedVoice, Prosody
from enginehouse.engines.voice.backends.espeak import EspeakBackend
from enginehouse.kit.errors import Reason, ServiceError
from engines.voice.tests.backends.processes import children_of, gone
from engines.voice.tests.backends.speech import SENTENCE, said, speaking, utterance
from engines.voice.tests.voice_engine import speech_model

CHILD = "espeak._child"
# Takes some seconds to synthesize.
LONG = SENTENCE * 600
CASES: list[dict[str, Any]] = [
    {},
    {"voice": "en-us+f3"},
    {"voice": "en-us+whisper"},
    {"voice": "de+klatt4", "prosody": Prosody(speed=0.3)},
    {"voice": "en-us+croak", "prosody": Prosody(speed=3.5, pitch=12)},
    {"text": "నమస్తే, hello!", "language": "te"},
    {"text": "你好", "language": "zh"},
    {"text": "NASA", "spell": True},
]


def mapped() -> str:
    return Path("/proc/self/maps").read_text()


async def test_equal_utterances_have_equal_audio_whoever_speaks_besides() -> None:
    async with speaking(workers=1) as speaker:
        serial = [await said(speaker, **case) for case in CASES]
    async with speaking(workers=2) as speaker:
        rounds = await asyncio.gather(
            *(said(speaker, **case) for _ in range(8) for case in CASES),
        )
    for at, samples in enumerate(rounds):
        assert samples.tobytes() == serial[at % len(CASES)].tobytes(), CASES[at % len(CASES)]
    assert len({samples.tobytes() for samples in serial}) == len(CASES)


async def test_there_are_no_more_processes_than_workers() -> None:
    async with speaking(workers=2) as speaker:
        assert speaker.info.slots == 2
        await asyncio.gather(*(said(speaker) for _ in range(6)))
        assert len(children_of(os.getpid(), CHILD)) == 2
    assert children_of(os.getpid(), CHILD) == []


async def test_the_engine_process_does_not_load_espeak() -> None:
    async with speaking(workers=1) as speaker:
        await said(speaker, "One.")
    assert "espeakng_loader" not in sys.modules
    assert "libespeak" not in mapped()


async def test_the_first_audio_comes_before_the_last_is_made() -> None:
    async with speaking(workers=1) as speaker, aclosing(speaker.speak(utterance(LONG))) as audio:
        first = await anext(audio)
        assert 0 < len(first) <= 0.2 * speaker.info.sample_rate
        [child] = children_of(os.getpid(), CHILD)
        assert children_of(child), "the utterance is still being spoken"


async def test_an_abandoned_long_utterance_frees_its_process() -> None:
    async with speaking(workers=1) as speaker:
        async with aclosing(speaker.speak(utterance(LONG))) as audio:
            await anext(audio)
            [child] = children_of(os.getpid(), CHILD)
            [fork] = children_of(child)
        async with asyncio.timeout(20):
            again = await said(speaker)
            await gone(fork)
        assert again.tobytes() == (await said(speaker)).tobytes()


async def test_an_abandoned_sentence_keeps_its_process() -> None:
    async with speaking(workers=1) as speaker:
        whole = await said(speaker)
        [child] = children_of(os.getpid(), CHILD)
        for _ in range(3):
            async with aclosing(speaker.speak(utterance("Hello."))) as audio:
                await anext(audio)
            assert (await said(speaker)).tobytes() == whole.tobytes()
        assert children_of(os.getpid(), CHILD) == [child]


async def test_a_caller_is_cancelled_while_it_waits() -> None:
    async with speaking(workers=1) as speaker:
        async with aclosing(speaker.speak(utterance(LONG))) as audio:
            await anext(audio)
            waiting = asyncio.create_task(said(speaker, "Two."))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        async with asyncio.timeout(20):
            assert len(await said(speaker, "Two."))


async def test_a_slow_reader_blocks_nobody() -> None:
    text = SENTENCE * 12
    async with speaking(workers=1) as speaker:
        whole = await said(speaker, text, prosody=Prosody(speed=0.5))
        async with aclosing(speaker.speak(utterance(text, prosody=Prosody(speed=0.5)))) as audio:
            pieces = [await anext(audio)]
            async with asyncio.timeout(20):
                assert len(await said(speaker, "One.")), "though the other's audio was not read"
            pieces += [piece async for piece in audio]
        assert np.concatenate(pieces).tobytes() == whole.tobytes()


async def test_a_process_that_dies_fails_its_caller_and_is_replaced() -> None:
    async with speaking(workers=1) as speaker:
        whole = await said(speaker)
        with pytest.raises(ServiceError, match="espeak-ng process was ended by SIGKILL") as raised:
            async with aclosing(speaker.speak(utterance(LONG))) as audio:
                await anext(audio)
                [child] = children_of(os.getpid(), CHILD)
                [fork] = children_of(child)
                os.kill(child, signal.SIGKILL)
                async for _ in audio:
                    pass
        async with asyncio.timeout(20):
            await gone(fork)
        assert raised.value.reason is Reason.BACKEND_FAILED
        assert (await said(speaker)).tobytes() == whole.tobytes()
        assert children_of(os.getpid(), CHILD) != [child]


async def test_a_crash_costs_its_utterance_only() -> None:
    async with speaking(workers=1) as speaker:
        whole = await said(speaker)
        [child] = children_of(os.getpid(), CHILD)
        with pytest.raises(ServiceError, match="SIGSEGV") as raised:
            async with aclosing(speaker.speak(utterance(LONG))) as audio:
                await anext(audio)
                [fork] = children_of(child)
                os.kill(fork, signal.SIGSEGV)
                async for _ in audio:
                    pass
        assert raised.value.reason is Reason.BACKEND_FAILED
        assert (await said(speaker)).tobytes() == whole.tobytes()
        assert children_of(os.getpid(), CHILD) == [child]


async def test_nothing_is_fed_after_the_end() -> None:
    async with speaking(workers=1) as speaker:
        pass
    with pytest.raises(ServiceError) as raised:
        await said(speaker)
    assert raised.value.reason is Reason.BACKEND_FAILED


async def test_cloned_voices_are_refused(tmp_path: Path) -> None:
    clone = ClonedVoice(voice_id="voc_1", language="en", sample=tmp_path / "sample.wav")
    async with speaking(workers=1) as speaker:
        assert not speaker.info.clones
        with pytest.raises(ServiceError, match="controls.voice"):
            await said(speaker, voice="voc_1", clone=clone)


@pytest.mark.parametrize(
    ("options", "field", "hint"),
    [
        ({"worker": 2}, "options.worker", "'workers'"),
        ({"workers": 0}, "options.workers", "greater than or equal to 1"),
        ({"workers": "many"}, "options.workers", "'many'"),
        ({"aliases": {"reader": "en-us+f33"}}, "options.aliases.reader", "'en-us+f3'"),
        ({"aliases": {"reader": 3}}, "options.aliases.reader", "3"),
    ],
)
async def test_unknown_options_are_refused(options: dict[str, Any], field: str, hint: str) -> None:
    with pytest.raises(ServiceError) as raised:
        await EspeakBackend().load(speech_model(options=options))
    assert raised.value.reason is Reason.INVALID_REQUEST
    assert [violation.field for violation in raised.value.violations] == [field]
    assert hint in raised.value.message
    assert children_of(os.getpid(), CHILD) == []


async def test_another_source_is_refused() -> None:
    with pytest.raises(ServiceError, match="package:espeakng-loader") as raised:
        await EspeakBackend().load(speech_model(source="hf:somebody/something"))
    assert raised.value.reason is Reason.INVALID_REQUEST


async def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ServiceError, match="pip install espeakng-loader") as raised:
        await EspeakBackend().load(speech_model())
    assert raised.value.reason is Reason.WEIGHTS_ABSENT
