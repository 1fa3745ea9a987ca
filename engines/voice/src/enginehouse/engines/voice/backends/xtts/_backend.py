"""The XTTS backend: Coqui's XTTS v2 with its own and cloned voices, in process.

The runtime is an extra and is imported when its first model loads. One utterance is synthesized at a time, in a thread;
its audio is streamed while the model generates, and cancelled work ends between two audio codes.

CUDA is not tested yet.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, closing
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from enginehouse.engines.voice.backends._threads import ModelThreads, OutputSink
from enginehouse.engines.voice.backends._torch_runtime import require_runtime, runtime_absent, torch_device
from enginehouse.engines.voice.backends.base import (
    LoadedVoiceModel,
    Samples,
    Utterance,
    VoiceInfo,
    VoiceModelInfo,
)
from enginehouse.engines.voice.backends.xtts._options import FILES, WEIGHTS, XttsOptions
from enginehouse.engines.voice.backends.xtts._text import MAX_TEXT_LENGTH, missing_reader, spelled, supported_languages
from enginehouse.kit.backends.options import read_options
from enginehouse.kit.backends.packages import PackagedWeights
from enginehouse.kit.backends.weights import weights_folder
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError, clip
from enginehouse.kit.nearest import did_you_mean
from enginehouse.kit.validation import invalid, shorten

if TYPE_CHECKING:
    from enginehouse.engines.voice.backends.xtts._model import XttsModel

_PACKAGE, _EXTRA = "coqui-tts", "'enginehouse-voice[xtts]'"
_REPOSITORY = "coqui/XTTS-v2"
# Blocks of audio that wait for a slow reader: at most seven seconds.
_MAX_PENDING = 4
# Its caches and scratch.
_WORK_BYTES = 512 * 2**20


class XttsBackend:
    """Loader of XTTS v2 models.

    Args:
        models_dir: the folder of models; relative `file:` sources are relative to it.
        packages: the weights that come as Python packages; None if there are none.
    """

    name = "xtts"

    def __init__(self, *, models_dir: Path, packages: PackagedWeights | None = None) -> None:
        self._models_dir = models_dir
        self._packages = packages

    async def inspect(self, model: CatalogModel) -> VoiceModelInfo:
        """Read a model's configuration and speakers. Its licence must have been accepted."""
        _, folder = await asyncio.to_thread(self._checked, model)
        return await asyncio.to_thread(_inspect, model, folder)

    async def load(self, model: CatalogModel) -> LoadedVoiceModel:
        """Load a model (1.9 GB; ten seconds or more)."""
        options, folder = await asyncio.to_thread(self._checked, model)
        loaded = await asyncio.to_thread(_load, model, options, folder)
        info = XttsInfo(
            name=model.name, sample_rate=loaded.sample_rate, languages=loaded.languages, speakers=loaded.speakers
        )
        return LoadedVoiceModel(
            info=_model_info(info, folder), speaker=XttsSpeaker(name=model.name, model=loaded, info=info)
        )

    def _checked(self, model: CatalogModel) -> tuple[XttsOptions, Path]:
        options = read_options(XttsOptions, model)
        if not options.accept_licence:
            description = (
                "the weights of XTTS v2 are under the Coqui Public Model License, which allows no commercial use of "
                "them or of their output; set accept_licence: true in the model's options to accept it"
            )
            raise ServiceError(
                Reason.FAILED_PRECONDITION,
                f"model {model.name!r} cannot load: {description}",
                violations=[FieldViolation("options.accept_licence", description)],
            )
        require_runtime(model, package=_PACKAGE, module="TTS", install=_EXTRA)
        return options, weights_folder(
            model, models_dir=self._models_dir, files=FILES, like=_REPOSITORY, packages=self._packages
        )


