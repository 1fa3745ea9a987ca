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
from typing import TYPE_CHECKING

import numpy as np

from enginehouse.engines.voice.backends._threads import ModelThreads, OutputSink
from enginehouse.engines.voice.backends._torch_runtime import require_runtime, runtime_absent, torch_device
from enginehouse.engines.voice.backends.base import (
    LoadedVoiceModel,
    Samples,
    Utterance,
    VoiceInfo,
)
from enginehouse.engines.voice.backends.xtts._options import FILES, XttsOptions
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

_PACKAGE, _EXTRA = "coqui-tts", "xtts"
_REPOSITORY = "coqui/XTTS-v2"
# Blocks of audio that wait for a slow reader: at most seven seconds.
_MAX_PENDING = 4


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

    async def load(self, model: CatalogModel) -> LoadedVoiceModel:
        """Load a model (1.9 GB; ten seconds or more). Its licence must have been accepted."""
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
        require_runtime(model, package=_PACKAGE, module="TTS", extra=_EXTRA)
        folder = weights_folder(
            model, models_dir=self._models_dir, files=FILES, like=_REPOSITORY, packages=self._packages
        )
        return LoadedVoiceModel(speaker=await asyncio.to_thread(_load, model, options, folder))


class XttsSpeaker:
    """A loaded XTTS with a thread of its own; implements `Speaker`.

    Args:
        name: the model's name, for errors.
        model: the loaded model.
    """

    def __init__(self, *, name: str, model: XttsModel) -> None:
        self._name = name
        self._model = model
        self._sample_rate = model.sample_rate
        self._threads = ModelThreads(name=name, slots=1, max_pending=_MAX_PENDING)
        self._all_languages = model.languages
        self._languages = supported_languages(model.languages)
        self._speakers = _by_id(model.speakers)
        self._voices = [
            VoiceInfo(voice_id=voice_id, name=speaker, languages=self._languages)
            for voice_id, speaker in sorted(self._speakers.items())
        ]

    @property
    def sample_rate(self) -> int:
        """Samples a second: 24,000 with the published weights."""
        return self._sample_rate

    @property
    def slots(self) -> int:
        """One: its codes are generated one after the other, and keep all cores busy."""
        return 1

    @property
    def voices(self) -> Sequence[VoiceInfo]:
        """The model's speakers, each of which speaks every language."""
        return self._voices

    @property
    def clones(self) -> bool:
        """True: from a recording of a few seconds."""
        return True

    @property
    def languages(self) -> Sequence[str]:
        """The model's languages whose script can be read: Chinese and Japanese need additional packages."""
        return self._languages

    @property
    def max_text_length(self) -> int:
        """The maximum length in characters. For languages with a lower limit, texts are split further here."""
        return MAX_TEXT_LENGTH

    @property
    def prosody(self) -> frozenset[str]:
        """Only the speed; the melody is the model's own."""
        return frozenset({"speed"})

    def check_voice(self, voice: str, language: str) -> None:
        """Raise INVALID_REQUEST if there is no such voice; each speaks every language."""
        self._speaker(voice)

    async def speak(self, utterance: Utterance) -> AsyncGenerator[Samples, None]:
        """Yield the audio while the model generates. Equal utterances have equal audio."""
        language = self._language(utterance)
        voice = utterance.clone or self._speaker(utterance.voice)
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

    def _language(self, utterance: Utterance) -> str:
        language = utterance.language.partition("-")[0].lower()
        if language in self._languages:
            return language
        if language in {tag.partition("-")[0] for tag in self._all_languages} and (install := missing_reader(language)):
            raise invalid("controls.language", f"{self._name!r} can speak {utterance.language!r} only after: {install}")
        raise invalid(
            "controls.language",
            f"{shorten(utterance.language)} is not supported by {self._name!r}; it speaks {', '.join(self._languages)}",
        )

    def _speaker(self, voice_id: str) -> str:
        if not self._speakers:
            raise invalid("controls.voice", f"{self._name!r} has no voices of its own; name a cloned one")
        if not voice_id:
            return next(iter(self._speakers.values()))
        if voice_id not in self._speakers:
            near = did_you_mean(voice_id, list(self._speakers))
            raise invalid("controls.voice", f"{shorten(voice_id)} is no voice of {self._name!r}{near}")
        return self._speakers[voice_id]


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


def _load(model: CatalogModel, options: XttsOptions, folder: Path) -> XttsSpeaker:
    try:
        device = torch_device(model, options.device)
        from enginehouse.engines.voice.backends.xtts._files import InvalidModelFile
        from enginehouse.engines.voice.backends.xtts._model import XttsModel
    except ImportError as error:
        raise runtime_absent(model, package=_PACKAGE, extra=_EXTRA, error=error) from error
    try:
        return XttsSpeaker(name=model.name, model=XttsModel(folder, device=device))
    except InvalidModelFile as error:
        raise ServiceError(Reason.BACKEND_FAILED, f"xtts cannot load {model.name!r}: {error}") from error
    except Exception as error:
        raise ServiceError(
            Reason.BACKEND_FAILED,
            f"xtts cannot load {model.name!r} from {folder}: {type(error).__name__}: {clip(str(error), 300)}",
        ) from error
