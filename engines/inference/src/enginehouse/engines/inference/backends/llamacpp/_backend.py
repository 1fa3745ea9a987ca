"""llama.cpp in this process: any GGUF file, several models at once, each with a server object of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from enginehouse.engines.inference.backends.base import TextModelInfo
from enginehouse.engines.inference.backends.llamacpp._exactness import measure_exactness
from enginehouse.engines.inference.backends.llamacpp._gguf_header import read_gguf_header
from enginehouse.engines.inference.backends.llamacpp._model import LlamaCppModel
from enginehouse.engines.inference.backends.llamacpp._options import LlamaCppOptions
from enginehouse.engines.inference.backends.llamacpp._server import LlamaCppServer
from enginehouse.engines.inference.weights import find_weights
from enginehouse.kit.backends.options import read_options
from enginehouse.kit.backends.packages import PackagedWeights
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason, ServiceError

__all__ = ["LlamaCppBackend"]

_log = logging.getLogger(__name__)


class LlamaCppBackend:
    """The backend of GGUF models; implements `TextBackend`.

    Args:
        models_dir: the folder of pulled and converted weights.
        packages: the weights that come as Python packages; None if there are none.
        hang_s: seconds that a model may run requests without output. A grammar with exponentially many parses makes it
            hang, and only the end of the process ends that.
        on_hang: called with a message when a model hangs; None to watch for nothing.
    """

    name = "llama.cpp"

    def __init__(
        self,
        *,
        models_dir: Path,
        packages: PackagedWeights | None = None,
        hang_s: float = 120.0,
        on_hang: Callable[[str], None] | None = None,
    ) -> None:
        self._models_dir = models_dir
        self._packages = packages
        self._hang_s = hang_s
        self._on_hang = on_hang
        # The results of `measure_exactness` by model, for later loads.
        self._measured: dict[str, bytes] = {}

    async def inspect(self, model: CatalogModel) -> TextModelInfo:
        """Find the weights and read their header; raise WEIGHTS_ABSENT, INVALID_REQUEST (options) or BACKEND_FAILED."""
        options = _options(model)
        path = await asyncio.to_thread(find_weights, model, models_dir=self._models_dir, packages=self._packages)
        return await asyncio.to_thread(self._info, model, options, path)

    async def load(self, model: CatalogModel) -> LlamaCppModel:
        """Load the model; raise as `inspect` does, and BACKEND_FAILED.

        Its first load measures whether its answers can be continued.
        """
        options = _options(model)
        path = await asyncio.to_thread(find_weights, model, models_dir=self._models_dir, packages=self._packages)
        info = await asyncio.to_thread(self._info, model, options, path)
        measured = self._measured.get(model.name)
        options = options.model_copy(update={"resumable": info.may_resume})
        server = await _open(path, model, options)
        try:
            if info.may_resume and measured is None:
                measured = await measure_exactness(server, context_tokens=model.context_tokens)
                self._measured[model.name] = measured
                if not measured:
                    _log.warning(
                        "%s: cut streams cannot be continued, since results depend on how work is divided here; "
                        "loading it again, to read prompts in larger steps",
                        model.name,
                    )
                    await server.close()
                    options = options.model_copy(update={"resumable": False})
                    server = await _open(path, model, options)
            loaded = await LlamaCppModel.start(
                model=model, server=server, options=options, info=info, numbers=measured or b""
            )
        except BaseException:
            await server.close()
            raise
        if self._on_hang is not None:
            loaded.watch(hang_s=self._hang_s, on_hang=self._on_hang)
        return loaded

    def _info(self, model: CatalogModel, options: LlamaCppOptions, path: Path) -> TextModelInfo:
        try:
            header = read_gguf_header(path)
        except (OSError, ValueError) as error:
            raise ServiceError(
                Reason.BACKEND_FAILED, f"llama.cpp cannot load {path}: {error} (is it a whole GGUF file?)"
            ) from None
        embedding = "embeddings" in model.capabilities
        return TextModelInfo(
            slots=options.slots,
            memory_bytes=header.memory_bytes(context_tokens=model.context_tokens, slots=options.slots),
            context_tokens=model.context_tokens,
            embedding_dimensions=header.embedding_dimensions if embedding else 0,
            may_resume=options.resumable and not embedding and self._measured.get(model.name) != b"",
        )


def _options(model: CatalogModel) -> LlamaCppOptions:
    options = read_options(LlamaCppOptions, model)
    if model.context_tokens < 1:
        raise ServiceError(
            Reason.INVALID_REQUEST, f"model {model.name!r} in the catalog needs context_tokens of at least 1"
        )
    return options


async def _open(path: Path, model: CatalogModel, options: LlamaCppOptions) -> LlamaCppServer:
    return await asyncio.to_thread(
        LlamaCppServer.load,
        path,
        context_tokens=model.context_tokens,
        embedding="embeddings" in model.capabilities,
        options=options,
    )
