"""Speech synthesis by espeak-ng, in child processes."""

from enginehouse.engines.voice.backends.espeak._backend import EspeakBackend

__all__ = ["EspeakBackend"]
