"""SSML's say-as: check and verbalize its text."""

from __future__ import annotations

import re

from enginehouse.engines.voice.text._normalize import normalize
from enginehouse.engines.voice.text.en import amounts as amounts_en
from enginehouse.engines.voice.text.en import normalize as normalize_en
from enginehouse.engines.voice.text.en import numbers as numbers_en
from enginehouse.engines.voice.text.en import when as when_en
from enginehouse.engines.voice.text.normalization.dates import Date, read_date, read_numeric
from enginehouse.engines.voice.text.normalization.figures import NUMBER, WHOLE, WrittenNumber
from enginehouse.engines.voice.text.te import amounts as amounts_te
from enginehouse.engines.voice.text.te import normalize as normalize_te
from enginehouse.engines.voice.text.te import numbers as numbers_te
from enginehouse.engines.voice.text.te import when as when_te
from enginehouse.kit.scripts import primary

_HALF = r"(?:[ap]m|[AP]M|[ap]\.m\.?|[AP]\.M\.?)"
_CURRENCY = f"(?:{amounts_en.CURRENCY}|{amounts_te.CURRENCY})"

SPELL_OUT_KINDS = ("characters", "spell-out")
"""Kinds that are spelled out letter by letter."""
KINDS = {
    **dict.fromkeys(SPELL_OUT_KINDS, (r".+", "text")),
    "verbatim": (r".+", "text"),
    "cardinal": (rf"[-−+]?{NUMBER}", 'a number such as "-1,234.5"'),
    "number": (rf"[-−+]?{NUMBER}", 'a number such as "-1,234.5"'),
    "ordinal": (rf"{WHOLE}(?:st|nd|rd|th|వ)?", 'a whole number such as "21" or "21st"'),
    "digits": (r"[0-9][0-9\s.,-]*", 'digits such as "4096"'),
    "telephone": (r"\+?[0-9(][0-9()\s.-]*[0-9]", 'a telephone number such as "+91 98765 43210"'),
    "date": (r"[0-9]{1,8}(?:[\s./-]+[0-9]{1,4}){0,2}", 'a date in figures such as "28/11/2026"'),
    "time": (
        r"(?:[01]?[0-9]|2[0-4])(?::[0-5][0-9]){1,2}(?:\s?" + _HALF + r")?|(?:1[0-2]|0?[1-9])\s?" + _HALF,
        'a time such as "10:30" or "5 pm"',
    ),
    "currency": (
        rf"[-−]?(?:{_CURRENCY}\s?{NUMBER}(?:\s?{amounts_en.SCALE})?|{NUMBER}\s?{_CURRENCY})",
        'an amount such as "$3.50" or "500 INR"',
    ),
    "fraction": (r"(?:[0-9]{1,15}\s)?[0-9]{1,9}/[0-9]{1,9}", 'a fraction such as "3/4" or "2 1/2"'),
    "unit": (rf"[-−]?{NUMBER}\s?(?:{amounts_en.UNIT}|{amounts_te.UNIT})", 'a measure such as "5 km" or "25 °C"'),
}
"""The form of the text by kind, as a regular expression and in words."""
_OWN_DIGITS = str.maketrans("౦౧౨౩౪౫౬౭౮౯०१२३४५६७८९", "01234567890123456789")


def find_problem(kind: str, text: str, date_format: str) -> str | None:
    """Return the reason why a text is not of a kind of `KINDS`, in words; None if it is.

    Args:
        kind: one of `KINDS`.
        text: without white space around it.
        date_format: the order of a date's parts, one of `_dates.FORMATS`; empty to guess.
    """
    pattern, example = KINDS[kind]
    text = text.translate(_OWN_DIGITS)
    if re.fullmatch(pattern, text, re.DOTALL) is None:
        return f"{text[:60]!r} is not {example}"
    if kind == "date" and _date(text, date_format) is None:
        return f"{text!r} is no date in the format {date_format}" if date_format else f"{text!r} is no date"
    if kind == "fraction" and int(text.rpartition("/")[2]) == 0:
        return f"{text!r} divides by zero"
    return None


def say_as(kind: str, text: str, date_format: str, language: str) -> str:
    """Verbalize a text in which `find_problem` finds nothing; only English and Telugu get words instead of figures.

    Args:
        kind: one of `KINDS`; texts of `SPELL_OUT_KINDS` are returned unchanged.
        text: without white space around it.
        date_format: the order of a date's parts; empty to guess.
        language: a BCP 47 tag.
    """
    if kind in SPELL_OUT_KINDS or kind == "verbatim":
        return text
    figures = text.translate(_OWN_DIGITS)
    own = primary(language)
    if kind == "currency" and own == "en":
        figures = figures.replace("రూ.", "₹")
    if own not in {"en", "te"}:
        return " ".join(re.findall(r"[0-9]", figures)) if kind in {"digits", "telephone"} else text
    english = own == "en"
    match kind:
        case "cardinal" | "number":
            return _number(figures, english=english)
        case "ordinal":
            return _ordinal(figures, english=english)
        case "digits":
            return numbers_en.digits(figures) if english else numbers_te.digits(figures)
        case "telephone":
            return normalize_en.say_telephone(figures) if english else normalize_te.say_telephone(figures)
        case "date":
            day = _date(figures, date_format)
            assert day is not None
            return when_en.say_date(day, month_first=date_format.startswith("m")) if english else when_te.say_date(day)
        case "fraction":
            return _fraction(figures, english=english)
        case _:
            return normalize(figures, language).rstrip(".")


def _number(text: str, *, english: bool) -> str:
    figures = WrittenNumber.of(text.lstrip("-−+"))
    words = amounts_en.say_number(figures) if english else amounts_te.say_number(figures)
    if text[0] in "-−":
        return f"minus {words}" if english else f"మైనస్ {words}"
    return words


def _ordinal(text: str, *, english: bool) -> str:
    figures = WrittenNumber.of(text.rstrip("stndrhవ"))
    if len(figures.whole) > 15:
        return numbers_en.digits(figures.whole) if english else numbers_te.digits(figures.whole)
    number = int(figures.whole)
    return numbers_en.ordinal(number, indian=figures.indian) if english else numbers_te.ordinal(number)


def _fraction(text: str, *, english: bool) -> str:
    whole, _, part = text.rpartition(" ")
    above, below = (int(figures) for figures in part.split("/"))
    if english:
        words = numbers_en.fraction(above, below)
        return f"{numbers_en.count(whole)} and {words}" if whole else words
    words = numbers_te.fraction(above, below)
    return normalize_te.mixed(whole, words)


def _date(text: str, date_format: str) -> Date | None:
    if date_format:
        return read_date(text, date_format)
    parts = re.findall(r"[0-9]+", text)
    if len(parts) == 1 and len(parts[0]) == 8:
        return read_date(text, "ymd")
    if len(parts) == 3 and all(len(part) <= 4 for part in parts):
        return read_numeric(*parts)
    return None
