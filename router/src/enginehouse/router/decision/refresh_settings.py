"""Settings for reading again what decisions look at."""

from __future__ import annotations

import pydantic

from enginehouse.kit.config import Section


class RefreshSettings(Section):
    """The intervals at which decisions' inputs are read again."""

    every_s: float = pydantic.Field(default=5.0, gt=0, le=3600)
    """The interval of reading feedback and times to the first token; policies are also read as soon as they change."""
    first_tokens_s: float = pydantic.Field(default=300.0, gt=0)
    """The age up to which settled requests count for times to the first token."""
