"""Synthesis of texts and SSML: audio, formats and billing."""

from __future__ import annotations

import asyncio
import io
import wave

import av
import grpc
import numpy as np
import pytest

from enginehouse.api.router.v1 import usage_pb2
from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.api.voice.v1.voice_pb2 import AudioForm, SpeechControls, SynthesizeRequest
from enginehouse.engines.voice.audio import largest_jump
from enginehouse.engines.voice.audio.measure import clipped
from enginehouse.kit.errors import Reason
from engines.voice.tests.voice_engine import (
    AUDIO_MS,
    CHARACTERS,
    ESPEAK_RATE,
    PCM,
    SynthesizedSpeech,
    VoiceClient,
    amounts,
    refusal,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

STORY = "The crow was thirsty. It found a jug, but the water was low! So it dropped pebbles in, one by one."


async def test_a_text_is_spoken_and_billed_for_what_was_sent(engine: VoiceClient) -> None:
    spoken = await engine.speak(STORY)
    first = spoken.responses[0]
    assert (first.model, first.info.encoding, first.info.sample_rate) == (
        "espeak-ng",
        voice_pb2.AUDIO_ENCODING_PCM,
        ESPEAK_RATE,
    )
    assert first.request_id
    assert first.audio
    duration_ms = len(spoken.samples) * 1000 // ESPEAK_RATE
    assert 4_000 < duration_ms < 12_000
    assert spoken.summary.audio_ms == duration_ms
    assert spoken.usage == {CHARACTERS: len(STORY), AUDIO_MS: duration_ms}
    # A million nano-dollars for a million characters, ten thousand for a million milliseconds, rounded up once.
    assert spoken.summary.usage.cost_nanos == len(STORY) - (-duration_ms * 10_000 // 1_000_000)
    [record] = await engine.records(1)
    assert (amounts(record), record.outcome) == (spoken.usage, usage_pb2.OUTCOME_COMPLETED)
    # The chunks cover the text and the audio, without a gap.
    assert [chunk.first_character for chunk in spoken.done] == list(
        np.cumsum([0, *(chunk.characters for chunk in spoken.done[:-1])])
    )
    assert sum(chunk.characters for chunk in spoken.done) == len(STORY)
    assert spoken.done[0].start_ms == 0
    assert spoken.done[-1].start_ms + spoken.done[-1].duration_ms == duration_ms
    assert len(spoken.done) == first.info.chunks
    # No clicks and no clipping.
    assert largest_jump(spoken.samples) < 16_000
    assert clipped(spoken.samples) == 0


@pytest.mark.parametrize(
    ("encoding", "codec", "kind"),
    [
        (voice_pb2.AUDIO_ENCODING_WAV, "pcm_s16le", "audio/wav"),
        (voice_pb2.AUDIO_ENCODING_MP3, "mp3float", "audio/mpeg"),
        (voice_pb2.AUDIO_ENCODING_OPUS, "opus", "audio/ogg"),
        (voice_pb2.AUDIO_ENCODING_AAC, "aac", "audio/aac"),
        (voice_pb2.AUDIO_ENCODING_FLAC, "flac", "audio/flac"),
    ],
)
async def test_every_encoding_is_a_file_of_the_whole_speech(
    engine: VoiceClient, encoding: voice_pb2.AudioEncoding.ValueType, codec: str, kind: str
) -> None:
    request = SynthesizeRequest(text="One crow, two crows.", audio=AudioForm(encoding=encoding))
    spoken = await engine.speak(request)
    assert spoken.responses[0].info.content_type.startswith(kind)
    with av.open(io.BytesIO(spoken.audio)) as file:
        assert codec.startswith(file.streams.audio[0].codec_context.name[:3])
        seconds = sum(frame.samples / frame.sample_rate for frame in file.decode(audio=0))
    assert seconds == pytest.approx(spoken.summary.audio_ms / 1000, abs=0.12)


async def test_wav_without_asking(engine: VoiceClient) -> None:
    spoken = await engine.speak(SynthesizeRequest(text="Hello."))
    assert spoken.audio[:4] == b"RIFF"
    rate = await engine.speak(SynthesizeRequest(text="Hello.", audio=AudioForm(sample_rate=8000)))
    with wave.open(io.BytesIO(rate.audio)) as file:
        assert file.getframerate() == 8000


async def test_telugu_is_spoken_by_a_telugu_voice(engine: VoiceClient) -> None:
    text = "కాకి దాహంతో ఉంది. దానికి 123 రాళ్ళు దొరికాయి."
    spoken = await engine.speak(SynthesizeRequest(text=text, audio=PCM))
    assert spoken.usage[CHARACTERS] == len(text)
    assert np.abs(spoken.samples).max() > 3000
    # By the voice that speaks Telugu, without naming it.
    named = await engine.speak(SynthesizeRequest(text=text, audio=PCM, controls=SpeechControls(voice="te")))
    assert spoken.audio == named.audio
    error = await refusal(engine.speak(SynthesizeRequest(text=text, audio=PCM, controls=SpeechControls(voice="en-us"))))
    assert (error.violations[0].field, "Telugu" in error.message) == ("text", True)


async def test_an_interrupted_synthesis_resumes_by_chunk(engine: VoiceClient) -> None:
    text = " ".join(f"This is sentence number {number}, and it ends here." for number in range(12))
    whole = await engine.speak(text)
    assert len(whole.done) > 2
    rest = await engine.speak(SynthesizeRequest(text=text, audio=PCM, first_chunk=2))
    assert [chunk.chunk for chunk in rest.done] == [chunk.chunk for chunk in whole.done[2:]]
    assert rest.usage[CHARACTERS] == sum(chunk.characters for chunk in whole.done[2:])
    # It does not depend on the preceding chunks: it sounds as in the whole.
    tail = whole.done[2].start_ms * ESPEAK_RATE // 1000
    assert abs(len(whole.samples) - tail - len(rest.samples)) < ESPEAK_RATE // 20
    error = await refusal(engine.speak(SynthesizeRequest(text=text, audio=PCM, first_chunk=99)))
    assert error.violations[0].field == "first_chunk"


async def test_controls_change_the_audio(engine: VoiceClient) -> None:
    async def length(**controls: object) -> int:
        spoken = await engine.speak(
            SynthesizeRequest(text=STORY, audio=PCM, controls=SpeechControls(**controls))  # type: ignore[arg-type]
        )
        return len(spoken.samples)

    plain = await length()
    assert await length(speed=2.0) < plain * 0.65
    assert await length(speed=0.5) > plain * 1.5
    assert await length(emotion=voice_pb2.EMOTION_SAD) > plain
    assert await length(emotion=voice_pb2.EMOTION_EXCITED) < plain
    loud = await engine.speak(SynthesizeRequest(text=STORY, audio=PCM, controls=SpeechControls(volume_db=-20)))
    usual = await engine.speak(STORY)
    assert np.abs(loud.samples).max() < np.abs(usual.samples).max() / 5
    said = await engine.speak(
        SynthesizeRequest(
            text="NASA", audio=PCM, controls=SpeechControls(lexicon=[voice_pb2.Pronunciation(word="nasa", say="crow")])
        )
    )
    assert said.audio == (await engine.speak("crow")).audio
    assert said.usage[CHARACTERS] == 4


async def test_ssml_changes_the_audio(engine: VoiceClient) -> None:
    async def samples(ssml: str) -> SynthesizedSpeech:
        return await engine.speak(SynthesizeRequest(ssml=ssml, audio=PCM))

    plain = await samples("<speak>One two</speak>")
    paused = await samples('<speak>One <break time="1s"/> two</speak>')
    assert 800 < paused.summary.audio_ms - plain.summary.audio_ms < 1400
    # Tags are not counted.
    assert plain.usage[CHARACTERS] == len("One two")
    voice = await samples('<speak><voice name="en-gb">One two</voice></speak>')
    assert voice.audio != plain.audio
    sub = await samples('<speak><sub alias="crow">NASA</sub></speak>')
    assert sub.audio == (await engine.speak("crow")).audio


async def test_bad_ssml_is_named_by_line_and_column(engine: VoiceClient) -> None:
    error = await refusal(
        engine.speak(SynthesizeRequest(ssml='<speak>\n  <prosody rate="quick">x</prosody>\n</speak>'))
    )
    assert error.reason is Reason.INVALID_REQUEST
    assert error.violations[0].field == "ssml"
    assert "line 2, column" in error.message
    assert "quick" in error.message


@pytest.mark.parametrize(
    ("request_", "field", "hint"),
    [
        (SynthesizeRequest(), "text", "missing"),
        (SynthesizeRequest(text="   "), "text", ""),
        (SynthesizeRequest(text="a\x07b"), "text", "control"),
        (SynthesizeRequest(text="🙂🙂"), "text", ""),
        (SynthesizeRequest(text="x" * 500_001), "text", "500001"),
        (
            SynthesizeRequest(text="x", controls=SpeechControls(voice="no-such-voice")),
            "controls.voice",
            "no-such-voice",
        ),
        (
            SynthesizeRequest(text="x", controls=SpeechControls(voice="voc_aaaaaaaaaaaaaaaa")),
            "controls.voice",
            "no voice",
        ),
        (SynthesizeRequest(text="x", controls=SpeechControls(language="xx")), "controls.language", "'xx'"),
        (SynthesizeRequest(text="x", controls=SpeechControls(language="not a tag")), "controls.language", "BCP 47"),
        (SynthesizeRequest(text="కాకి", controls=SpeechControls(language="en")), "text", "Telugu"),
        (SynthesizeRequest(text="x", controls=SpeechControls(speed=9)), "controls.speed", "0.25 to 4"),
        (SynthesizeRequest(text="x", controls=SpeechControls(pitch=float("nan"))), "controls.pitch", "nan"),
        (SynthesizeRequest(text="x", audio=AudioForm(sample_rate=96_000)), "audio.sample_rate", "96000"),
        (
            SynthesizeRequest(text="x", audio=AudioForm(encoding=voice_pb2.AUDIO_ENCODING_OPUS, sample_rate=44_100)),
            "audio.sample_rate",
            "44100",
        ),
        (SynthesizeRequest(text="x", audio=AudioForm(encoding=99)), "audio.encoding", "99"),  # type: ignore[arg-type]
        (SynthesizeRequest(text="x", request_id="no blanks please"), "request_id", ""),
    ],
)
async def test_invalid_synthesis_requests_are_named(
    engine: VoiceClient, request_: SynthesizeRequest, field: str, hint: str
) -> None:
    error = await refusal(engine.speak(request_))
    assert error.reason is Reason.INVALID_REQUEST
    assert error.violations[0].field == field
    assert hint in error.message.replace(",", "")
    [record] = await engine.records(1)
    assert amounts(record) == {}


async def test_the_cap_ends_it_between_chunks(engine: VoiceClient) -> None:
    text = "First sentence here. Second sentence here. Third sentence here."
    whole = await engine.speak(text)
    first = whole.done[0]
    # Enough for the first sentence, and one character too few for the second.
    prices = {CHARACTERS: 1_000_000}
    cap = first.characters + whole.done[1].characters - 1
    spoken = await engine.speak(text, prices=prices, cap_nanos=cap)
    assert spoken.summary.stopped_by_budget
    assert [chunk.chunk for chunk in spoken.done] == [0]
    assert spoken.summary.usage.cost_nanos <= cap
    records = await engine.records(2)
    assert records[1].outcome == usage_pb2.OUTCOME_CAPPED
    error = await refusal(engine.speak(text, prices=prices, cap_nanos=first.characters - 1))
    assert error.reason is Reason.BUDGET_EXHAUSTED


async def test_the_cap_holds_to_the_millisecond_of_audio(engine: VoiceClient) -> None:
    prices = {AUDIO_MS: 1_000_000}
    spoken = await engine.speak(STORY, prices=prices, cap_nanos=1234)
    assert spoken.summary.audio_ms == 1234
    assert len(spoken.samples) == 1234 * ESPEAK_RATE // 1000
    assert spoken.summary.usage.cost_nanos == 1234
    assert spoken.summary.stopped_by_budget


async def test_speech_that_is_longer_than_was_reserved_is_extended(engine: VoiceClient) -> None:
    whole = await engine.speak(STORY)
    small = {"cap_nanos": 10, "replica_address": engine.router_address}
    spoken = await engine.speak(STORY, **small)
    assert not spoken.summary.stopped_by_budget
    assert (spoken.audio, spoken.usage) == (whole.audio, whole.usage)


async def test_a_caller_who_leaves_is_billed_for_what_was_sent(engine: VoiceClient) -> None:
    text = " ".join(f"This is sentence number {number}, and it ends here." for number in range(2000))
    call = engine.stub.Synthesize(SynthesizeRequest(text=text, audio=PCM), metadata=engine.metadata("Synthesize"))
    received = await call.read()
    assert received.audio
    call.cancel()
    [record] = await engine.records(1)
    assert record.outcome == usage_pb2.OUTCOME_CANCELLED
    # A slow reader pauses synthesis, so that most of it was never made.
    assert 0 < amounts(record)[CHARACTERS] < len(text) / 4
    assert engine.busy() == 0


async def test_a_slow_reader_blocks_nobody(engine: VoiceClient) -> None:
    text = " ".join(f"This is sentence number {number}, and it ends here." for number in range(500))
    slow = [
        engine.stub.Synthesize(SynthesizeRequest(text=text, audio=PCM), metadata=engine.metadata("Synthesize"))
        for _ in range(6)
    ]
    for call in slow:
        assert (await call.read()).audio
    spoken = await asyncio.wait_for(engine.speak("I am not kept waiting."), 10)
    assert spoken.audio
    for call in slow:
        call.cancel()
    await engine.records(7)
    assert engine.busy() == 0


async def test_concurrent_calls_have_equal_audio(engine: VoiceClient) -> None:
    texts = [f"Speaker {number} says this, and nothing else." for number in range(12)]
    together = await asyncio.gather(*(engine.speak(text) for text in texts))
    for text, spoken in zip(texts, together, strict=True):
        assert spoken.audio == (await engine.speak(text)).audio


async def test_a_model_that_only_speaks_does_not_listen(engine: VoiceClient) -> None:
    request = voice_pb2.RecognizeRequest(audio=b"RIFF")
    error = await refusal(engine.stub.Recognize(request, metadata=engine.metadata("Recognize")))
    assert error.reason is Reason.UNSUPPORTED_CAPABILITY
    assert "transcription" in error.message
    metadata = engine.metadata("Synthesize", models=["pocketsphinx"])
    error = await refusal(engine.stub.Synthesize(SynthesizeRequest(text="Hello."), metadata=metadata).read())
    assert "speech" in error.message


async def test_calls_without_a_grant_are_refused(engine: VoiceClient) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await engine.stub.Synthesize(SynthesizeRequest(text="Hello.")).read()
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
