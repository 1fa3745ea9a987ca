"""The piper backend: neural voices in ONNX files, by piper-tts in child processes.

An utterance is turned into phonemes and spoken clause by clause: each clause takes a process for as long as it is made,
so that a long sentence lets others through, and a caller that leaves costs at most a clause.
"""

from __future__ import annotations

import asyncio
import logging
import unicodedata
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from enginehouse.engines.voice.audio import amplify
from enginehouse.engines.voice.audio.measure import loudness_lufs
from enginehouse.engines.voice.backends._torch_runtime import require_runtime
from enginehouse.engines.voice.backends.base import (
    LoadedVoiceModel,
    Prosody,
    Samples,
    Utterance,
    VoiceInfo,
    VoiceModelInfo,
)
from enginehouse.engines.voice.backends.piper._clauses import clauses
from enginehouse.engines.voice.backends.piper._description import (
    DescriptionError,
    VoiceInference,
    read_description,
)
from enginehouse.engines.voice.backends.piper._jobs import (
    FAILED,
    PHONEMIZE,
    SPEAK,
    ClauseJob,
    decode_phonemes,
)
from enginehouse.engines.voice.backends.piper._options import PiperOptions
from enginehouse.engines.voice.backends.piper._prosody import FOLLOWED, ClauseParameters, parameters
from enginehouse.engines.voice.backends.piper._voices import PiperVoices
from enginehouse.engines.voice.workers import WorkerError, WorkerPool
from enginehouse.kit.backends.options import read_options
from enginehouse.kit.backends.packages import PackagedWeights
from enginehouse.kit.backends.weights import pull_or_put, weights_absent, weights_file
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason, ServiceError, clip
from enginehouse.kit.validation import invalid, shorten

__all__ = ["PiperBackend", "PiperSpeaker"]

_log = logging.getLogger(__name__)

_CHILD = "enginehouse.engines.voice.backends.piper._child"
_PACKAGE, _MODULE = "piper-tts", "piper"
_LIKE = "a Piper voice, such as en_US-joe-medium.onnx, and its .onnx.json"
_READY_S = 60
# Finishing a clause nearly always takes less time than starting another process.
_SETTLE_S = 3.0
# The planner's own limit; a text of this length is some 20 s of speech.
_MAX_TEXT_LENGTH = 300
# Digits are read in every language: their speech tells how loud a voice is.
_SAMPLE = "1 2 3 4 5 6 7 8 9"
_MAX_GAIN = 8.0
# What a process takes besides the weights, which are half as large again in memory.
_PROCESS_BYTES = 96 * 2**20


class PiperBackend:
    """Loader of Piper voices; implements `VoiceBackend`.

    Args:
        models_dir: the folder of models; relative `file:` sources are relative to it.
        packages: the weights that come as Python packages; None if there are none.
    """

    name = "piper"

    def __init__(self, *, models_dir: Path, packages: PackagedWeights | None = None) -> None:
        self._models_dir = models_dir
        self._packages = packages

    async def inspect(self, model: CatalogModel) -> VoiceModelInfo:
        """Read the file that describes the voice; raise WEIGHTS_ABSENT, INVALID_REQUEST (source, options) or
        BACKEND_FAILED.
        """
        return _model_info(await asyncio.to_thread(self._checked, model))

    async def load(self, model: CatalogModel) -> LoadedVoiceModel:
        """Start the processes; raise as `inspect` does."""
        voice = await asyncio.to_thread(self._checked, model)
        pool = WorkerPool(
            module=_CHILD,
            size=voice.info.slots,
            arguments=(str(voice.weights), str(voice.file), str(voice.options.threads_of_each)),
            name="piper",
            ready_timeout_s=_READY_S,
            settle_s=_SETTLE_S,
        )
        speaker = PiperSpeaker(pool=pool, info=voice.info, inference=voice.inference, options=voice.options)
        try:
            await speaker.warm_up()
        except ServiceError as error:
            await pool.close()
            raise _unusable(model, error.message) from error
        except BaseException:
            await pool.close()
            raise
        return LoadedVoiceModel(info=_model_info(voice), speaker=speaker)

    def _checked(self, model: CatalogModel) -> _CheckedVoice:
        options = read_options(PiperOptions, model)
        require_runtime(model, package=_PACKAGE, module=_MODULE, install=_PACKAGE)
        weights = weights_file(model, models_dir=self._models_dir, like=_LIKE, packages=self._packages)
        file = weights.with_name(f"{weights.name}.json")
        if not file.is_file():
            raise weights_absent(model, f"{file} is missing, which describes the voice; {_fix(model)}")
        try:
            description = read_description(file)
        except DescriptionError as error:
            raise _unusable(model, str(error)) from error
        voices = PiperVoices(
            model=model.name, description=description, stem=weights.name.removesuffix(".onnx"), aliases=options.aliases
        )
        info = PiperInfo(slots=options.slots, sample_rate=description.audio.sample_rate, finder=voices)
        return _CheckedVoice(weights=weights, file=file, options=options, inference=description.inference, info=info)


@dataclass(frozen=True, slots=True, kw_only=True)
class _CheckedVoice:
    """A voice whose files and options are as they should be."""

    weights: Path
    file: Path
    options: PiperOptions
    inference: VoiceInference
    info: PiperInfo


def _model_info(voice: _CheckedVoice) -> VoiceModelInfo:
    each = _PROCESS_BYTES + 3 * voice.weights.stat().st_size // 2
    return VoiceModelInfo(memory_bytes=voice.info.slots * each, speaker=voice.info)


