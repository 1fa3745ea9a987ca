"""Readers of SSML attribute values. Each returns None for an invalid value."""

from __future__ import annotations

import math
import re

from enginehouse.kit.languages import canonical_case, is_tag

_NUMBER = r"(?:[0-9]{0,9}\.)?[0-9]{1,9}"
"""A number as W3C's recommendations write it: digits, or a point with digits after it."""
_PERCENT = re.compile(rf"([+-]?)({_NUMBER})%")
_SEMITONES = re.compile(rf"([+-]{_NUMBER})st")
_DECIBELS = re.compile(rf"([+-]{_NUMBER})dB")
_TIME = re.compile(rf"\+?({_NUMBER})(ms|s)")

RATES = {"x-slow": 0.5, "slow": 0.75, "medium": 1.0, "fast": 1.3, "x-fast": 1.7}
"""Speed factors."""
RATE = f'{", ".join(RATES)}, default, or a percentage such as "80%", "+20%" or "-20%"'
"""The valid rates, for errors."""
PITCHES = {"x-low": -6.0, "low": -3.0, "medium": 0.0, "high": 3.0, "x-high": 6.0}
"""Semitones."""
PITCH = f'{", ".join(PITCHES)}, default, or a change such as "+2st", "-10%" or "+10%"'
"""The valid pitches, for errors."""
RANGES = {"x-low": 0.3, "low": 0.6, "medium": 1.0, "high": 1.5, "x-high": 2.0}
"""Factors of the pitch range."""
RANGE = f'{", ".join(RANGES)}, default, or a change such as "-10%" or "+10%"'
"""The valid pitch ranges, for errors."""
VOLUMES = {"silent": -math.inf, "x-soft": -12.0, "soft": -6.0, "medium": 0.0, "loud": 4.0, "x-loud": 8.0}
"""Decibels."""
VOLUME = f'{", ".join(VOLUMES)}, default, or a change such as "+6dB" or "-6dB"'
"""The valid volumes, for errors."""
STRENGTHS = {"none": 0, "x-weak": 100, "weak": 200, "medium": 400, "strong": 700, "x-strong": 1200}
"""Lengths of breaks, in milliseconds."""
MAX_BREAK_MS = 10_000
"""The maximum length of one break."""
EMPHASES = {"strong": 2.0, "moderate": 1.0, "none": 0.0, "reduced": -1.0}
"""Levels of emphasis."""
GENDERS = ("female", "male", "neutral")
"""Genders of voices."""


def rate(text: str) -> float | None:
    """Return the speed factor."""
    if text in RATES:
        return RATES[text]
    return _factor(text, absolute=True)


def pitch(text: str) -> float | None:
    """Return the change of pitch in semitones."""
    if text in PITCHES:
        return PITCHES[text]
    if (semitones := _SEMITONES.fullmatch(text)) is not None:
        return float(semitones[1])
    factor = _factor(text, absolute=False)
    # A frequency cannot fall below zero: the factor is bounded.
    return None if factor is None else 12 * math.log2(max(factor, 0.01))


def pitch_range(text: str) -> float | None:
    """Return the factor of the pitch range."""
    return RANGES[text] if text in RANGES else _factor(text, absolute=False)


def volume(text: str) -> float | None:
    """Return the change of volume in decibels; minus infinity for silence."""
    if text in VOLUMES:
        return VOLUMES[text]
    decibels = _DECIBELS.fullmatch(text)
    return None if decibels is None else float(decibels[1])


def milliseconds(text: str) -> int | None:
    """Return the length of a break in milliseconds; None also if it is too long."""
    time = _TIME.fullmatch(text.strip())
    if time is None:
        return None
    length = round(float(time[1]) * (1 if time[2] == "ms" else 1000))
    return length if length <= MAX_BREAK_MS else None


def language(text: str) -> str | None:
    """Return the BCP 47 tag, in its canonical case."""
    return canonical_case(text) if is_tag(text) else None


def _factor(text: str, *, absolute: bool) -> float | None:
    """Return the factor: "+20%" is 1.2, and "80%", with `absolute`, 0.8."""
    percent = _PERCENT.fullmatch(text)
    if percent is None or not (percent[1] or absolute):
        return None
    value = float(percent[2]) / 100
    if not percent[1]:
        return value
    return max(0.0, 1 + value if percent[1] == "+" else 1 - value)
