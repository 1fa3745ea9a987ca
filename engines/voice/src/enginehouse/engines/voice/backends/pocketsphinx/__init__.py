"""English speech recognition by PocketSphinx, in processes of its own."""

from enginehouse.engines.voice.backends.pocketsphinx._backend import PocketsphinxBackend

__all__ = ["PocketsphinxBackend"]
