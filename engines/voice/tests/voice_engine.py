"""A voice engine in the test's process: real espeak-ng and PocketSphinx, grants signed as a router signs them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from enginehouse.api.common.v1 import usage_pb2 as units
from enginehouse.api.openai.v1 import audio_pb2_grpc
from enginehouse.api.router.v1.usage_pb2 import UsageRecord
from enginehouse.api.voice.v1 import voice_pb2, voice_pb2_grpc
from enginehouse.api.voice.v1.voice_pb2 import AudioForm, SynthesizeRequest, SynthesizeResponse
from enginehouse.engines.voice.audio import DecoderPool, MediaLimits, pcm_samples
from enginehouse.engines.voice.backends.base import Samples, VoiceBackend
from enginehouse.engines.voice.backends.espeak import EspeakBackend
from enginehouse.engines.voice.backends.pocketsphinx import PocketsphinxBackend
from enginehouse.engines.voice.config import CLUSTER
from enginehouse.engines.voice.engine import VoiceEngine
from enginehouse.engines.voice.recognition.recordings import RecordingReader
from enginehouse.engines.voice.recognition.transcriber import Transcriber
from enginehouse.engines.voice.servicer import VoiceServicer
from enginehouse.engines.voice.synthesis.conversation import ConversationSynthesizer
from enginehouse.engines.voice.synthesis.synthesizer import Synthesizer
from enginehouse.engines.voice.voices.clones import SAMPLE_RATE, CloneStore
from enginehouse.engines.voice.voices.library import VoiceLibrary
from enginehouse.kit.calls import Calls
from enginehouse.kit.catalog import Catalog, CatalogModel
from enginehouse.kit.errors import ServiceError, from_rpc_error
from enginehouse.kit.loading import LoadingSettings, serve_models
from enginehouse.kit.openai import AudioServicer
from enginehouse.kit.server import EngineServer
from enginehouse.kit.testing import GrantIssuer, UsageRecorder
from enginehouse.kit.usage import GrantExtensions, Spool, UsageReporter

SERVICE = "/enginehouse.api.voice.v1.VoiceService"
OPENAI = "/enginehouse.api.openai.v1.AudioService"
CHARACTERS, AUDIO_MS = units.UNIT_CHARACTERS, units.UNIT_AUDIO_MILLISECONDS
PRICES = {CHARACTERS: 1_000_000, AUDIO_MS: 10_000}
PCM = AudioForm(encoding=voice_pb2.AUDIO_ENCODING_PCM)
ESPEAK_RATE = 22_050


def speech_model(name: str = "espeak-ng", **changes: Any) -> CatalogModel:
    values: dict[str, Any] = {
        "name": name,
        "cluster": CLUSTER,
        "backend": "espeak-ng",
        "source": "package:espeakng-loader",
        "context_tokens": 0,
        "max_output_tokens": 0,
        "capabilities": frozenset({"speech"}),
        "quality": 0.2,
        "prices": PRICES,
        "options": {},
    }
    return CatalogModel(**(values | changes))


def recognition_model(name: str = "pocketsphinx", **changes: Any) -> CatalogModel:
    own = {"backend": "pocketsphinx", "source": "package:pocketsphinx", "capabilities": frozenset({"transcription"})}
    return speech_model(name, **(own | changes))


@dataclass
class SynthesizedSpeech:
    """The collected responses of one synthesis."""

    responses: list[SynthesizeResponse] = field(default_factory=list)
    done: list[voice_pb2.ChunkDone] = field(default_factory=list)

    def add(self, response: SynthesizeResponse) -> None:
        self.responses.append(response)
        self.done += response.done

    @property
    def audio(self) -> bytes:
        return b"".join(response.audio for response in self.responses)

    @property
    def summary(self) -> voice_pb2.SpeechSummary:
        return self.responses[-1].summary

    @property
    def samples(self) -> Samples:
        return pcm_samples(self.audio)

    @property
    def usage(self) -> dict[int, int]:
        return {unit.unit: unit.amount for unit in self.summary.usage.units}


class VoiceClient:
    """Client that calls the engine like the mesh: each call with a grant of its own."""

    def __init__(
        self,
        *,
        channel: grpc.aio.Channel,
        issuer: GrantIssuer,
        recorder: UsageRecorder,
        engine: VoiceEngine,
        calls: Calls,
        reporter: UsageReporter,
        router_address: str,
    ) -> None:
        self.router_address = router_address
        self.issuer = issuer
        self.recorder = recorder
        self.engine = engine
        self._calls = calls
        self._reporter = reporter
        self.stub: Any = voice_pb2_grpc.VoiceServiceStub(channel)
        self.openai: Any = audio_pb2_grpc.AudioServiceStub(channel)

    def metadata(self, method: str, *, models: Sequence[str] = ("espeak-ng",), **grant: Any) -> Any:
        grant.setdefault("prices", PRICES)
        path = method if method.startswith("/") else f"{SERVICE}/{method}"
        return self.issuer.metadata(path, models=list(models), **grant)

    async def speak(self, request: SynthesizeRequest | str, **grant: Any) -> SynthesizedSpeech:
        if isinstance(request, str):
            request = SynthesizeRequest(text=request, audio=PCM)
        spoken = SynthesizedSpeech()
        async for response in self.stub.Synthesize(request, metadata=self.metadata("Synthesize", **grant), timeout=60):
            spoken.add(response)
        return spoken

    async def recognize(self, audio: bytes, *, grant: Any = None, **options: Any) -> voice_pb2.RecognizeResponse:
        request = voice_pb2.RecognizeRequest(audio=audio, options=voice_pb2.RecognitionOptions(**options))
        metadata = self.metadata("Recognize", models=["pocketsphinx"], **(grant or {}))
        response: voice_pb2.RecognizeResponse = await self.stub.Recognize(request, metadata=metadata, timeout=60)
        return response

    async def records(self, count: int) -> list[UsageRecord]:
        await self.recorder.wait_until(lambda recorder: len(recorder.settled) >= count)
        return list(self.recorder.settled.values())

    async def rest(self) -> None:
        """Wait until nothing runs and all usage is reported, and clear it for the next test."""
        async with asyncio.timeout(20):
            while self._calls.active or self.busy():
                await asyncio.sleep(0.01)
        assert await self._reporter.flush(timeout_s=20)
        self.recorder.settled.clear()
        self.recorder.received.clear()
        self.recorder.extended.clear()
        self.recorder.budget_nanos = None

    def busy(self) -> int:
        return sum(served.slots.active for served in self.engine.models.all)


async def refusal(call: Any) -> ServiceError:
    """Return the typed error of an awaitable call."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        read = from_rpc_error(error)
        assert read is not None, f"an error without a reason: {error.code()} {error.details()}"
        assert read.code == error.code()
        return read
    raise AssertionError("the call was served")


