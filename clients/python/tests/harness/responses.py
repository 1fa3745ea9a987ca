"""Responses of a whole answer and of a whole speech."""

from __future__ import annotations

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.voice.v1 import voice_pb2


def story() -> tuple[generation_pb2.GenerateResponse, ...]:
    """Return an answer in three messages: "A clever ", "crow" and the summary."""
    summary = generation_pb2.GenerationSummary(time_to_first_token_ms=7, total_ms=9)
    summary.usage.cost_nanos = 123
    summary.usage.units.add(unit=usage_pb2.UNIT_INPUT_TOKENS, amount=5)
    summary.usage.units.add(unit=usage_pb2.UNIT_OUTPUT_TOKENS, amount=2)
    last = generation_pb2.ChoiceDelta(text="crow", finish_reason=generation_pb2.FINISH_REASON_LENGTH)
    last.stopped_by = generation_pb2.STOPPED_BY_BUDGET
    return (
        generation_pb2.GenerateResponse(
            request_id="req_server", model="tiny", deltas=[generation_pb2.ChoiceDelta(text="A clever ")]
        ),
        generation_pb2.GenerateResponse(deltas=[last]),
        generation_pb2.GenerateResponse(summary=summary),
    )


def speech() -> tuple[voice_pb2.SynthesizeResponse, ...]:
    """Return the speech of a text of two chunks, in three messages: "one ", "two " and "three"."""
    info = voice_pb2.AudioInfo(
        encoding=voice_pb2.AUDIO_ENCODING_MP3, content_type="audio/mpeg", sample_rate=22_050, chunks=2
    )
    summary = voice_pb2.SpeechSummary(time_to_first_audio_ms=3, total_ms=8, audio_ms=1500)
    summary.usage.cost_nanos = 45
    summary.usage.units.add(unit=usage_pb2.UNIT_CHARACTERS, amount=20)
    summary.usage.units.add(unit=usage_pb2.UNIT_AUDIO_MILLISECONDS, amount=1500)
    first = voice_pb2.ChunkDone(chunk=0, characters=12, duration_ms=900)
    second = voice_pb2.ChunkDone(chunk=1, first_character=12, characters=8, start_ms=900, duration_ms=600)
    return (
        voice_pb2.SynthesizeResponse(request_id="req_server", model="espeak", info=info, audio=b"one "),
        voice_pb2.SynthesizeResponse(audio=b"two ", done=[first]),
        voice_pb2.SynthesizeResponse(audio=b"three", done=[second], summary=summary),
    )
