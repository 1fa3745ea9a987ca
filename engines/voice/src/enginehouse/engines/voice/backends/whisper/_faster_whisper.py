"""The faster-whisper backend: Whisper by CTranslate2, on CPUs in integer arithmetic and on CUDA.

The runtime is imported when its first model loads. It cannot be interrupted while it decodes; cancelled work ends
between two decodings, of which a window of 30 seconds usually needs one.

CUDA is not tested yet.
"""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from enginehouse.engines.voice.backends._torch_runtime import choose_device, require_runtime, runtime_absent
from enginehouse.engines.voice.backends.base import LoadedVoiceModel, VoiceModelInfo
from enginehouse.engines.voice.backends.whisper._languages import codes_of
from enginehouse.engines.voice.backends.whisper._options import FasterWhisperOptions
from enginehouse.engines.voice.backends.whisper._recogniser import WhisperRecogniser, whisper_info
from enginehouse.engines.voice.backends.whisper._runtime import DecodingOptions, FloatSamples, WhisperSegment
from enginehouse.kit.backends.options import read_options
from enginehouse.kit.backends.packages import PackagedWeights
from enginehouse.kit.backends.weights import weights_folder
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason, ServiceError, clip

_PACKAGE = "faster-whisper"
_REPOSITORY = "Systran/faster-whisper-small"
_WEIGHTS, _CONFIG, _TOKENIZER, _FEATURES = "model.bin", "config.json", "tokenizer.json", "preprocessor_config.json"
_VOCABULARIES = ("vocabulary.json", "vocabulary.txt")
# The work of one window: features, caches, scratch.
_SLOT_BYTES = 128 * 2**20
# With `quick`: no second try if the first has a low confidence.
_QUICK_TEMPERATURES = [0.0]
# The authors try six, of five samples each: on speech that a small model does not understand, that takes ten times as
# long and helps no more.
_TEMPERATURES = [0.0, 0.4, 0.8]


class FasterWhisperBackend:
    """Loader of Whisper models that were converted for CTranslate2.

    Args:
        models_dir: the folder of models; relative `file:` sources are relative to it.
        packages: the weights that come as Python packages; None if there are none.
    """

    name = "faster-whisper"

    def __init__(self, *, models_dir: Path, packages: PackagedWeights | None = None) -> None:
        self._models_dir = models_dir
        self._packages = packages

    async def inspect(self, model: CatalogModel) -> VoiceModelInfo:
        """Read the properties of a model from the files beside its weights."""
        options, folder = await asyncio.to_thread(self._checked, model)
        return await asyncio.to_thread(_info, model, options, folder)

    async def load(self, model: CatalogModel) -> LoadedVoiceModel:
        """Load a model from its folder."""
        options, folder = await asyncio.to_thread(self._checked, model)
        info = await asyncio.to_thread(_info, model, options, folder)
        assert info.recogniser is not None
        runtime = await asyncio.to_thread(_load, model, options, folder)
        return LoadedVoiceModel(
            info=info,
            recogniser=WhisperRecogniser(
                name=model.name, runtime=runtime, info=info.recogniser, skip_silence=options.vad
            ),
        )

    def _checked(self, model: CatalogModel) -> tuple[FasterWhisperOptions, Path]:
        options = read_options(FasterWhisperOptions, model)
        require_runtime(model, package=_PACKAGE, module="faster_whisper", install=_PACKAGE)
        # Without a tokenizer in the folder, the runtime would fetch one from a hub.
        folder = weights_folder(
            model,
            models_dir=self._models_dir,
            files=(_WEIGHTS, _CONFIG, _TOKENIZER),
            like=_REPOSITORY,
            packages=self._packages,
        )
        if not any((folder / name).is_file() for name in _VOCABULARIES):
            raise ServiceError(
                Reason.WEIGHTS_ABSENT,
                f"the weights of {model.name!r} are incomplete: {folder} lacks {' or '.join(_VOCABULARIES)}, which is "
                "converted along with the weights",
            )
        return options, folder


