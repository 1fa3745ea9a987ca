"""Speech recognition by Whisper in two runtimes: faster-whisper (CTranslate2) and openai-whisper (torch)."""

from enginehouse.engines.voice.backends.whisper._faster_whisper import FasterWhisperBackend
from enginehouse.engines.voice.backends.whisper._openai_whisper import OpenaiWhisperBackend

__all__ = ["FasterWhisperBackend", "OpenaiWhisperBackend"]
