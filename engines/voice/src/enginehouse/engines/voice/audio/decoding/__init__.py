"""Decode recordings of any format to samples, in processes of their own."""

from enginehouse.engines.voice.audio.decoding._limits import MediaError, MediaLimits
from enginehouse.engines.voice.audio.decoding._media import MediaInfo, decode, probe
from enginehouse.engines.voice.audio.decoding._pool import DecoderPool

__all__ = ["DecoderPool", "MediaError", "MediaInfo", "MediaLimits", "decode", "probe"]