def _info(model: CatalogModel, options: FasterWhisperOptions, folder: Path) -> VoiceModelInfo:
    path = next(path for name in _VOCABULARIES if (path := folder / name).is_file())
    try:
        text = path.read_text(encoding="utf-8")
        tokens = len(json.loads(text)) if path.suffix == ".json" else text.rstrip("\n").count("\n") + 1
    except (OSError, ValueError, TypeError) as error:
        raise _unusable(model, path, f"cannot be loaded: {type(error).__name__}: {clip(str(error), 300)}") from error
    weights = (folder / _WEIGHTS).stat().st_size
    return VoiceModelInfo(
        memory_bytes=weights + options.slots * _SLOT_BYTES,
        recogniser=whisper_info(codes_of(tokens), slots=options.slots),
    )


class _Interruptible:
    """The runtime's model, with a check for cancellation before each of its steps."""

    def __init__(self, model: Any, check: Callable[[], None]) -> None:
        self._model = model
        self._check = check

    def __getattr__(self, name: str) -> Any:
        self._check()
        return getattr(self._model, name)


class _FasterWhisper:
    """Implements `WhisperRuntime`; any number of threads may call it."""

    def __init__(self, *, whisper: Any, options: FasterWhisperOptions) -> None:
        self._whisper = whisper
        self._options = options

    def transcribe(
        self, audio: FloatSamples, decoding: DecodingOptions, check: Callable[[], None]
    ) -> Iterator[WhisperSegment]:
        whisper = copy.copy(self._whisper)
        whisper.model = _Interruptible(self._whisper.model, check)
        segments, info = whisper.transcribe(
            audio,
            language=decoding.language or None,
            task="translate" if decoding.translate else "transcribe",
            beam_size=1 if decoding.quick else self._options.beam_size,
            best_of=1,
            temperature=_QUICK_TEMPERATURES if decoding.quick else _TEMPERATURES,
            initial_prompt=decoding.prompt or None,
            word_timestamps=decoding.word_times,
            vad_filter=self._options.vad,
        )
        for segment in segments:
            check()
            yield WhisperSegment(
                text=segment.text,
                start_s=segment.start,
                end_s=segment.end,
                logprob=segment.avg_logprob,
                language=info.language,
                words=[(word.word, word.start, word.end, word.probability) for word in segment.words or ()],
            )


def _load(model: CatalogModel, options: FasterWhisperOptions, folder: Path) -> _FasterWhisper:
    try:
        import ctranslate2  # type: ignore[import-untyped]
        import faster_whisper  # type: ignore[import-untyped]
        from tokenizers import Tokenizer
    except ImportError as error:
        raise runtime_absent(model, package=_PACKAGE, install=_PACKAGE, error=error) from error
    # It has two lines for every window.
    logging.getLogger("faster_whisper").setLevel(logging.WARNING)
    device = choose_device(model, options.device, cuda=ctranslate2.get_cuda_device_count() > 0)
    path = folder / _CONFIG
    try:
        for path in (folder / _CONFIG, folder / _FEATURES):
            if path.is_file():
                json.loads(path.read_text(encoding="utf-8"))
        path = folder / _TOKENIZER
        Tokenizer.from_file(str(path))
        path = folder / _WEIGHTS
        whisper = faster_whisper.WhisperModel(
            str(folder),
            device=device,
            compute_type=options.compute_type,
            cpu_threads=options.threads or max(1, (os.cpu_count() or 1) // options.slots),
            num_workers=options.slots,
            local_files_only=True,
        )
    except Exception as error:
        # An invalid file fails in any way, and so does a compute type that the processor lacks.
        raise _unusable(model, path, f"cannot be loaded: {type(error).__name__}: {clip(str(error), 300)}") from error
    wanted, given = whisper.model.n_mels, whisper.feature_extractor.mel_filters.shape[0]
    if wanted != given:
        raise _unusable(
            model,
            folder / _FEATURES,
            f"is missing or has {given} mel bands for feature_size; these weights need {wanted}",
        )
    return _FasterWhisper(whisper=whisper, options=options)


def _unusable(model: CatalogModel, path: Path, what: str) -> ServiceError:
    return ServiceError(Reason.BACKEND_FAILED, f"faster-whisper cannot load {model.name!r}: {path} {what}")
