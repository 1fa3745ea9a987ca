"""The PocketSphinx backend: small English speech recognition, in child processes."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pydantic

from enginehouse.engines.voice.backends.base import (
    LiveUtterance,
    LoadedVoiceModel,
    RecogniserInfo,
    RecognitionOptions,
    RecognizedWord,
    Samples,
    Segment,
    VoiceModelInfo,
)
from enginehouse.engines.voice.backends.pocketsphinx._frames import (
    HYPOTHESIS,
    RECORDING,
    RECORDING_AUDIO,
    RECORDING_END,
    UTTERANCE,
    UTTERANCE_AUDIO,
    UTTERANCE_AUDIO_INTERIM,
    UTTERANCE_END,
    Hypothesis,
)
from enginehouse.engines.voice.workers import Worker, WorkerError, WorkerPool
from enginehouse.kit.backends.options import read_options, require_package
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.validation import invalid, shorten

__all__ = ["PocketsphinxBackend", "PocketsphinxRecogniser"]

_CHILD = "enginehouse.engines.voice.backends.pocketsphinx._child"
_SAMPLE_RATE = 16_000
_LANGUAGE = "en"
_WORKER_BYTES = 160 * 2**20
# Samples sent to a child at once. It answers a second's audio in a fraction of a second, unless a phrase ends in it.
_SLICE = _SAMPLE_RATE
# For an abandoned child; starting another takes about as long.
_SETTLE_S = 1.0


def _default_workers() -> int:
    return min(2, os.cpu_count() or 1)


class PocketsphinxOptions(pydantic.BaseModel):
    """The `options` of a catalog model whose backend is PocketSphinx."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    workers: int = pydantic.Field(default_factory=_default_workers, ge=1, le=256)
    """Recognition processes, each for one recording or one live utterance at a time, with 160 MB each. A recording
    uses a core, a live utterance a fifth of one, so there may be more processes than cores."""


class PocketsphinxBackend:
    """Loader of PocketSphinx models; implements `VoiceBackend`."""

    name = "pocketsphinx"

    async def inspect(self, model: CatalogModel) -> VoiceModelInfo:
        """Return the properties of its model; raise WEIGHTS_ABSENT or INVALID_REQUEST (source, options)."""
        options = read_options(PocketsphinxOptions, model)
        require_package(model, package="pocketsphinx", module="pocketsphinx")
        return VoiceModelInfo(
            memory_bytes=options.workers * _WORKER_BYTES,
            recogniser=RecogniserInfo(sample_rate=_SAMPLE_RATE, slots=options.workers, languages=[_LANGUAGE]),
        )

    async def load(self, model: CatalogModel) -> LoadedVoiceModel:
        """Start a first process; raise as `inspect` does, and BACKEND_FAILED."""
        info = await self.inspect(model)
        assert info.recogniser is not None
        pool = WorkerPool(module=_CHILD, size=info.recogniser.slots, name="PocketSphinx", settle_s=_SETTLE_S)
        try:
            await pool.start()
        except WorkerError as error:
            await pool.close()
            raise ServiceError(Reason.BACKEND_FAILED, f"model {model.name!r} cannot be loaded: {error}") from error
        except BaseException:
            await pool.close()
            raise
        return LoadedVoiceModel(info=info, recogniser=PocketsphinxRecogniser(pool=pool, info=info.recogniser))


