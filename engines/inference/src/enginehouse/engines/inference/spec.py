"""The text engine as data: its entry in `enginehouse.engines`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enginehouse.engines.inference.config import CLUSTER, InferenceConfig
from enginehouse.kit.engine import EngineSpec

if TYPE_CHECKING:
    from enginehouse.engines.inference.backends.base import LoadedTextModel, TextModelInfo
    from enginehouse.kit.engine.context import BuiltEngine, EngineContext


async def _build(context: EngineContext[InferenceConfig]) -> BuiltEngine[TextModelInfo, LoadedTextModel]:
    # Imported here: whoever only reads the spec does not wait for the runtimes.
    from enginehouse.engines.inference.wiring import build

    return await build(context)


SPEC = EngineSpec(
    kind=CLUSTER,
    package="enginehouse.engines.inference",
    distribution="enginehouse-inference",
    config=InferenceConfig,
    build=_build,
    catalog="catalog.yaml",
    weights="weights.yaml",
    ready_path="/v1/inference/models",
    model_store="enginehouse.engines.inference.store",
)
