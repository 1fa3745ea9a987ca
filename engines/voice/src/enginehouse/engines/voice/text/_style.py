"""How a stretch of text is said: the request's controls, and what SSML elements around it add."""

from __future__ import annotations

from dataclasses import dataclass

from enginehouse.engines.voice.backends.base import Prosody
from enginehouse.engines.voice.text._emotions import EMOTION_PROSODY
from enginehouse.engines.voice.text._plan import MAX_VOLUME_DB, MIN_VOLUME_DB, SILENT_DB, Controls


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How something is said. Its figures are not bounded: what nests may leave the range and come back."""

    voice: str
    """The voice that is asked for; may be empty."""
    language: str
    """The language that is asked for; empty to detect it."""
    speed: float
    """Times as fast."""
    pitch: float
    """Semitones."""
    pitch_range: float
    """Times as lively a melody."""
    emphasis: float
    """-1 to 2."""
    volume_db: float
    """Decibels; minus infinity for silence."""

    @classmethod
    def of(cls, controls: Controls) -> Style:
        """What a request asks for, its emotion included."""
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
        """The nearest that a voice can do."""
        return Prosody(
            speed=_within(self.speed, 0.25, 4.0),
            pitch=_within(self.pitch, -12.0, 12.0),
            pitch_range=_within(self.pitch_range, 0.0, 4.0),
            emphasis=_within(self.emphasis, -1.0, 2.0),
        )

    @property
    def heard_db(self) -> float:
        """The nearest volume that can be asked for, in decibels."""
        if self.volume_db == float("-inf"):
            return SILENT_DB
        return _within(self.volume_db, MIN_VOLUME_DB, MAX_VOLUME_DB)


def _within(value: float, least: float, most: float) -> float:
    # Rounded, for what was multiplied up and down again to be equal to what was left alone.
    return round(min(max(value, least), most), 6)
