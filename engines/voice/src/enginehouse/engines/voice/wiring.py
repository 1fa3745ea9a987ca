"""Build a voice engine from its configuration."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from enginehouse.api.openai.v1 import audio_pb2_grpc
from enginehouse.api.voice.v1 import voice_pb2_grpc
from enginehouse.engines.voice.audio import DecoderPool, MediaLimits
from enginehouse.engines.voice.backends.base import LoadedVoiceModel, Samples, VoiceBackend, VoiceModelInfo
from enginehouse.engines.voice.backends.espeak import EspeakBackend
from enginehouse.engines.voice.backends.piper import PiperBackend
from enginehouse.engines.voice.backends.pocketsphinx import PocketsphinxBackend
from enginehouse.engines.voice.backends.whisper import FasterWhisperBackend, OpenaiWhisperBackend
from enginehouse.engines.voice.backends.xtts import XttsBackend
from enginehouse.engines.voice.config import VoiceConfig
from enginehouse.engines.voice.engine import VoiceEngine
from enginehouse.engines.voice.recognition.recordings import RecordingReader
from enginehouse.engines.voice.recognition.transcriber import Transcriber
from enginehouse.engines.voice.servicer import VoiceServicer
from enginehouse.engines.voice.synthesis.conversation import ConversationSynthesizer
from enginehouse.engines.voice.synthesis.synthesizer import Synthesizer
from enginehouse.engines.voice.voices.clones import SAMPLE_RATE, CloneStore
from enginehouse.engines.voice.voices.library import VoiceLibrary
from enginehouse.kit.engine.context import BuiltEngine, EngineContext
from enginehouse.kit.openai import AudioServicer


async def build(context: EngineContext[VoiceConfig]) -> BuiltEngine[VoiceModelInfo, LoadedVoiceModel]:
    """Inspect the models, start the decoders and return what serves them.

    Raises:
        LoadError: a model cannot be served or warmed up, or there is none.
    """
    config = context.config
    backends: list[VoiceBackend] = [
        EspeakBackend(),
        PiperBackend(models_dir=config.models_dir, packages=context.packages),
        PocketsphinxBackend(),
        XttsBackend(models_dir=config.models_dir, packages=context.packages),
        FasterWhisperBackend(models_dir=config.models_dir, packages=context.packages),
        OpenaiWhisperBackend(models_dir=config.models_dir, packages=context.packages),
    ]
    models = await context.serve_models(backends)
    decoders = DecoderPool(size=config.decoders)
    context.stack.push_async_callback(decoders.close)
    await decoders.start()
    recordings = RecordingReader(decoders=decoders, limits=MediaLimits(max_seconds=config.max_audio_s))

    def decode(data: bytes) -> AsyncGenerator[Samples, None]:
        return recordings.read(data, rate=SAMPLE_RATE, field="sample")

    voices = VoiceLibrary(
        speakers={
            name: served.info.speaker for name, served in models.served.items() if served.info.speaker is not None
        },
        clones=CloneStore(directory=config.voices_dir),
        decode=decode,
    )
    engine = VoiceEngine(
        models=models,
        voices=voices,
        synthesizer=Synthesizer(voices=voices),
        conversations=ConversationSynthesizer(voices=voices, ahead_s=config.pace_ahead_s, idle_s=config.idle_s),
        transcriber=Transcriber(recordings=recordings, stall_s=config.stall_s),
    )
    voice = VoiceServicer(engine=engine, calls=context.calls)
    openai = AudioServicer(
        engine=engine,
        accept=lambda call: context.calls.accept(call, served_models=models.names),
        accept_free=lambda call: context.calls.accept(call, served_models=None),
        max_body_bytes=config.max_message_bytes,
    )
    return BuiltEngine(
        services=[
            lambda server: voice_pb2_grpc.add_VoiceServiceServicer_to_server(voice, server),
            lambda server: audio_pb2_grpc.add_AudioServiceServicer_to_server(openai, server),
        ],
        models=models,
        describe=engine.describe,
    )