class PiperInfo:
    """The properties of a Piper voice; implements `SpeakerInfo`."""

    clones = False
    variants: Sequence[str] = ()
    max_text_length = _MAX_TEXT_LENGTH
    prosody = FOLLOWED

    def __init__(self, *, slots: int, sample_rate: int, finder: PiperVoices) -> None:
        self.slots = slots
        """The number of clauses that it synthesizes at once."""
        self.sample_rate = sample_rate
        self.finder = finder
        """Finds voices by their ids."""

    @property
    def voices(self) -> Sequence[VoiceInfo]:
        """The model's speakers, by id."""
        return self.finder.list

    @property
    def languages(self) -> Sequence[str]:
        """The primary subtag of its one language."""
        return [self.finder.language]

    @property
    def aliases(self) -> Mapping[str, str]:
        """Those of the model's options, or OpenAI's names."""
        return self.finder.aliases


class PiperSpeaker:
    """A Piper voice, loaded; implements `Speaker`.

    Its speech varies a little from call to call, unless its noise is turned off.
    """

    def __init__(self, *, pool: WorkerPool, info: PiperInfo, inference: VoiceInference, options: PiperOptions) -> None:
        self._pool = pool
        self.info = info
        """Its properties."""
        self._loudness_lufs = options.loudness_lufs
        self._length_scale = inference.length_scale if options.length_scale is None else options.length_scale
        self._noise_scale = inference.noise_scale if options.noise_scale is None else options.noise_scale
        self._noise_w = inference.noise_w if options.noise_w is None else options.noise_w
        self._gain = 1.0

    async def warm_up(self) -> None:
        """Start all processes, and set the gain by the loudness of a sample. Raises BACKEND_FAILED."""
        made = await asyncio.gather(*(self._sample() for _ in range(self._pool.size)))
        loudness = loudness_lufs(made[0], self.info.sample_rate)
        if np.isfinite(loudness):
            self._gain = min(_MAX_GAIN, 10 ** ((self._loudness_lufs - loudness) / 20))

    async def speak(self, utterance: Utterance) -> AsyncGenerator[Samples, None]:
        """Yield the audio clause by clause.

        Raises INVALID_REQUEST (naming `controls.voice` or `controls.language`), BACKEND_FAILED.
        """
        if utterance.clone is not None:
            raise invalid("controls.voice", f"{utterance.voice!r} is a cloned voice, which piper does not support")
        self.info.finder.check_language(utterance.language)
        speaker, prosody = self.info.finder.speaker(utterance.voice), parameters(utterance.prosody)
        text = spelled(utterance.text) if utterance.spell else utterance.text
        for sentence in await self._phonemes(text):
            for clause in clauses(sentence):
                samples = await self._render(self._job(clause, speaker=speaker, prosody=prosody))
                yield amplify(samples, self._gain * prosody.gain)

    async def close(self) -> None:
        """Stop the processes; running utterances fail."""
        await self._pool.close()

    def _job(self, clause: Sequence[str], *, speaker: int, prosody: ClauseParameters) -> ClauseJob:
        return ClauseJob(
            phonemes=clause,
            speaker=speaker,
            length_scale=self._length_scale * prosody.length_scale,
            noise_scale=self._noise_scale,
            noise_w=self._noise_w,
            tempo=prosody.tempo,
            pitch_factor=prosody.pitch_factor,
        )

    async def _sample(self) -> Samples:
        plain, speaker = parameters(Prosody()), self.info.finder.speaker("")
        jobs = [
            self._job(clause, speaker=speaker, prosody=plain)
            for sentence in await self._phonemes(_SAMPLE)
            for clause in clauses(sentence)
        ]
        return np.concatenate([np.empty(0, np.int16), *[await self._render(job) for job in jobs]])

    async def _phonemes(self, text: str) -> Sequence[Sequence[str]]:
        return decode_phonemes(await self._ask(PHONEMIZE, text.encode(), what=text))

    async def _render(self, job: ClauseJob) -> Samples:
        pcm = await self._ask(SPEAK, job.encode(), what="".join(job.phonemes))
        return np.frombuffer(pcm, "<i2").astype(np.int16)

    async def _ask(self, kind: int, payload: bytes, *, what: str) -> bytes:
        """Return the one answer of a process. Raises BACKEND_FAILED."""
        try:
            async with self._pool.worker() as worker:
                [(answer, content)] = [frame async for frame in worker.ask(kind, payload)]
        except WorkerError as error:
            raise ServiceError(Reason.BACKEND_FAILED, str(error)) from error
        if answer == FAILED:
            failure = clip(content.decode(errors="replace"), 300)
            _log.warning("piper: %s", failure)
            raise ServiceError(Reason.BACKEND_FAILED, f"piper failed on {shorten(what)}: {failure}")
        return content


def spelled(text: str) -> str:
    """Return the text letter by letter, with pauses between; combining marks stay with their letter."""
    signs: list[str] = []
    for character in unicodedata.normalize("NFC", text):
        if signs and unicodedata.category(character).startswith("M"):
            signs[-1] += character
        elif not character.isspace():
            signs.append(character)
    return ", ".join(signs)


def _unusable(model: CatalogModel, fault: str) -> ServiceError:
    return ServiceError(Reason.BACKEND_FAILED, f"piper cannot load {model.name!r}: {clip(fault, 600)}")


def _fix(model: CatalogModel) -> str:
    if model.source.startswith("hf:"):
        path, at, revision = model.source.partition("@")
        return f"fetch it with: enginehouse models pull {path}.json{at}{revision}"
    return pull_or_put(model, like="it")
