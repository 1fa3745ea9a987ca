"""Speech synthesis by XTTS v2: seventeen languages, with voices cloned from recordings."""

from enginehouse.engines.voice.backends.xtts._backend import XttsBackend

__all__ = ["XttsBackend"]
