"""The models of the catalog that an engine serves: loaded on their first use, and unloaded when they are idle.

Each model is inspected when the engine starts, which says whether it can be loaded here and what it then takes. A call
works with it inside `async with served.hold() as loaded`, which loads it if need be; a model in use is never unloaded.
"""

from __future__ import annotations

from enginehouse.kit.loading._interfaces import InfoT, Loaded, LoadedT, Loader, LoadError, LoadingClock, ModelInfo
from enginehouse.kit.loading._models import ServedModels
from enginehouse.kit.loading._serve import LoadingSettings, serve_models
from enginehouse.kit.loading._served import LoadState, ServedModel

__all__ = [
    "InfoT",
    "LoadError",
    "LoadState",
    "Loaded",
    "LoadedT",
    "Loader",
    "LoadingClock",
    "LoadingSettings",
    "ModelInfo",
    "ServedModel",
    "ServedModels",
    "serve_models",
]
