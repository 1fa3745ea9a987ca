"""A real gRPC server that does as each test tells it, and both clients behind one face."""

from __future__ import annotations

import asyncio
import concurrent.futures
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from enginehouse.api.router.v1 import admin_pb2, admin_pb2_grpc
from enginehouse.api.voice.v1 import voice_pb2, voice_pb2_grpc
from enginehouse.client import AsyncEnginehouse, Embeddings, Enginehouse, Generation, RetryPolicy, TranscriptionEvent

KEY = "eh_test_key"
Behaviour = Callable[[Any, grpc.ServicerContext], Iterator[Any]]


def refuse(
    context: grpc.ServicerContext,
    code: grpc.StatusCode,
    reason: str,
    *,
    message: str = "no",
    retry_after_s: float | None = None,
    violations: tuple[tuple[str, str], ...] = (),
) -> None:
    """Ends a call as our services do: a google.rpc.Status with one ErrorInfo."""
    status = status_pb2.Status(code=code.value[0], message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="enginehouse", metadata={"a": "b"}))
    if violations:
        bad = error_details_pb2.BadRequest()
        for field, description in violations:
            bad.field_violations.add(field=field, description=description)
        status.details.add().Pack(bad)
    if retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(round(retry_after_s * 1000))
        status.details.add().Pack(retry)
    context.abort_with_status(rpc_status.to_status(status))


