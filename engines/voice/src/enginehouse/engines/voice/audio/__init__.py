"""Audio in and out: decode files to samples, encode samples while they are made, detect and join speech."""

from __future__ import annotations

from enginehouse.engines.voice.audio._encoder import StreamEncoder
from enginehouse.engines.voice.audio._encodings import Encoding, pick_rate
from enginehouse.engines.voice.audio._endpointer import Endpointer, Event, SpeechEnded, SpeechStarted
from enginehouse.engines.voice.audio._joiner import Joiner, amplify, largest_jump
from enginehouse.engines.voice.audio._pcm import PcmReader, Resampler, pcm_bytes, pcm_samples
from enginehouse.engines.voice.audio._vad import Vad
from enginehouse.engines.voice.audio.decoding import DecoderPool, MediaError, MediaInfo, MediaLimits, decode, probe

__all__ = [
    "DecoderPool",
    "Encoding",
    "Endpointer",
    "Event",
    "Joiner",
    "MediaError",
    "MediaInfo",
    "MediaLimits",
    "PcmReader",
    "Resampler",
    "SpeechEnded",
    "SpeechStarted",
    "StreamEncoder",
    "Vad",
    "amplify",
    "decode",
    "largest_jump",
    "pcm_bytes",
    "pcm_samples",
    "pick_rate",
    "probe",
]
