"""Options of XTTS models in the catalog, and the files of a model."""

from __future__ import annotations

import pydantic

from enginehouse.engines.voice.backends._torch_runtime import Device

CONFIG, WEIGHTS, VOCABULARY, SPEAKERS = "config.json", "model.pth", "vocab.json", "speakers_xtts.pth"
FILES = (CONFIG, WEIGHTS, VOCABULARY, SPEAKERS)
"""The files of a model, as published."""


class XttsOptions(pydantic.BaseModel):
    """The `options` of a catalog model whose backend is xtts."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    accept_licence: bool = False
    """True if the operator accepts the weights' licence; nothing loads without."""
    device: Device = "auto"
    """The device to compute on."""
