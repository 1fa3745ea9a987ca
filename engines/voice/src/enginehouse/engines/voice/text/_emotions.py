"""Emotions as prosody, for models without emotions of their own.

The values follow the acoustic correlates on which studies of emotional speech agree, kept small enough for a synthetic
voice to stay clear. Joy is higher, wider in pitch, faster and louder than neutral speech, and excitement more
so; sadness is lower, narrower, slower and softer; anger is louder, faster and wider, at about the same pitch; fear is
much higher and faster, with a narrower melody and less voice; tenderness is lower, narrower, slower and softer.
"""

from __future__ import annotations

from dataclasses import dataclass

from enginehouse.engines.voice.text._plan import Emotion


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionProsody:
    """The change of prosody by an emotion."""

    speed: float = 1.0
    """Factor of the speed."""
    pitch: float = 0.0
    """Change of pitch in semitones."""
    pitch_range: float = 1.0
    """Factor of the pitch range."""
    volume_db: float = 0.0
    """Change of volume in decibels."""


EMOTION_PROSODY = {
    Emotion.NEUTRAL: EmotionProsody(),
    Emotion.HAPPY: EmotionProsody(speed=1.1, pitch=2.0, pitch_range=1.4, volume_db=1.5),
    Emotion.SAD: EmotionProsody(speed=0.85, pitch=-2.0, pitch_range=0.6, volume_db=-3.0),
    Emotion.ANGRY: EmotionProsody(speed=1.12, pitch=0.5, pitch_range=1.5, volume_db=4.0),
    Emotion.EXCITED: EmotionProsody(speed=1.2, pitch=3.0, pitch_range=1.6, volume_db=3.0),
    Emotion.TENDER: EmotionProsody(speed=0.9, pitch=-1.0, pitch_range=0.85, volume_db=-4.0),
    Emotion.FEARFUL: EmotionProsody(speed=1.2, pitch=4.0, pitch_range=0.8, volume_db=-1.0),
}
"""The change of prosody by emotion."""
