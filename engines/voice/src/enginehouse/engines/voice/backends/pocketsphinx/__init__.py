"""English speech recognition by PocketSphinx, in child processes."""

from enginehouse.engines.voice.backends.pocketsphinx._backend import PocketsphinxBackend

__all__ = ["PocketsphinxBackend"]
