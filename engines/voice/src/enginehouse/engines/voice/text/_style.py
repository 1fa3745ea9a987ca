"""The style of a span of text: the request's controls, and the changes by surrounding SSML elements."""

from __future__ import annotations

from dataclasses import dataclass

from enginehouse.engines.voice.backends.base import Prosody
from enginehouse.engines.voice.text._emotions import EMOTION_PROSODY
from enginehouse.engines.voice.text._plan import MAX_VOLUME_DB, MIN_VOLUME_DB, SILENT_DB, Controls


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """The style of speech. Its values are not bounded: nested elements may leave the range and come back."""

    voice: str
    """The requested voice; may be empty."""
    language: str
    """The requested language; empty to detect it."""
    speed: float
    """Factor of the speed."""
    pitch: float
    """Change of pitch in semitones."""
    pitch_range: float
    """Factor of the pitch range."""
    emphasis: float
    """Level of emphasis, -1 to 2."""
    volume_db: float
    """Decibels; minus infinity for silence."""

    @classmethod
    def of(cls, controls: Controls) -> Style:
        """Return the style of a request, its emotion included."""
        emotion = EMOTION_PROSODY[controls.emotion]
        return cls(
            voice=controls.voice,
            language=controls.language,
            speed=controls.prosody.speed * emotion.speed,
            pitch=controls.prosody.pitch + emotion.pitch,
            pitch_range=controls.prosody.pitch_range * emotion.pitch_range,
            emphasis=controls.prosody.emphasis,
            volume_db=controls.volume_db + emotion.volume_db,
        )

    @property
    def prosody(self) -> Prosody:
        """The nearest supported prosody."""
        return Prosody(
            speed=_within(self.speed, 0.25, 4.0),
            pitch=_within(self.pitch, -12.0, 12.0),
            pitch_range=_within(self.pitch_range, 0.0, 4.0),
            emphasis=_within(self.emphasis, -1.0, 2.0),
        )

    @property
    def bounded_volume_db(self) -> float:
        """The nearest supported volume, in decibels."""
        if self.volume_db == float("-inf"):
            return SILENT_DB
        return _within(self.volume_db, MIN_VOLUME_DB, MAX_VOLUME_DB)


def _within(value: float, low: float, high: float) -> float:
    # Rounded, so that a value that was multiplied up and down again equals an unchanged one.
    return round(min(max(value, low), high), 6)
