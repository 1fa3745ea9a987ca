"""Settings for reading again what decisions look at."""

from __future__ import annotations

import pydantic

from enginehouse.kit.config import Section


class RefreshSettings(Section):
    """The intervals at which decisions' inputs are read again."""

    every_s: float = pydantic.Field(default=5.0, gt=0, le=3600)
    """How often feedback and times to the first token are read; policies are, besides, as soon as they change."""
    first_tokens_s: float = pydantic.Field(default=300.0, gt=0)
    """How long ago a request may have been settled for its time to the first token to count."""
