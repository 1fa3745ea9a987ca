"""The openai-whisper backend: Whisper by its authors, in torch.

The runtime is an extra and is imported when its first model loads. One window is transcribed at a time, in a thread;
cancelled work ends between two tokens.

CUDA is not tested yet.
"""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from enginehouse.engines.voice.backends._torch_runtime import require_runtime, runtime_absent, torch_device
from enginehouse.engines.voice.backends.base import LoadedVoiceModel, VoiceModelInfo
from enginehouse.engines.voice.backends.whisper._languages import codes_of
from enginehouse.engines.voice.backends.whisper._options import OpenaiWhisperOptions
from enginehouse.engines.voice.backends.whisper._recogniser import WhisperRecogniser, whisper_info
from enginehouse.engines.voice.backends.whisper._runtime import DecodingOptions, FloatSamples, WhisperSegment
from enginehouse.kit.backends.options import read_options
from enginehouse.kit.backends.packages import PackagedWeights
from enginehouse.kit.backends.weights import weights_file
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason, ServiceError, clip

_PACKAGE, _EXTRA = "openai-whisper", "'enginehouse-voice[whisper]'"
_LIKE = "a .pt file of openai-whisper, such as small.pt,"
_WINDOW_BYTES = 256 * 2**20
# With `quick`: no second try if the first has a low confidence.
_QUICK_TEMPERATURES = (0.0,)
_TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


class OpenaiWhisperBackend:
    """Loader of Whisper models from the files that their authors publish.

    Args:
        models_dir: the folder of models; relative `file:` sources are relative to it.
        packages: the weights that come as Python packages; None if there are none.
    """

    name = "openai-whisper"

    def __init__(self, *, models_dir: Path, packages: PackagedWeights | None = None) -> None:
        self._models_dir = models_dir
        self._packages = packages

    async def inspect(self, model: CatalogModel) -> VoiceModelInfo:
        """Read the properties of a model from its file, whose weights are only mapped."""
        _, path = await asyncio.to_thread(self._checked, model)
        return await asyncio.to_thread(_info, model, path)

    async def load(self, model: CatalogModel) -> LoadedVoiceModel:
        """Load a model from its file."""
        options, path = await asyncio.to_thread(self._checked, model)
        runtime = await asyncio.to_thread(_load, model, options, path)
        info = _model_info(path, runtime.vocabulary)
        assert info.recogniser is not None
        return LoadedVoiceModel(
            info=info,
            recogniser=WhisperRecogniser(
                name=model.name, runtime=runtime, info=info.recogniser, skip_silence=options.vad
            ),
        )

    def _checked(self, model: CatalogModel) -> tuple[OpenaiWhisperOptions, Path]:
        options = read_options(OpenaiWhisperOptions, model)
        require_runtime(model, package=_PACKAGE, module="whisper", install=_EXTRA)
        return options, weights_file(model, models_dir=self._models_dir, like=_LIKE, packages=self._packages)


def _info(model: CatalogModel, path: Path) -> VoiceModelInfo:
    try:
        import torch  # type: ignore[import-not-found]
    except ImportError as error:
        raise runtime_absent(model, package=_PACKAGE, install=_EXTRA, error=error) from error
    try:
        saved = torch.load(str(path), map_location="cpu", mmap=zipfile.is_zipfile(path), weights_only=True)
        vocabulary = int(saved["dims"]["n_vocab"])
    except Exception as error:
        raise _unusable(model, path, error) from error
    return _model_info(path, vocabulary)


def _model_info(path: Path, vocabulary: int) -> VoiceModelInfo:
    # One window at a time: the library keeps state on the model. Weights take twice as much as in the file.
    return VoiceModelInfo(
        memory_bytes=2 * path.stat().st_size + _WINDOW_BYTES, recogniser=whisper_info(codes_of(vocabulary), slots=1)
    )


class _OpenaiWhisper:
    """Implements `WhisperRuntime`, for one thread at a time: the library keeps state on the model."""

    def __init__(self, *, whisper: Any, options: OpenaiWhisperOptions) -> None:
        self._whisper = whisper
        self._options = options
        self._half = whisper.device.type == "cuda" and options.compute_type != "float32"
        self._check: Callable[[], None] = _never_cancel
        whisper.decoder.register_forward_pre_hook(self._before_token, with_kwargs=True)

    @property
    def vocabulary(self) -> int:
        """The number of its tokens."""
        return int(self._whisper.dims.n_vocab)

    def transcribe(
        self, audio: FloatSamples, decoding: DecodingOptions, check: Callable[[], None]
    ) -> Iterator[WhisperSegment]:
        beams = 1 if decoding.quick else self._options.beam_size
        self._check = check
        try:
            result = self._whisper.transcribe(
                audio,
                language=decoding.language or None,
                task="translate" if decoding.translate else "transcribe",
                beam_size=beams if beams > 1 else None,
                best_of=5,
                temperature=_QUICK_TEMPERATURES if decoding.quick else _TEMPERATURES,
                initial_prompt=decoding.prompt or None,
                word_timestamps=decoding.word_times,
                fp16=self._half,
            )
        finally:
            self._check = _never_cancel
        for segment in result["segments"]:
            yield WhisperSegment(
                text=segment["text"],
                start_s=segment["start"],
                end_s=segment["end"],
                logprob=segment["avg_logprob"],
                language=result["language"],
                words=[
                    (word["word"], word["start"], word["end"], word["probability"]) for word in segment.get("words", ())
                ],
            )

    def _before_token(self, _decoder: Any, _inputs: Any, named: dict[str, Any]) -> None:
        # Only while it decodes: the alignment of words leaves hooks behind if it is interrupted.
        if named.get("kv_cache") is not None:
            self._check()


def _never_cancel() -> None:
    """Check for cancellation while nothing runs: never raise."""


def _load(model: CatalogModel, options: OpenaiWhisperOptions, path: Path) -> _OpenaiWhisper:
    try:
        device = torch_device(model, options.device)
        import whisper  # type: ignore[import-not-found]
    except ImportError as error:
        raise runtime_absent(model, package=_PACKAGE, install=_EXTRA, error=error) from error
    if options.compute_type == "float16" and device == "cpu":
        raise ServiceError(
            Reason.INVALID_REQUEST,
            f"model {model.name!r} in the catalog: options.compute_type: 'float16' needs CUDA; use 'float32'",
        )
    try:
        loaded = whisper.load_model(str(path), device=device)
    except Exception as error:
        # An invalid file fails in any way.
        raise _unusable(model, path, error) from error
    _set_alignment_heads(whisper, loaded, path)
    loaded.eval()
    return _OpenaiWhisper(whisper=loaded, options=options)


def _unusable(model: CatalogModel, path: Path, error: Exception) -> ServiceError:
    return ServiceError(
        Reason.BACKEND_FAILED,
        f"openai-whisper cannot load {model.name!r}: invalid model file {path}: "
        f"{type(error).__name__}: {clip(str(error), 300)}",
    )


def _set_alignment_heads(runtime: Any, loaded: Any, path: Path) -> None:
    """Set the attention heads that align words with audio, for the published models. Others keep the default."""
    heads = getattr(runtime, "_ALIGNMENT_HEADS", {}).get(path.stem)
    if heads is None:
        return
    try:
        loaded.set_alignment_heads(heads)
    except (RuntimeError, ValueError):
        # Another model under a published one's name: its layers differ.
        return
