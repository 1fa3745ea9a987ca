"""The backend: international Morse code, at a fixed speed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pydantic

from enginehouse.kit.backends.options import read_options
from enginehouse.kit.catalog import CatalogModel

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_CODES = """
.- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --..
----- .---- ..--- ...-- ....- ..... -.... --... ---.. ----.
"""
CODE = dict(zip(_LETTERS, _CODES.split(), strict=True))
"""Dots and dashes by letter and digit."""


class MorseOptions(pydantic.BaseModel):
    """The `options` of a catalog entry."""

    model_config = pydantic.ConfigDict(extra="forbid")

    slots: int = pydantic.Field(default=4, ge=1)
    """The number of calls that are served at once."""
    signal_ms: int = pydantic.Field(default=0, ge=0)
    """The length of a dot or dash."""


@dataclass(frozen=True)
class MorseInfo:
    """The properties of a model."""

    slots: int
    """The number of calls that it serves at once."""
    memory_bytes: int = 0
    """None to speak of, so that it stays loaded."""


class LoadedMorse:
    """A loaded model."""

    def __init__(self, options: MorseOptions) -> None:
        self.info = MorseInfo(slots=options.slots)
        self._signal_s = options.signal_ms / 1000

    async def letters(self, text: str) -> AsyncIterator[str]:
        """Yield the code of each letter when it has been sent."""
        for letter in text.upper():
            code = CODE.get(letter, "")
            await asyncio.sleep(self._signal_s * len(code))
            yield code

    async def close(self) -> None:
        """Free the model."""


class InternationalBackend:
    """The runtime that the catalog calls `international`."""

    name = "international"

    async def inspect(self, model: CatalogModel) -> MorseInfo:
        """Return a model's properties. Raise ServiceError for invalid options."""
        return MorseInfo(slots=read_options(MorseOptions, model).slots)

    async def load(self, model: CatalogModel) -> LoadedMorse:
        """Load a model of the catalog."""
        return LoadedMorse(read_options(MorseOptions, model))
