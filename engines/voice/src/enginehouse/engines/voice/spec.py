"""The voice engine as data: its entry in `enginehouse.engines`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enginehouse.engines.voice.config import CLUSTER, VoiceConfig
from enginehouse.kit.engine import EngineSpec

if TYPE_CHECKING:
    from enginehouse.engines.voice.backends.base import LoadedVoiceModel, VoiceModelInfo
    from enginehouse.kit.engine.context import BuiltEngine, EngineContext


async def _build(context: EngineContext[VoiceConfig]) -> BuiltEngine[VoiceModelInfo, LoadedVoiceModel]:
    # Imported here: whoever only reads the spec does not wait for the runtimes.
    from enginehouse.engines.voice.wiring import build

    return await build(context)


SPEC = EngineSpec(
    kind=CLUSTER,
    package="enginehouse.engines.voice",
    distribution="enginehouse-voice",
    config=VoiceConfig,
    build=_build,
    catalog="catalog.yaml",
    weights="weights.yaml",
    ready_path="/v1/voices?page_size=1",
    data_folders={"voices_dir": "voices"},
)