class XttsInfo:
    """The properties of an XTTS model; implements `SpeakerInfo`.

    Args:
        name: the model's name, for errors.
        sample_rate: samples a second: 24,000 with the published weights.
        languages: the languages of its configuration, such as "en" and "zh-cn".
        speakers: the names of its speakers, each of whom speaks every language.
    """

    slots = 1
    """One: its codes are generated one after the other, and keep all cores busy."""
    clones = True
    """True: from a recording of a few seconds."""
    max_text_length = MAX_TEXT_LENGTH
    """The maximum length in characters. For languages with a lower limit, texts are split further by the model."""
    aliases: Mapping[str, str] = MappingProxyType({})
    """None."""
    variants: Sequence[str] = ()
    """None."""
    prosody = frozenset({"speed"})
    """Only the speed; the melody is the model's own."""

    def __init__(self, *, name: str, sample_rate: int, languages: Sequence[str], speakers: Sequence[str]) -> None:
        self.sample_rate = sample_rate
        self.languages = supported_languages(languages)
        """The model's languages whose script can be read: Chinese and Japanese need additional packages."""
        self._name = name
        self._all_languages = languages
        self._speakers = _by_id(speakers)
        self.voices = [
            VoiceInfo(voice_id=voice_id, name=speaker, languages=self.languages)
            for voice_id, speaker in sorted(self._speakers.items())
        ]
        """The model's speakers, each of whom speaks every language."""

    def language(self, utterance: Utterance) -> str:
        """Return the primary subtag of an utterance's language. Raises INVALID_REQUEST."""
        language = utterance.language.partition("-")[0].lower()
        if language in self.languages:
            return language
        if language in {tag.partition("-")[0] for tag in self._all_languages} and (install := missing_reader(language)):
            raise invalid("controls.language", f"{self._name!r} can speak {utterance.language!r} only after: {install}")
        raise invalid(
            "controls.language",
            f"{shorten(utterance.language)} is not supported by {self._name!r}; it speaks {', '.join(self.languages)}",
        )

    def speaker(self, voice_id: str) -> str:
        """Return the name of a voice's speaker; the first one's for an empty id. Raises INVALID_REQUEST."""
        if not self._speakers:
            raise invalid("controls.voice", f"{self._name!r} has no voices of its own; name a cloned one")
        if not voice_id:
            return next(iter(self._speakers.values()))
        if voice_id not in self._speakers:
            near = did_you_mean(voice_id, list(self._speakers))
            raise invalid("controls.voice", f"{shorten(voice_id)} is no voice of {self._name!r}{near}")
        return self._speakers[voice_id]


class XttsSpeaker:
    """A loaded XTTS with a thread of its own; implements `Speaker`.

    Args:
        name: the model's name, for errors.
        model: the loaded model.
        info: its properties.
    """

    def __init__(self, *, name: str, model: XttsModel, info: XttsInfo) -> None:
        self._model = model
        self.info = info
        """Its properties."""
        self._threads = ModelThreads(name=name, slots=info.slots, max_pending=_MAX_PENDING)

    async def speak(self, utterance: Utterance) -> AsyncGenerator[Samples, None]:
        """Yield the audio while the model generates. Equal utterances have equal audio."""
        language = self.info.language(utterance)
        voice = utterance.clone or self.info.speaker(utterance.voice)
        text = spelled(utterance.text) if utterance.spell else utterance.text

        def speak(sink: OutputSink[Samples]) -> None:
            speed = utterance.prosody.speed
            sounds = self._model.speak(text, language=language, voice=voice, speed=speed, check=sink.check)
            with closing(sounds):
                for sound in sounds:
                    sink.put(sound)

        async with aclosing(self._threads.run(speak)) as batches:
            async for batch in batches:
                yield np.concatenate(batch)

    async def close(self) -> None:
        """Cancel running work, and free the model's memory."""
        await self._threads.close()
        del self._model
        gc.collect()


def _by_id(names: Sequence[str]) -> Mapping[str, str]:
    """Return the speakers' names by their ids in requests: "Claribel Dervla" is "claribel-dervla"."""
    found: dict[str, str] = {}
    for name in names:
        plain = "-".join("".join(sign if sign.isalnum() else " " for sign in name.lower()).split()) or "voice"
        number = 1
        voice_id = plain
        while voice_id in found:
            number += 1
            voice_id = f"{plain}-{number}"
        found[voice_id] = name
    return found


def _inspect(model: CatalogModel, folder: Path) -> VoiceModelInfo:
    try:
        from enginehouse.engines.voice.backends.xtts._files import InvalidModelFile, read_config, read_speaker_names
    except ImportError as error:
        raise runtime_absent(model, package=_PACKAGE, install=_EXTRA, error=error) from error
    try:
        config = read_config(folder)
        info = XttsInfo(
            name=model.name,
            sample_rate=int(config.model_args.output_sample_rate),
            languages=tuple(config.languages),
            speakers=read_speaker_names(folder),
        )
    except InvalidModelFile as error:
        raise ServiceError(Reason.BACKEND_FAILED, f"xtts cannot load {model.name!r}: {error}") from error
    return _model_info(info, folder)


def _model_info(info: XttsInfo, folder: Path) -> VoiceModelInfo:
    return VoiceModelInfo(memory_bytes=(folder / WEIGHTS).stat().st_size + _WORK_BYTES, speaker=info)


def _load(model: CatalogModel, options: XttsOptions, folder: Path) -> XttsModel:
    try:
        device = torch_device(model, options.device)
        from enginehouse.engines.voice.backends.xtts._files import InvalidModelFile
        from enginehouse.engines.voice.backends.xtts._model import XttsModel
    except ImportError as error:
        raise runtime_absent(model, package=_PACKAGE, install=_EXTRA, error=error) from error
    try:
        return XttsModel(folder, device=device)
    except InvalidModelFile as error:
        raise ServiceError(Reason.BACKEND_FAILED, f"xtts cannot load {model.name!r}: {error}") from error
    except Exception as error:
        raise ServiceError(
            Reason.BACKEND_FAILED,
            f"xtts cannot load {model.name!r} from {folder}: {type(error).__name__}: {clip(str(error), 300)}",
        ) from error
