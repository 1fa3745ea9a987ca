"""Speech synthesis by Piper's neural voices, in child processes."""

from enginehouse.engines.voice.backends.piper._backend import PiperBackend

__all__ = ["PiperBackend"]
