"""llama.cpp in this process: any GGUF file, several models at once, one server object each."""

from __future__ import annotations

import asyncio
from pathlib import Path

from enginehouse.engines.inference.backends._llamacpp_model import LlamaCppModel
from enginehouse.engines.inference.backends._llamacpp_options import read_options
from enginehouse.engines.inference.backends._llamacpp_server import LlamaCppServer
from enginehouse.engines.inference.backends.base import LoadedModel
from enginehouse.engines.inference.weights import find_weights
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason, ServiceError

__all__ = ["LlamaCppBackend"]


class LlamaCppBackend:
    """Loads GGUF models; implements `Backend`.

    Args:
        models_dir: where pulled weights lie, and where converted ones are put.
    """

    name = "llama.cpp"

    def __init__(self, *, models_dir: Path) -> None:
        self._models_dir = models_dir

    async def load(self, model: CatalogModel) -> LoadedModel:
        """Loads the model; raises WEIGHTS_ABSENT, INVALID_REQUEST (options) or BACKEND_FAILED."""
        options = read_options(model)
        if model.context_tokens < 1:
            raise ServiceError(
                Reason.INVALID_REQUEST, f"model {model.name!r} in the catalog needs context_tokens of at least 1"
            )
        path = await asyncio.to_thread(find_weights, model, models_dir=self._models_dir)
        embedding = "embeddings" in model.capabilities
        server = await asyncio.to_thread(
            LlamaCppServer.load, path, context_tokens=model.context_tokens, embedding=embedding, options=options
        )
        try:
            return await LlamaCppModel.start(model=model, server=server, slots=options.slots)
        except BaseException:
            await server.close()
            raise
