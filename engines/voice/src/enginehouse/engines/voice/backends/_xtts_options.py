"""What a catalog entry may say to XTTS."""

from __future__ import annotations

import pydantic

from enginehouse.engines.voice.backends._torch_runtime import Device


class XttsOptions(pydantic.BaseModel):
    """The `options` of a catalog model whose backend is xtts."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    accept_licence: bool = False
    """That whoever runs the engine accepts the weights' licence; nothing loads without."""
    device: Device = "auto"
    """Where it computes."""
