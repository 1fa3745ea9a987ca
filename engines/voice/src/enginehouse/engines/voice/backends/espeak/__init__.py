"""Speech by espeak-ng, in processes of its own."""

from enginehouse.engines.voice.backends.espeak._backend import EspeakBackend

__all__ = ["EspeakBackend"]
