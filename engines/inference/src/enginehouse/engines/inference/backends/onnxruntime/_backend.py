"""ONNX Runtime in this process: encoders that make embeddings."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from enginehouse.engines.inference.backends.base import TextModelInfo
from enginehouse.engines.inference.backends.onnxruntime._files import EncoderFiles, find_files
from enginehouse.engines.inference.backends.onnxruntime._options import OnnxRuntimeOptions
from enginehouse.kit.backends.options import read_options
from enginehouse.kit.backends.packages import PackagedWeights
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason, ServiceError

if TYPE_CHECKING:
    import tokenizers

    from enginehouse.engines.inference.backends.onnxruntime._model import OnnxRuntimeModel
    from enginehouse.engines.inference.backends.onnxruntime._session import EncoderSession

__all__ = ["OnnxRuntimeBackend"]

_log = logging.getLogger(__name__)

# The runtime itself, and what each of its threads works in on a text of 512 tokens, as measured.
_RUNTIME_BYTES = 80 * 2**20
_THREAD_BYTES = 32 * 2**20


class OnnxRuntimeBackend:
    """The backend of encoders as ONNX models; implements `TextBackend`.

    Args:
        models_dir: the folder of pulled and converted weights.
        packages: the weights that come as Python packages.
    """

    name = "onnxruntime"

    def __init__(self, *, models_dir: Path, packages: PackagedWeights | None = None) -> None:
        self._models_dir = models_dir
        self._packages = packages

    async def inspect(self, model: CatalogModel) -> TextModelInfo:
        """Find the files and read the configuration; raise WEIGHTS_ABSENT or INVALID_REQUEST."""
        options = _options(model)
        return _info(model, options, await self._find(model, options))

    async def load(self, model: CatalogModel) -> OnnxRuntimeModel:
        """Convert the weights if they were not, and load them; raise as `inspect` does, and BACKEND_FAILED."""
        # What numbers need takes memory that an engine without such a model does not.
        from enginehouse.engines.inference.backends.onnxruntime._model import OnnxRuntimeModel

        options = _options(model)
        files = await self._find(model, options)
        session = await _session(files, options)
        tokenizer = await asyncio.to_thread(_tokenizer, files.tokenizer)
        # Shows that the model runs, and the length of its vectors.
        vectors = await asyncio.to_thread(session.run, [[0]])
        return OnnxRuntimeModel(
            name=model.name,
            session=session,
            tokenizer=tokenizer,
            info=replace(_info(model, options, files), embedding_dimensions=vectors.shape[1]),
            threads=_threads(options),
            step_tokens=options.step_tokens,
        )

    async def _find(self, model: CatalogModel, options: OnnxRuntimeOptions) -> EncoderFiles:
        return await asyncio.to_thread(find_files, model, options, models_dir=self._models_dir, packages=self._packages)


def _options(model: CatalogModel) -> OnnxRuntimeOptions:
    options = read_options(OnnxRuntimeOptions, model)
    if model.context_tokens < 1:
        raise ServiceError(
            Reason.INVALID_REQUEST, f"model {model.name!r} in the catalog needs context_tokens of at least 1"
        )
    return options


def _threads(options: OnnxRuntimeOptions) -> int:
    return options.threads or len(os.sched_getaffinity(0))


def _info(model: CatalogModel, options: OnnxRuntimeOptions, files: EncoderFiles) -> TextModelInfo:
    dimensions = files.config.get("hidden_size", 0)
    return TextModelInfo(
        slots=options.slots,
        memory_bytes=files.weights_bytes + _RUNTIME_BYTES + _threads(options) * _THREAD_BYTES,
        context_tokens=model.context_tokens,
        embedding_dimensions=dimensions if isinstance(dimensions, int) else 0,
    )


async def _session(files: EncoderFiles, options: OnnxRuntimeOptions) -> EncoderSession:
    from enginehouse.engines.inference.backends.onnxruntime._session import EncoderSession

    pooling = options.pooling or "mean"
    if files.conversion is None:
        assert files.graph is not None
        return await asyncio.to_thread(EncoderSession.load, files.graph, pooling=pooling)
    path = await files.conversion.convert()
    try:
        return await asyncio.to_thread(EncoderSession.load, path, pooling=pooling)
    except ServiceError as error:
        _log.warning("%s; converting it again", error.message)
    files.conversion.discard()
    return await asyncio.to_thread(EncoderSession.load, await files.conversion.convert(), pooling=pooling)


def _tokenizer(path: Path) -> tokenizers.Tokenizer:
    import tokenizers

    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:
        # The library raises nothing more exact.
        raise ServiceError(Reason.BACKEND_FAILED, f"{path} is no tokenizer: {error}; fetch it again") from error
    # As saved they cut and pad, which would bill other texts than were sent.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