class PocketsphinxRecogniser:
    """PocketSphinx with its American English model, loaded; implements `Recogniser`.

    It takes no hints (`RecognitionOptions.prompt`). Interim results have a confidence of 0: the probabilities come with
    the utterance's end.
    """

    def __init__(self, *, pool: WorkerPool, info: RecogniserInfo) -> None:
        self._pool = pool
        self.info = info
        """Its properties."""

    async def transcribe(
        self, audio: AsyncIterator[Samples], options: RecognitionOptions
    ) -> AsyncGenerator[Segment, None]:
        """Yield the segments, phrase by phrase.

        Raises INVALID_REQUEST (naming `options.language` or `options.translate`), BACKEND_FAILED, and the exceptions of
        `audio`.
        """
        _check(options)
        failure: Exception | None = None
        try:
            async with self._pool.worker() as worker:
                await _request(worker, RECORDING)
                while failure is None:
                    try:
                        samples = await anext(audio)
                    except StopAsyncIteration:
                        break
                    except Exception as error:
                        # The caller's error; the process lives on.
                        failure = error
                        break
                    for start in range(0, len(samples), _SLICE):
                        async with aclosing(
                            worker.ask(RECORDING_AUDIO, _pcm(samples[start : start + _SLICE]))
                        ) as answers:
                            async for _, payload in answers:
                                yield _segment(Hypothesis.decode(payload), options)
                if failure is None:
                    async with aclosing(worker.ask(RECORDING_END)) as answers:
                        async for _, payload in answers:
                            yield _segment(Hypothesis.decode(payload), options)
        except WorkerError as error:
            raise _failed(error) from error
        if failure is not None:
            raise failure

    @asynccontextmanager
    async def live(self, options: RecognitionOptions) -> AsyncGenerator[LiveUtterance, None]:
        """Begin a live utterance; it holds a process until the block is left.

        Raises as `settle_samples`.
        """
        _check(options)
        failure: Exception | None = None
        try:
            async with self._pool.worker() as worker:
                await _request(worker, UTTERANCE)
                try:
                    yield _Live(worker, options)
                except Exception as error:
                    # The caller's error; the process lives on. A dead process is noticed.
                    failure = error
        except WorkerError as error:
            raise _failed(error) from error
        if failure is not None:
            raise failure

    async def close(self) -> None:
        """Stop the processes; running recognitions fail."""
        await self._pool.close()


class _Live:
    """Implements `LiveUtterance`."""

    def __init__(self, worker: Worker, options: RecognitionOptions) -> None:
        self._worker = worker
        self._options = options

    async def feed(self, samples: Samples, *, interim: bool) -> Segment | None:
        """Take the next samples."""
        return await self._ask(UTTERANCE_AUDIO_INTERIM if interim else UTTERANCE_AUDIO, _pcm(samples))

    async def finish(self) -> Segment | None:
        """Return the final result."""
        return await self._ask(UTTERANCE_END)

    async def _ask(self, kind: int, pcm: bytes = b"") -> Segment | None:
        try:
            hypothesis = await _request(self._worker, kind, pcm)
        except WorkerError as error:
            raise _failed(error) from error
        return None if hypothesis is None else _segment(hypothesis, self._options)


async def _request(worker: Worker, kind: int, payload: bytes = b"") -> Hypothesis | None:
    """Send a frame, and return its only answer, or None."""
    hypothesis = None
    async with aclosing(worker.ask(kind, payload)) as answers:
        async for answer, content in answers:
            if answer == HYPOTHESIS:
                hypothesis = Hypothesis.decode(content)
    return hypothesis


def _check(options: RecognitionOptions) -> None:
    if options.language and options.language.lower().replace("_", "-").split("-")[0] != _LANGUAGE:
        raise invalid(
            "options.language",
            f"PocketSphinx supports only English, not {shorten(options.language)}; use a Whisper model for it",
        )
    if options.translate:
        raise invalid("options.translate", "PocketSphinx cannot translate; use a Whisper model for it")


def _pcm(samples: Samples) -> bytes:
    return samples.astype("<i2", copy=False).tobytes()


def _segment(hypothesis: Hypothesis, options: RecognitionOptions) -> Segment:
    words = hypothesis.words
    lengths = [word.end_ms - word.start_ms for word in words]
    weighted = sum(word.confidence * length for word, length in zip(words, lengths, strict=True)) / sum(lengths)
    return Segment(
        text=" ".join(word.word for word in words),
        start_ms=words[0].start_ms,
        end_ms=words[-1].end_ms,
        confidence=min(weighted, 1.0),
        words=[
            RecognizedWord(word=word.word, start_ms=word.start_ms, end_ms=word.end_ms, confidence=word.confidence)
            for word in words
        ]
        if options.word_times
        else (),
        language=_LANGUAGE,
    )


def _failed(error: WorkerError) -> ServiceError:
    return ServiceError(Reason.BACKEND_FAILED, str(error))
