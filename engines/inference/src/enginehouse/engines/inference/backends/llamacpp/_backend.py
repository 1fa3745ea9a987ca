"""llama.cpp in this process: any GGUF file, several models at once, each with a server object of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from enginehouse.engines.inference.backends.base import LoadedTextModel
from enginehouse.engines.inference.backends.llamacpp._exactness import measure_exactness
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

    async def load(self, model: CatalogModel) -> LoadedTextModel:
        """Load the model; raise WEIGHTS_ABSENT, INVALID_REQUEST (options) or BACKEND_FAILED."""
        options = read_options(LlamaCppOptions, model)
        if model.context_tokens < 1:
            raise ServiceError(
                Reason.INVALID_REQUEST, f"model {model.name!r} in the catalog needs context_tokens of at least 1"
            )
        path = await asyncio.to_thread(find_weights, model, models_dir=self._models_dir, packages=self._packages)
        embedding = "embeddings" in model.capabilities
        numbers = b""
        server = await _open(path, model, options)
        try:
            if options.resumable and not embedding:
                numbers = await measure_exactness(server, context_tokens=model.context_tokens)
                if not numbers:
                    _log.warning(
                        "%s: cut streams cannot be continued, since results depend on how work is divided here; "
                        "loading it again, to read prompts in larger steps",
                        model.name,
                    )
                    await server.close()
                    options = options.model_copy(update={"resumable": False})
                    server = await _open(path, model, options)
            loaded = await LlamaCppModel.start(model=model, server=server, options=options, numbers=numbers)
        except BaseException:
            await server.close()
            raise
        if self._on_hang is not None:
            loaded.watch(hang_s=self._hang_s, on_hang=self._on_hang)
        return loaded


async def _open(path: Path, model: CatalogModel, options: LlamaCppOptions) -> LlamaCppServer:
    return await asyncio.to_thread(
        LlamaCppServer.load,
        path,
        context_tokens=model.context_tokens,
        embedding="embeddings" in model.capabilities,
        options=options,
    )
