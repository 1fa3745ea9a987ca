"""Both clients behind one interface, so that every test runs with either."""

from __future__ import annotations

import abc
import asyncio
import inspect
import operator
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, Protocol

from enginehouse.client import (
    AsyncConversationStream,
    AsyncEnginehouse,
    AsyncGenerationStream,
    AsyncSpeechStream,
    AsyncTranscriptionStream,
    ConversationStream,
    Enginehouse,
    Generation,
    GenerationStream,
    RetryPolicy,
    SpeechStream,
    TranscriptionEvent,
    TranscriptionStream,
)

KEY = "eh_test_key"
QUICK = RetryPolicy(max_attempts=3, initial_backoff_s=0.01, max_backoff_s=0.02)


class Driver(abc.ABC):
    """One of the two clients. Its methods take the arguments of the client's own."""

    @abc.abstractmethod
    async def call(self, method: str, *args: Any, **options: Any) -> Any:
        """Call a method such as "generate" or "admin.list_keys". Iterators are collected into lists."""

    async def generate(self, *args: Any, **options: Any) -> Generation:
        """Return a complete answer."""
        answer: Generation = await self.call("generate", *args, **options)
        return answer

    async def texts(self, *args: Any, **options: Any) -> list[str]:
        """Return the texts of a streamed answer."""
        texts: list[str] = await self.call("stream", *args, **options)
        return texts

    @abc.abstractmethod
    async def first_text(self, *args: Any, **options: Any) -> str:
        """Return the first text of a streamed answer, and leave the stream."""

    @abc.abstractmethod
    async def speak(self, *args: Any, **options: Any) -> tuple[list[bytes], SpeechStream | AsyncSpeechStream]:
        """Return the pieces of a speech, and its stream."""

    @abc.abstractmethod
    async def first_audio(self, *args: Any, **options: Any) -> bytes:
        """Return the first piece of a speech, and leave the stream."""

    @abc.abstractmethod
    async def read(self, *args: Any, **options: Any) -> bytes:
        """Return a speech as a file's bytes."""

    @abc.abstractmethod
    async def save(self, path: str | os.PathLike[str], *args: Any, **options: Any) -> int:
        """Save a speech to a file, and return the file's size."""

    @abc.abstractmethod
    async def converse(
        self, texts: Iterable[str], **options: Any
    ) -> tuple[bytes, ConversationStream | AsyncConversationStream]:
        """Return the audio of a conversation, and its stream."""

    @abc.abstractmethod
    async def listen(
        self, audio: Iterable[bytes], **options: Any
    ) -> tuple[list[TranscriptionEvent], TranscriptionStream | AsyncTranscriptionStream]:
        """Return the events of a live transcription, and its stream."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Close the client."""


class Connect(Protocol):
    """A factory of clients, by a URL and the options of their constructor."""

    def __call__(self, url: str, **options: Any) -> Driver: ...


class SyncDriver(Driver):
    """The synchronous client, called from threads."""

    def __init__(self, url: str, **options: Any) -> None:
        self.client = Enginehouse(url, KEY, **{"retries": QUICK, **options})

    async def call(self, method: str, *args: Any, **options: Any) -> Any:
        def run() -> Any:
            result = operator.attrgetter(method)(self.client)(*args, **options)
            return list(result) if isinstance(result, Iterator | GenerationStream) else result

        return await asyncio.to_thread(run)

    async def first_text(self, *args: Any, **options: Any) -> str:
        def run() -> str:
            with self.client.stream(*args, **options) as stream:
                return next(iter(stream))

        return await asyncio.to_thread(run)

    async def speak(self, *args: Any, **options: Any) -> tuple[list[bytes], SpeechStream]:
        stream = self.client.speak(*args, **options)
        return await asyncio.to_thread(lambda: list(stream)), stream

    async def first_audio(self, *args: Any, **options: Any) -> bytes:
        def run() -> bytes:
            with self.client.speak(*args, **options) as stream:
                return next(iter(stream))

        return await asyncio.to_thread(run)

    async def read(self, *args: Any, **options: Any) -> bytes:
        return await asyncio.to_thread(lambda: self.client.speak(*args, **options).read())

    async def save(self, path: str | os.PathLike[str], *args: Any, **options: Any) -> int:
        return await asyncio.to_thread(lambda: self.client.speak(*args, **options).save(path))

    async def converse(self, texts: Iterable[str], **options: Any) -> tuple[bytes, ConversationStream]:
        def run() -> tuple[bytes, ConversationStream]:
            with self.client.converse(texts, **options) as stream:
                return stream.read(), stream

        return await asyncio.to_thread(run)

    async def listen(
        self, audio: Iterable[bytes], **options: Any
    ) -> tuple[list[TranscriptionEvent], TranscriptionStream]:
        def run() -> tuple[list[TranscriptionEvent], TranscriptionStream]:
            with self.client.listen(audio, **options) as stream:
                return list(stream), stream

        return await asyncio.to_thread(run)

    async def close(self) -> None:
        self.client.close()


class AsyncDriver(Driver):
    """The asyncio client."""

    def __init__(self, url: str, **options: Any) -> None:
        self.client = AsyncEnginehouse(url, KEY, **{"retries": QUICK, **options})

    async def call(self, method: str, *args: Any, **options: Any) -> Any:
        result = operator.attrgetter(method)(self.client)(*args, **options)
        if isinstance(result, AsyncIterator | AsyncGenerationStream):
            return [item async for item in result]
        return await result if inspect.isawaitable(result) else result

    async def first_text(self, *args: Any, **options: Any) -> str:
        async with self.client.stream(*args, **options) as stream:
            async for text in stream:
                return text
        raise AssertionError("no text came")

    async def speak(self, *args: Any, **options: Any) -> tuple[list[bytes], AsyncSpeechStream]:
        stream = self.client.speak(*args, **options)
        return [piece async for piece in stream], stream

    async def first_audio(self, *args: Any, **options: Any) -> bytes:
        async with self.client.speak(*args, **options) as stream:
            async for piece in stream:
                return piece
        raise AssertionError("no audio came")

    async def read(self, *args: Any, **options: Any) -> bytes:
        return await self.client.speak(*args, **options).read()

    async def save(self, path: str | os.PathLike[str], *args: Any, **options: Any) -> int:
        return await self.client.speak(*args, **options).save(path)

    async def converse(self, texts: Iterable[str], **options: Any) -> tuple[bytes, AsyncConversationStream]:
        async with self.client.converse(**options) as stream:
            for text in texts:
                await stream.send(text)
            await stream.end()
            return b"".join([event.audio async for event in stream]), stream

    async def listen(
        self, audio: Iterable[bytes], **options: Any
    ) -> tuple[list[TranscriptionEvent], AsyncTranscriptionStream]:
        async with self.client.listen(audio, **options) as stream:
            return [event async for event in stream], stream

    async def close(self) -> None:
        await self.client.close()
