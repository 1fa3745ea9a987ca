"""Recordings of any form to samples, in processes that may die."""

from enginehouse.engines.voice.audio.decoding._limits import MediaError, MediaLimits
from enginehouse.engines.voice.audio.decoding._media import MediaInfo, decode, probe
from enginehouse.engines.voice.audio.decoding._pool import DecoderPool

__all__ = ["DecoderPool", "MediaError", "MediaInfo", "MediaLimits", "decode", "probe"]
