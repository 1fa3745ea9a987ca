"""Recognition of recordings and of live audio, and invalid recordings."""

from __future__ import annotations

import asyncio
import io
import random
import wave
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import grpc
import numpy as np
import pytest

from enginehouse.api.router.v1 import usage_pb2
from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.api.voice.v1.voice_pb2 import (
    AudioForm,
    RecognitionOptions,
    StreamingRecognizeConfig,
    StreamingRecognizeRequest,
    SynthesizeRequest,
)
from enginehouse.engines.voice.backends.base import Samples
from enginehouse.kit.errors import Reason, from_rpc_error
from enginehouse.kit.grants import peek
from engines.voice.tests.voice_engine import (
    AUDIO_MS,
    VoiceClient,
    amounts,
    recognition_model,
    refusal,
    running_engine,
    speech_model,
    tone,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

SENTENCE = "One two three four five. Six seven eight nine ten."


def wav(samples: np.ndarray[Any, Any], *, rate: int = 16_000, channels: int = 1, width: int = 2) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(samples.tobytes())
    return file.getvalue()


async def spoken(engine: VoiceClient, text: str = SENTENCE, **audio: Any) -> bytes:
    return (await engine.speak(SynthesizeRequest(text=text, audio=AudioForm(**audio)))).audio


async def live(
    engine: VoiceClient, samples: Samples, *, grant: Any = None, step: int = 1600, **config: Any
) -> list[Any]:
    config.setdefault("sample_rate", 16_000)

    async def messages() -> Any:
        yield StreamingRecognizeRequest(config=StreamingRecognizeConfig(**config))
        for start in range(0, len(samples), step):
            yield StreamingRecognizeRequest(audio=samples[start : start + step].tobytes())

    metadata = engine.metadata("StreamingRecognize", models=["pocketsphinx"], **(grant or {}))
    call = engine.stub.StreamingRecognize(messages(), metadata=metadata, timeout=60)
    return [response async for response in call]


async def test_a_recording_is_written_down_and_billed_by_its_length(engine: VoiceClient) -> None:
    audio = await spoken(engine)
    heard = await engine.recognize(audio, word_times=True)
    assert (heard.model, heard.language, bool(heard.request_id)) == ("pocketsphinx", "en", True)
    assert heard.text == " ".join(segment.text for segment in heard.segments)
    with wave.open(io.BytesIO(audio)) as file:
        file_ms = (len(audio) - 44) * 1000 // (2 * file.getframerate())
    assert abs(heard.duration_ms - file_ms) < 50
    words = [word for segment in heard.segments for word in segment.words]
    assert len(words) > 4
    times = [time for word in words for time in (word.start_ms, word.end_ms)]
    assert times == sorted(times)
    assert times[-1] <= heard.duration_ms
    assert all(0 <= word.confidence <= 1 for word in words)
    usage = {unit.unit: unit.amount for unit in heard.usage.units}
    assert usage == {AUDIO_MS: heard.duration_ms}
    records = await engine.records(2)
    assert amounts(records[1]) == usage


@pytest.mark.parametrize(
    ("encoding", "rate"),
    [
        (voice_pb2.AUDIO_ENCODING_MP3, 24_000),
        (voice_pb2.AUDIO_ENCODING_OPUS, 48_000),
        (voice_pb2.AUDIO_ENCODING_AAC, 44_100),
        (voice_pb2.AUDIO_ENCODING_FLAC, 22_050),
    ],
)
async def test_any_container_is_read(
    engine: VoiceClient, encoding: voice_pb2.AudioEncoding.ValueType, rate: int
) -> None:
    heard = await engine.recognize(await spoken(engine, encoding=encoding, sample_rate=rate))
    assert heard.text
    assert heard.duration_ms > 2000


async def test_unusual_recordings_are_recognized(engine: VoiceClient) -> None:
    second = tone(1.0, rate=16_000)
    stereo = np.stack([second, second], axis=1).reshape(-1)
    eight = (second // 256 + 128).astype(np.uint8)
    for audio in (
        wav(stereo, channels=2),
        wav(eight, width=1),
        wav(tone(1.0, rate=192_000), rate=192_000),
        wav(np.full(16_000, 32_767, np.int16)),
        wav(np.zeros(16_000, np.int16)),
    ):
        heard = await engine.recognize(audio)
        assert abs(heard.duration_ms - 1000) < 40


async def test_silence_has_no_segments(engine: VoiceClient) -> None:
    heard = await engine.recognize(wav(np.zeros(48_000, np.int16)))
    assert (heard.text, len(heard.segments), heard.duration_ms) == ("", 0, 3000)


def bomb() -> bytes:
    """A small file of many hours: FLAC compresses silence to almost nothing."""
    file = io.BytesIO()
    with av.open(file, "w", format="flac") as output:
        stream = output.add_stream("flac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000 * 60), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        assert isinstance(stream, av.AudioStream)
        for _ in range(60 * 5):
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.wav", bytes(1 << 20))
    return file.getvalue()


@pytest.mark.parametrize(
    ("audio", "hint"),
    [
        (b"", "empty"),
        (b"hello", ""),
        (random.Random(1).randbytes(100_000), ""),
        (b"\x89PNG\r\n\x1a\n" + bytes(1000), ""),
        (zipped(), ""),
        (wav(np.zeros(0, np.int16))[:30], ""),
    ],
)
async def test_invalid_recordings_are_refused(engine: VoiceClient, audio: bytes, hint: str) -> None:
    error = await refusal(engine.recognize(audio))
    assert error.reason is Reason.INVALID_REQUEST
    assert error.violations[0].field == "audio"
    assert hint in error.message
    [record] = await engine.records(1)
    assert amounts(record) == {}
    assert engine.busy() == 0


async def test_hours_in_a_small_file_are_refused_once_they_are_too_many(tmp_path: Path) -> None:
    data = bomb()
    assert len(data) < 4_000_000
    async with running_engine([recognition_model()], directory=tmp_path, max_audio_s=30) as engine:
        error = await refusal(engine.recognize(data))
        assert error.reason is Reason.INVALID_REQUEST
        assert "longer than" in error.message
        # It was stopped there, and not read to its end.
        [record] = await engine.records(1)
        assert amounts(record)[AUDIO_MS] <= 31_000
        assert engine.busy() == 0


async def test_the_cap_ends_a_recording(engine: VoiceClient) -> None:
    audio = await spoken(engine)
    heard = await engine.recognize(audio, grant={"prices": {AUDIO_MS: 1_000_000}, "cap_nanos": 1500})
    assert heard.stopped_by_budget
    assert heard.duration_ms == 1500
    assert heard.usage.cost_nanos == 1500
    records = await engine.records(2)
    assert records[1].outcome == usage_pb2.OUTCOME_CAPPED


async def test_too_small_a_reservation_is_extended(engine: VoiceClient) -> None:
    audio = await spoken(engine)
    whole = await engine.recognize(audio, grant={"prices": {AUDIO_MS: 1_000_000}})
    await engine.records(2)
    await engine.rest()
    small = {"prices": {AUDIO_MS: 1_000_000}, "cap_nanos": 100, "replica_address": engine.router_address}
    heard = await engine.recognize(audio, grant=small)
    assert not heard.stopped_by_budget
    assert (heard.text, heard.duration_ms) == (whole.text, whole.duration_ms)
    [record] = await engine.records(1)
    assert record.outcome == usage_pb2.OUTCOME_COMPLETED
    # The grant that is reported is the one that covers it.
    assert peek(record.grant).candidates[0].cap_nanos >= record.usage.cost_nanos == whole.duration_ms
    # The cap is doubled each time, so that a long recording asks seldom.
    assert len(engine.recorder.extended) <= 6


async def test_a_budget_without_more_ends_a_recording(engine: VoiceClient) -> None:
    audio = await spoken(engine)
    engine.recorder.budget_nanos = 700
    small = {"prices": {AUDIO_MS: 1_000_000}, "cap_nanos": 500, "replica_address": engine.router_address}
    heard = await engine.recognize(audio, grant=small)
    assert heard.stopped_by_budget
    assert 500 < heard.duration_ms <= 1200
    assert heard.usage.cost_nanos == heard.duration_ms


async def test_the_requests_own_bound_ends_a_recording(engine: VoiceClient) -> None:
    audio = await spoken(engine)
    small = {
        "prices": {AUDIO_MS: 1_000_000},
        "cap_nanos": 500,
        "max_nanos": 1200,
        "replica_address": engine.router_address,
    }
    heard = await engine.recognize(audio, grant=small)
    assert heard.stopped_by_budget
    assert heard.usage.cost_nanos <= 1200


async def test_a_ledger_that_is_away_is_not_told_as_a_budget(engine: VoiceClient) -> None:
    audio = await spoken(engine)
    engine.recorder.budget_nanos = -1
    small = {"prices": {AUDIO_MS: 1_000_000}, "cap_nanos": 500, "replica_address": engine.router_address}
    error = await refusal(engine.recognize(audio, grant=small))
    assert error.reason is Reason.LEDGER_UNAVAILABLE


async def test_live_speech_is_extended_too(engine: VoiceClient) -> None:
    said = await pcm(engine, SENTENCE)
    small = {"prices": {AUDIO_MS: 1_000_000}, "cap_nanos": 100, "replica_address": engine.router_address}
    responses = await live(engine, said, grant=small)
    summary = responses[-1].summary
    assert not summary.stopped_by_budget
    assert abs(summary.audio_ms - len(said) // 16) < 30


async def test_unsupported_languages_are_refused(engine: VoiceClient) -> None:
    audio = wav(tone(0.5, rate=16_000))
    error = await refusal(engine.recognize(audio, language="te"))
    assert error.violations[0].field == "options.language"
    error = await refusal(engine.recognize(audio, translate=True))
    assert error.reason is Reason.UNSUPPORTED_CAPABILITY


async def test_live_speech_comes_sentence_by_sentence(engine: VoiceClient) -> None:
    pause = np.zeros(16_000 * 2, np.int16)
    pieces: list[Samples] = [pause[:8000]]
    for text in ("One two three four five.", "Six seven eight nine ten."):
        pieces += [await pcm(engine, text), pause]
    samples = np.concatenate(pieces)
    responses = await live(engine, samples, interim_results=True, options=RecognitionOptions(word_times=True))
    assert responses[0].model == "pocketsphinx"
    events = [response.event for response in responses if response.event]
    assert events == [voice_pb2.SPEECH_EVENT_STARTED, voice_pb2.SPEECH_EVENT_ENDED] * 2
    finals = [response.result for response in responses if response.result.is_final]
    assert len(finals) == 2
    assert any(response.result.segment.text and not response.result.is_final for response in responses)
    # Times count from the first sample of the call.
    second = finals[1].segment
    begins_ms = (len(pieces[0]) + len(pieces[1]) + len(pieces[2])) // 16
    assert begins_ms - 400 < second.start_ms < second.end_ms < len(samples) // 16
    assert second.words
    summary = responses[-1].summary
    assert abs(summary.audio_ms - len(samples) // 16) < 30
    assert not summary.stopped_by_budget


async def pcm(engine: VoiceClient, text: str, rate: int = 16_000) -> Samples:
    form = {"encoding": voice_pb2.AUDIO_ENCODING_PCM, "sample_rate": rate}
    return np.frombuffer(await spoken(engine, text, **form), dtype="<i2").astype(np.int16)


async def test_a_single_utterance_on_request(engine: VoiceClient) -> None:
    pause = np.zeros(16_000 * 2, np.int16)
    said = await pcm(engine, "One two three four five.")
    responses = await live(engine, np.concatenate([said, pause, said, pause]), single_utterance=True)
    assert sum(response.result.is_final for response in responses) == 1
    assert responses[-1].summary.audio_ms < (len(said) + len(pause)) // 16


async def test_another_rate_is_heard_as_well(engine: VoiceClient) -> None:
    said = await pcm(engine, SENTENCE, rate=48_000)
    responses = await live(engine, said, sample_rate=48_000, step=4800)
    assert any(response.result.is_final for response in responses)
    assert abs(responses[-1].summary.audio_ms - len(said) // 48) < 30


async def test_the_cap_ends_live_speech(engine: VoiceClient) -> None:
    said = await pcm(engine, SENTENCE)
    responses = await live(engine, said, grant={"prices": {AUDIO_MS: 1_000_000}, "cap_nanos": 1000})
    summary = responses[-1].summary
    assert (summary.stopped_by_budget, summary.audio_ms, summary.usage.cost_nanos) == (True, 1000, 1000)


def config(**fields: Any) -> StreamingRecognizeRequest:
    return StreamingRecognizeRequest(config=StreamingRecognizeConfig(**({"sample_rate": 16_000} | fields)))


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "config"),
        ([StreamingRecognizeRequest(audio=b"xx")], "config"),
        ([config(sample_rate=0)], "config.sample_rate"),
        ([config(sample_rate=96_000)], "config.sample_rate"),
        ([config(end_silence_ms=7)], "config.end_silence_ms"),
        ([config(options=RecognitionOptions(language="te"))], "options.language"),
        ([config(), config()], "message"),
        ([config(), StreamingRecognizeRequest(audio=bytes((1 << 20) + 2))], "audio"),
        ([config(), StreamingRecognizeRequest(audio=b"x")], "audio"),
    ],
)
async def test_invalid_live_requests_are_named(
    engine: VoiceClient, messages: Sequence[StreamingRecognizeRequest], field: str
) -> None:
    call = engine.stub.StreamingRecognize(
        iter(messages), metadata=engine.metadata("StreamingRecognize", models=["pocketsphinx"]), timeout=30
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call:
            pass
    error = from_rpc_error(caught.value)
    assert error is not None
    assert error.reason is Reason.INVALID_REQUEST
    assert error.violations[0].field == field


async def test_a_stalled_stream_is_ended(tmp_path: Path) -> None:
    async with running_engine([speech_model(), recognition_model()], directory=tmp_path, stall_s=1) as engine:
        call = engine.stub.StreamingRecognize(
            metadata=engine.metadata("StreamingRecognize", models=["pocketsphinx"]), timeout=30
        )
        await call.write(config())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            while await asyncio.wait_for(call.read(), 20) is not grpc.aio.EOF:
                pass
        error = from_rpc_error(caught.value)
        assert error is not None
        assert error.reason is Reason.DEADLINE_EXCEEDED
        await engine.records(1)
        assert engine.busy() == 0


async def test_a_caller_who_leaves_frees_the_model(engine: VoiceClient) -> None:
    audio = wav(np.tile(await pcm(engine, SENTENCE), 40))
    request = voice_pb2.RecognizeRequest(audio=audio)
    call = engine.stub.Recognize(request, metadata=engine.metadata("Recognize", models=["pocketsphinx"]))
    while not engine.busy():
        await asyncio.sleep(0.01)
    call.cancel()
    records = await engine.records(2)
    assert records[1].outcome == usage_pb2.OUTCOME_CANCELLED
    assert engine.busy() == 0
    assert (await engine.recognize(await spoken(engine))).text
