"""The values of SSML's attributes. Each reader returns None for what it does not understand."""

from __future__ import annotations

import math
import re

_PERCENT = re.compile(r"([+-]?)([0-9]{1,6}(?:\.[0-9]{1,6})?)%")
_SEMITONES = re.compile(r"([+-][0-9]{1,3}(?:\.[0-9]{1,6})?)st")
_DECIBELS = re.compile(r"([+-][0-9]{1,3}(?:\.[0-9]{1,6})?)dB")
_TIME = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s)")
_TAG = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8}){0,8}")

RATES = {"x-slow": 0.5, "slow": 0.75, "medium": 1.0, "fast": 1.3, "x-fast": 1.7}
"""Times as fast."""
RATE = f'{", ".join(RATES)}, default, or a percentage such as "80%", "+20%" or "-20%"'
"""What a rate may be."""
PITCHES = {"x-low": -6.0, "low": -3.0, "medium": 0.0, "high": 3.0, "x-high": 6.0}
"""Semitones."""
PITCH = f'{", ".join(PITCHES)}, default, or a change such as "+2st", "-10%" or "+10%"'
"""What a pitch may be."""
RANGES = {"x-low": 0.3, "low": 0.6, "medium": 1.0, "high": 1.5, "x-high": 2.0}
"""Times as lively a melody."""
RANGE = f'{", ".join(RANGES)}, default, or a change such as "-10%" or "+10%"'
"""What a range of pitch may be."""
VOLUMES = {"silent": -math.inf, "x-soft": -12.0, "soft": -6.0, "medium": 0.0, "loud": 4.0, "x-loud": 8.0}
"""Decibels."""
VOLUME = f'{", ".join(VOLUMES)}, default, or a change such as "+6dB" or "-6dB"'
"""What a volume may be."""
STRENGTHS = {"none": 0, "x-weak": 100, "weak": 200, "medium": 400, "strong": 700, "x-strong": 1200}
"""Milliseconds of a break."""
MAX_BREAK_MS = 10_000
"""The longest that one break may be."""
EMPHASES = {"strong": 2.0, "moderate": 1.0, "none": 0.0, "reduced": -1.0}
"""How much weight."""
GENDERS = ("female", "male", "neutral")
"""How a voice may sound."""


def rate(text: str) -> float | None:
    """Times as fast."""
    if text in RATES:
        return RATES[text]
    return _factor(text, absolute=True)


def pitch(text: str) -> float | None:
    """Semitones up or down."""
    if text in PITCHES:
        return PITCHES[text]
    if (semitones := _SEMITONES.fullmatch(text)) is not None:
        return float(semitones[1])
    factor = _factor(text, absolute=False)
    # A voice cannot go below nothing; the nearest is as low as it goes.
    return None if factor is None else 12 * math.log2(max(factor, 0.01))


def pitch_range(text: str) -> float | None:
    """Times as lively a melody."""
    return RANGES[text] if text in RANGES else _factor(text, absolute=False)


def volume(text: str) -> float | None:
    """Decibels louder or softer; minus infinity for silence."""
    if text in VOLUMES:
        return VOLUMES[text]
    decibels = _DECIBELS.fullmatch(text)
    return None if decibels is None else float(decibels[1])


def milliseconds(text: str) -> int | None:
    """The length of a break, in milliseconds; None for what is too long, too."""
    time = _TIME.fullmatch(text)
    if time is None:
        return None
    length = round(float(time[1]) * (1 if time[2] == "ms" else 1000))
    return length if length <= MAX_BREAK_MS else None


def language(text: str) -> str | None:
    """A BCP 47 tag."""
    return text if _TAG.fullmatch(text) is not None else None


def _factor(text: str, *, absolute: bool) -> float | None:
    """What to multiply with: "+20%" is 1.2, and "80%", where that is allowed, 0.8."""
    percent = _PERCENT.fullmatch(text)
    if percent is None or not (percent[1] or absolute):
        return None
    value = float(percent[2]) / 100
    if not percent[1]:
        return value
    return max(0.0, 1 + value if percent[1] == "+" else 1 - value)