class Server(
    generation_pb2_grpc.GenerationServiceServicer,
    admin_pb2_grpc.AdminServiceServicer,
    voice_pb2_grpc.VoiceServiceServicer,
):
    """Answers each call with the next behaviour of a list; keeps what it was asked."""

    def __init__(self) -> None:
        self.behaviours: list[Behaviour] = []
        self.requests: list[Any] = []
        self.metadata: list[dict[str, str]] = []
        self.time_remaining: list[float | None] = []
        self.gone = threading.Event()
        self.url = ""

    def Generate(self, request: Any, context: Any) -> Any:
        context.add_callback(self.gone.set)
        yield from self._next(request, context)

    def Synthesize(self, request: Any, context: Any) -> Any:
        context.add_callback(self.gone.set)
        yield from self._next(request, context)

    def Converse(self, requests: Any, context: Any) -> Any:
        yield from self._streamed(requests, context)

    def StreamingRecognize(self, requests: Any, context: Any) -> Any:
        yield from self._streamed(requests, context)

    def Embed(self, request: Any, context: Any) -> Any:
        return self._one(request, context)

    def Tokenize(self, request: Any, context: Any) -> Any:
        return self._one(request, context)

    def ListModels(self, request: Any, context: Any) -> Any:
        return self._one(request, context)

    def CreateKey(self, request: Any, context: Any) -> Any:
        return self._one(request, context)

    def ListKeys(self, request: Any, context: Any) -> Any:
        return self._one(request, context)

    def SetBudget(self, request: Any, context: Any) -> Any:
        return self._one(request, context)

    def QuerySpend(self, request: Any, context: Any) -> Any:
        return self._one(request, context)

    def SetPrice(self, request: Any, context: Any) -> Any:
        return self._one(request, context)

    def ListPrices(self, request: Any, context: Any) -> Any:
        return self._one(request, context)

    def DeletePrice(self, request: Any, context: Any) -> Any:
        return self._one(request, context)

    def SetDiscount(self, request: Any, context: Any) -> Any:
        return self._one(request, context)

    def ListDiscounts(self, request: Any, context: Any) -> Any:
        return self._one(request, context)

    def DeleteDiscount(self, request: Any, context: Any) -> Any:
        return self._one(request, context)

    def ListAlerts(self, request: Any, context: Any) -> Any:
        return self._one(request, context)

    def ExportSpend(self, request: Any, context: Any) -> Any:
        yield from self._next(request, context)

    def _one(self, request: Any, context: grpc.ServicerContext) -> Any:
        return next(self._next(request, context))

    def _streamed(self, requests: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        context.add_callback(self.gone.set)
        self.metadata.append({key: value for key, value in context.invocation_metadata()})  # noqa: C416
        self.time_remaining.append(context.time_remaining())
        yield from self.behaviours.pop(0)(self._kept(requests), context)

    def _kept(self, requests: Any) -> Iterator[Any]:
        for request in requests:
            self.requests.append(request)
            yield request

    def _next(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self.requests.append(type(request).FromString(request.SerializeToString()))
        self.metadata.append({key: value for key, value in context.invocation_metadata()})  # noqa: C416
        self.time_remaining.append(context.time_remaining())
        behaviour = self.behaviours.pop(0)
        yield from behaviour(request, context)


for _name in (
    *("CreateTenant", "ListTenants", "RevokeKey", "ListBudgets", "DeleteBudget", "Explain"),
    *("Recognize", "CreateVoice", "ListVoices", "DeleteVoice"),
):
    setattr(Server, _name, lambda self, request, context: self._one(request, context))
Server.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]


def answering(*messages: Any) -> Behaviour:
    """Sends these."""

    def behave(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield from messages

    return behave


def refusing(code: grpc.StatusCode, reason: str, **details: Any) -> Behaviour:
    """Refuses at once."""

    def behave(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        refuse(context, code, reason, **details)
        yield

    return behave


def story() -> tuple[Any, ...]:
    """A whole answer of three messages."""
    summary = generation_pb2.GenerationSummary(time_to_first_token_ms=7, total_ms=9)
    summary.usage.cost_nanos = 123
    summary.usage.units.add(unit=1, amount=5)
    summary.usage.units.add(unit=2, amount=2)
    last = generation_pb2.ChoiceDelta(text="crow", finish_reason=generation_pb2.FINISH_REASON_LENGTH)
    last.stopped_by = generation_pb2.STOPPED_BY_BUDGET
    return (
        generation_pb2.GenerateResponse(
            request_id="req_server", model="tiny", deltas=[generation_pb2.ChoiceDelta(text="A clever ")]
        ),
        generation_pb2.GenerateResponse(deltas=[last]),
        generation_pb2.GenerateResponse(summary=summary),
    )


def speech() -> tuple[Any, ...]:
    """A text of two chunks, spoken."""
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


@pytest.fixture
def server() -> Iterator[Server]:
    servicer = Server()
    options = (("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 64 * 2**20))
    running = grpc.server(concurrent.futures.ThreadPoolExecutor(4), options=options)
    generation_pb2_grpc.add_GenerationServiceServicer_to_server(servicer, running)
    admin_pb2_grpc.add_AdminServiceServicer_to_server(servicer, running)
    voice_pb2_grpc.add_VoiceServiceServicer_to_server(servicer, running)
    servicer.url = f"http://127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}"
    running.start()
    yield servicer
    running.stop(None).wait()


QUICK = RetryPolicy(max_attempts=3, initial_backoff_s=0.01, max_backoff_s=0.02)


class SyncFace:
    """The synchronous client, called from a thread."""

    def __init__(self, url: str, **options: Any) -> None:
        self.client = Enginehouse(url, KEY, **{"retries": QUICK, **options})

    async def generate(self, *args: Any, **options: Any) -> Generation:
        return await asyncio.to_thread(self.client.generate, *args, **options)

    async def texts(self, *args: Any, **options: Any) -> list[str]:
        return await asyncio.to_thread(lambda: list(self.client.stream(*args, **options)))

    async def first_text_then_leave(self, *args: Any, **options: Any) -> str:
        def run() -> str:
            with self.client.stream(*args, **options) as stream:
                return next(iter(stream))

        return await asyncio.to_thread(run)

    async def embed(self, *args: Any, **options: Any) -> Embeddings:
        return await asyncio.to_thread(self.client.embed, *args, **options)

    async def tokenize(self, *args: Any, **options: Any) -> list[int]:
        return await asyncio.to_thread(self.client.tokenize, *args, **options)

    async def models(self) -> list[generation_pb2.Model]:
        return await asyncio.to_thread(self.client.models)

    async def keys(self) -> list[admin_pb2.Key]:
        return await asyncio.to_thread(lambda: list(self.client.admin.list_keys()))

    async def admin(self, method: str, *args: Any, **options: Any) -> Any:
        return await asyncio.to_thread(getattr(self.client.admin, method), *args, **options)

    async def speak(self, *args: Any, **options: Any) -> tuple[list[bytes], Any]:
        stream = self.client.speak(*args, **options)
        return await asyncio.to_thread(lambda: list(stream)), stream

    async def read(self, *args: Any, **options: Any) -> bytes:
        return await asyncio.to_thread(lambda: self.client.speak(*args, **options).read())

    async def save(self, path: Any, *args: Any, **options: Any) -> int:
        return await asyncio.to_thread(lambda: self.client.speak(*args, **options).save(path))

    async def first_audio_then_leave(self, *args: Any, **options: Any) -> bytes:
        def run() -> bytes:
            with self.client.speak(*args, **options) as stream:
                return next(iter(stream))

        return await asyncio.to_thread(run)

    async def converse(self, texts: Iterable[str], **options: Any) -> tuple[bytes, Any]:
        def run() -> tuple[bytes, Any]:
            with self.client.converse(texts, **options) as stream:
                return stream.read(), stream

        return await asyncio.to_thread(run)

    async def listen(self, audio: Iterable[bytes], **options: Any) -> tuple[list[TranscriptionEvent], Any]:
        def run() -> tuple[list[TranscriptionEvent], Any]:
            with self.client.listen(audio, **options) as stream:
                return list(stream), stream

        return await asyncio.to_thread(run)

    async def voices(self, **options: Any) -> list[voice_pb2.Voice]:
        return await asyncio.to_thread(lambda: list(self.client.voices(**options)))

    async def call(self, method: str, *args: Any, **options: Any) -> Any:
        return await asyncio.to_thread(getattr(self.client, method), *args, **options)

    async def close(self) -> None:
        self.client.close()


class AsyncFace:
    """The asyncio client."""

    def __init__(self, url: str, **options: Any) -> None:
        self.client = AsyncEnginehouse(url, KEY, **{"retries": QUICK, **options})

    async def generate(self, *args: Any, **options: Any) -> Generation:
        return await self.client.generate(*args, **options)

    async def texts(self, *args: Any, **options: Any) -> list[str]:
        return [text async for text in self.client.stream(*args, **options)]

    async def first_text_then_leave(self, *args: Any, **options: Any) -> str:
        async with self.client.stream(*args, **options) as stream:
            async for text in stream:
                return text
        raise AssertionError("no text came")

    async def embed(self, *args: Any, **options: Any) -> Embeddings:
        return await self.client.embed(*args, **options)

    async def tokenize(self, *args: Any, **options: Any) -> list[int]:
        return await self.client.tokenize(*args, **options)

    async def models(self) -> list[generation_pb2.Model]:
        return await self.client.models()

    async def keys(self) -> list[admin_pb2.Key]:
        return [key async for key in self.client.admin.list_keys()]

    async def admin(self, method: str, *args: Any, **options: Any) -> Any:
        return await getattr(self.client.admin, method)(*args, **options)

    async def speak(self, *args: Any, **options: Any) -> tuple[list[bytes], Any]:
        stream = self.client.speak(*args, **options)
        return [piece async for piece in stream], stream

    async def read(self, *args: Any, **options: Any) -> bytes:
        return await self.client.speak(*args, **options).read()

    async def save(self, path: Any, *args: Any, **options: Any) -> int:
        return await self.client.speak(*args, **options).save(path)

    async def first_audio_then_leave(self, *args: Any, **options: Any) -> bytes:
        async with self.client.speak(*args, **options) as stream:
            async for piece in stream:
                return piece
        raise AssertionError("no audio came")

    async def converse(self, texts: Iterable[str], **options: Any) -> tuple[bytes, Any]:
        async with self.client.converse(**options) as talk:
            for text in texts:
                await talk.send(text)
            await talk.end()
            return b"".join([piece.audio async for piece in talk]), talk

    async def listen(self, audio: Iterable[bytes], **options: Any) -> tuple[list[TranscriptionEvent], Any]:
        async with self.client.listen(audio, **options) as stream:
            return [heard async for heard in stream], stream

    async def voices(self, **options: Any) -> list[voice_pb2.Voice]:
        return [voice async for voice in self.client.voices(**options)]

    async def call(self, method: str, *args: Any, **options: Any) -> Any:
        return await getattr(self.client, method)(*args, **options)

    async def close(self) -> None:
        await self.client.close()


Face = SyncFace | AsyncFace
MakeFace = Callable[..., Face]


@pytest.fixture(params=[SyncFace, AsyncFace], ids=["sync", "asyncio"])
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[MakeFace]:
    """Makes clients, which are closed at the end."""
    made: list[Face] = []

    def make(url: str, **options: Any) -> Face:
        made.append(request.param(url, **options))
        return made[-1]

    yield make
    closing: list[Awaitable[None]] = [face.close() for face in made]
    await asyncio.gather(*closing)


class Behaviours:
    """What a server may be told to do."""

    answering = staticmethod(answering)
    refusing = staticmethod(refusing)
    refuse = staticmethod(refuse)
    story = staticmethod(story)
    speech = staticmethod(speech)


@pytest.fixture
def behaviours() -> Behaviours:
    return Behaviours()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
