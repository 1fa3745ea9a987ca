"""The espeak-ng backend: small and fast speech synthesis in some hundred languages, in child processes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence

import numpy as np

from enginehouse.engines.voice.backends.base import LoadedVoiceModel, Samples, Utterance, VoiceInfo, VoiceModelInfo
from enginehouse.engines.voice.backends.espeak._jobs import AUDIO, FAILED, LIST_VOICES, SPEAK, VOICES, Inventory, Job
from enginehouse.engines.voice.backends.espeak._options import EspeakOptions
from enginehouse.engines.voice.backends.espeak._prosody import parameters
from enginehouse.engines.voice.backends.espeak._shift import PitchShifter
from enginehouse.engines.voice.backends.espeak._voices import EspeakVoices
from enginehouse.engines.voice.workers import WorkerError, WorkerPool
from enginehouse.kit.backends.options import read_options, require_package
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.validation import invalid, shorten

__all__ = ["EspeakBackend", "EspeakSpeaker"]

_log = logging.getLogger(__name__)

_CHILD = "enginehouse.engines.voice.backends.espeak._child"
# Finishing an utterance nearly always takes less time than starting another process.
_SETTLE_S = 0.2
# Takes at most 0.2 s to synthesize, so that an abandoned utterance is done before its process would be killed.
_MAX_TEXT_LENGTH = 1000
_WORKER_BYTES = 24 * 2**20


class EspeakBackend:
    """Loader of espeak-ng models; implements `VoiceBackend`."""

    name = "espeak-ng"

    async def inspect(self, model: CatalogModel) -> VoiceModelInfo:
        """Start a process for as long as it takes to list its voices.

        Raises WEIGHTS_ABSENT, INVALID_REQUEST (source, options) or BACKEND_FAILED.
        """
        pool, info = await _open(model)
        await pool.close()
        return _model_info(info)

    async def load(self, model: CatalogModel) -> LoadedVoiceModel:
        """Start a first process; raise as `inspect` does."""
        pool, info = await _open(model)
        return LoadedVoiceModel(info=_model_info(info), speaker=EspeakSpeaker(pool=pool, info=info))


async def _open(model: CatalogModel) -> tuple[WorkerPool, EspeakInfo]:
    options = read_options(EspeakOptions, model)
    require_package(model, package="espeakng-loader", module="espeakng_loader")
    pool = WorkerPool(module=_CHILD, size=options.workers, name="espeak-ng", settle_s=_SETTLE_S)
    try:
        inventory = await _take_inventory(pool)
        voices = EspeakVoices(inventory, aliases=options.aliases)
    except WorkerError as error:
        await pool.close()
        raise ServiceError(Reason.BACKEND_FAILED, f"model {model.name!r} cannot be loaded: {error}") from error
    except BaseException:
        await pool.close()
        raise
    return pool, EspeakInfo(slots=options.workers, sample_rate=inventory.sample_rate, finder=voices)


def _model_info(info: EspeakInfo) -> VoiceModelInfo:
    return VoiceModelInfo(memory_bytes=info.slots * _WORKER_BYTES, speaker=info)


class EspeakInfo:
    """The properties of espeak-ng; implements `SpeakerInfo`."""

    clones = False
    max_text_length = _MAX_TEXT_LENGTH
    prosody = frozenset({"speed", "pitch", "pitch_range", "emphasis"})

    def __init__(self, *, slots: int, sample_rate: int, finder: EspeakVoices) -> None:
        self.slots = slots
        self.sample_rate = sample_rate
        self.finder = finder
        """Finds voices by their ids."""

    @property
    def voices(self) -> Sequence[VoiceInfo]:
        """All languages, alone and with each variant, by id."""
        return self.finder.list

    @property
    def languages(self) -> Sequence[str]:
        """The primary subtags of the languages that it speaks."""
        return self.finder.languages

    @property
    def aliases(self) -> Mapping[str, str]:
        """The aliases of the model's options."""
        return self.finder.aliases

    @property
    def variants(self) -> Sequence[str]:
        """The variants that go with every language."""
        return self.finder.variants


class EspeakSpeaker:
    """espeak-ng, loaded; implements `Speaker`.

    An utterance's `voice` is the id of one of its voices, which then speaks whatever the language is, or a variant
    alone ("+f3") in the utterance's language. Equal utterances have equal audio.
    """

    def __init__(self, *, pool: WorkerPool, info: EspeakInfo) -> None:
        self._pool = pool
        self.info = info
        """Its properties."""

    async def speak(self, utterance: Utterance) -> AsyncGenerator[Samples, None]:
        """Yield the audio as it is made. A slow reader blocks nobody else: a process is held only while it works.

        Raises INVALID_REQUEST (naming `controls.voice` or `controls.language`), BACKEND_FAILED.
        """
        if utterance.clone is not None:
            raise invalid("controls.voice", f"{utterance.voice!r} is a cloned voice, which espeak-ng does not support")
        job, shift = self._plan(utterance)
        frames: asyncio.Queue[bytes | None] = asyncio.Queue()
        synthesis = asyncio.create_task(self._speak(job, frames))
        try:
            while (pcm := await frames.get()) is not None:
                samples = np.frombuffer(pcm, "<i2").astype(np.int16)
                if shift is not None:
                    samples = shift.feed(samples)
                if len(samples):
                    yield samples
            await synthesis
        finally:
            synthesis.cancel()
            await asyncio.wait([synthesis])
            # Its failure, if any, was raised above, or the reader has left.
            if not synthesis.cancelled():
                synthesis.exception()

    async def close(self) -> None:
        """Stop the processes; running utterances fail."""
        await self._pool.close()

    def _plan(self, utterance: Utterance) -> tuple[Job, PitchShifter | None]:
        values = parameters(utterance.prosody)
        job = Job(
            text=utterance.text,
            voice=self.info.finder.file(utterance.voice, utterance.language),
            rate=values.rate,
            pitch=values.pitch,
            pitch_range=values.pitch_range,
            volume=values.volume,
            tempo=values.tempo,
            spell=utterance.spell,
        )
        return job, PitchShifter(values.shift) if values.shift != 1 else None

    async def _speak(self, job: Job, frames: asyncio.Queue[bytes | None]) -> None:
        """Put the job's audio into the queue, and None at the end, also after a failure."""
        failure = ""
        try:
            async with self._pool.worker() as worker, contextlib.aclosing(worker.ask(SPEAK, job.encode())) as answers:
                async for kind, payload in answers:
                    if kind == AUDIO:
                        frames.put_nowait(payload)
                    elif kind == FAILED:
                        failure = payload.decode()
                        _log.warning("espeak-ng: %s; its last output: %s", failure, worker.stderr_tail)
            if failure:
                raise ServiceError(
                    Reason.BACKEND_FAILED,
                    f"espeak-ng failed on {shorten(job.text)} with the voice {job.voice!r}: {failure}",
                )
        except WorkerError as error:
            raise ServiceError(Reason.BACKEND_FAILED, str(error)) from error
        finally:
            frames.put_nowait(None)


async def _take_inventory(pool: WorkerPool) -> Inventory:
    async with pool.worker() as worker:
        [(kind, payload)] = [frame async for frame in worker.ask(LIST_VOICES)]
    if kind != VOICES:
        raise WorkerError(f"the espeak-ng process answered with a frame of kind {kind} when asked for its voices")
    return Inventory.decode(payload)
