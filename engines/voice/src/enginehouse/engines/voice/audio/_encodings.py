"""Encodings of audio: names, media types, sample rates."""

from __future__ import annotations

import enum
from collections.abc import Collection

MIN_RATE = 8_000
"""The lowest sample rate of encoded audio, in samples a second."""
MAX_RATE = 48_000
"""The highest sample rate of encoded audio, in samples a second."""


class Encoding(enum.Enum):
    """An encoding in which audio is written while it is made."""

    WAV = "wav"
    """16-bit little-endian PCM in a WAV file."""
    MP3 = "mp3"
    """MPEG audio layer 3, one channel."""
    OPUS = "opus"
    """Opus in Ogg."""
    AAC = "aac"
    """AAC-LC in ADTS."""
    FLAC = "flac"
    """FLAC."""
    PCM = "pcm"
    """16-bit little-endian PCM without a header."""

    @property
    def content_type(self) -> str:
        """The media type, such as "audio/mpeg"."""
        return _CONTENT_TYPES[self]

    @property
    def states_length(self) -> bool:
        """True if the beginning of a file states its length, or that it is unknown."""
        return self in (Encoding.WAV, Encoding.FLAC)

    @property
    def rates(self) -> Collection[int]:
        """The supported sample rates, or a range of them."""
        return _RATES.get(self, range(MIN_RATE, MAX_RATE + 1))


def pick_rate(encoding: Encoding, *, requested: int, own: int) -> int:
    """Return the sample rate to encode with.

    Args:
        encoding: the encoding.
        requested: the requested rate; 0 picks the lowest rate that loses nothing, else the highest.
        own: samples a second of the input.

    Raises ValueError, naming the supported rates, if `requested` is none of them.
    """
    rates = encoding.rates
    if requested:
        if requested in rates:
            return requested
        raise ValueError(
            f"{requested} samples a second: {encoding.value} supports {_shown(rates)}, or 0 for the nearest"
        )
    return min((rate for rate in rates if rate >= own), default=max(rates))


def _shown(rates: Collection[int]) -> str:
    if isinstance(rates, range):
        return f"{rates.start} to {rates.stop - 1}"
    return ", ".join(map(str, sorted(rates)))


_CONTENT_TYPES = {
    Encoding.WAV: "audio/wav",
    Encoding.MP3: "audio/mpeg",
    Encoding.OPUS: "audio/ogg",
    Encoding.AAC: "audio/aac",
    Encoding.FLAC: "audio/flac",
    Encoding.PCM: "audio/pcm",
}

_MPEG_RATES = frozenset({8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000})
_RATES = {
    Encoding.MP3: _MPEG_RATES,
    Encoding.AAC: _MPEG_RATES,
    Encoding.OPUS: frozenset({8_000, 12_000, 16_000, 24_000, 48_000}),
}