def amounts(record: UsageRecord) -> dict[int, int]:
    return {unit.unit: unit.amount for unit in record.usage.units}


def tone(seconds: float, *, rate: int, hertz: float = 220.0) -> Samples:
    return (np.sin(np.arange(int(seconds * rate)) * 2 * np.pi * hertz / rate) * 9000).astype(np.int16)


@contextlib.asynccontextmanager
async def running_engine(
    models: Iterable[CatalogModel],
    *,
    directory: Path,
    backends: Iterable[VoiceBackend] = (),
    queue: int = 64,
    keep_alive_s: float = 300.0,
    stall_s: float = 30.0,
    idle_s: float = 30.0,
    ahead_s: float = 3.0,
    max_audio_s: float = 4 * 3600,
    pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> AsyncIterator[VoiceClient]:
    """Serve the models until the block ends."""
    issuer = GrantIssuer()
    recorder = UsageRecorder(keys=issuer.keys)
    router = grpc.aio.server()
    recorder.add_to(router)
    port = router.add_insecure_port("127.0.0.1:0")
    await router.start()
    available: list[VoiceBackend] = [EspeakBackend(), PocketsphinxBackend(), *backends]
    settings = LoadingSettings(queue_per_model=queue, keep_alive_s=keep_alive_s)
    served_models = await serve_models(Catalog(models), cluster=CLUSTER, backends=available, settings=settings)
    decoders = DecoderPool(size=2)
    await decoders.start()
    recordings = RecordingReader(decoders=decoders, limits=MediaLimits(max_seconds=max_audio_s))
    spool = Spool(directory=directory / "spool", engine_id="engine-test")
    reporter = UsageReporter(spool=spool, router_address=f"127.0.0.1:{port}")
    extensions = GrantExtensions()
    calls = Calls(keys=issuer.keys, spool=spool, extensions=extensions)
    speakers = {
        name: served.info.speaker for name, served in served_models.served.items() if served.info.speaker is not None
    }
    voices = VoiceLibrary(
        speakers=speakers,
        clones=CloneStore(directory=directory / "voices"),
        decode=lambda data: recordings.read(data, rate=SAMPLE_RATE, field="sample"),
    )
    engine = VoiceEngine(
        models=served_models,
        voices=voices,
        synthesizer=Synthesizer(voices=voices, pause=pause),
        conversations=ConversationSynthesizer(voices=voices, ahead_s=ahead_s, idle_s=idle_s),
        transcriber=Transcriber(recordings=recordings, stall_s=stall_s),
    )
    voice = VoiceServicer(engine=engine, calls=calls)
    openai = AudioServicer(
        engine=engine,
        accept=lambda context: calls.accept(context, served_models=served_models.names),
        accept_free=lambda context: calls.accept(context, served_models=None),
        max_body_bytes=27 << 20,
    )
    server = EngineServer(
        listen="127.0.0.1:0",
        services=[
            lambda to: voice_pb2_grpc.add_VoiceServiceServicer_to_server(voice, to),
            lambda to: audio_pb2_grpc.add_AudioServiceServicer_to_server(openai, to),
        ],
        reporter=reporter,
        spool=spool,
        drain_s=2.0,
        flush_s=2.0,
        max_message_bytes=27 << 20,
    )
    address = await server.start()
    channel = grpc.aio.insecure_channel(str(address), options=[("grpc.max_receive_message_length", 64 << 20)])
    try:
        yield VoiceClient(
            channel=channel,
            issuer=issuer,
            recorder=recorder,
            engine=engine,
            calls=calls,
            reporter=reporter,
            router_address=f"127.0.0.1:{port}",
        )
    finally:
        await extensions.close()
        await channel.close()
        await server.drain()
        await decoders.close()
        await served_models.close()
        await router.stop(None)
