"""Dates and times in English."""

from __future__ import annotations

import re

from enginehouse.engines.voice.text.en.numbers import cardinal, count, decimal, ordinal, plural_tens, year
from enginehouse.engines.voice.text.normalization.dates import MONTH, MONTHS, Date, date, month_number, read_numeric
from enginehouse.engines.voice.text.normalization.rules import NormalizationRule, keep_full_stop, set_apart

HALF = r"(?:\s?(?P<half>[ap]m\b|[AP]M\b|[ap]\.\s?m\.?|[AP]\.\s?M\.?))"
"""A regular expression for "am" or "pm"."""
_YEAR = r"(?:,?\s(?P<year>[0-9]{4})(?!\w|[.,:/-][0-9]))?"
_THE = re.compile(r"(?:^|\W)[Tt]he\s\Z")


def half_of(written: str) -> str:
    """Return "am" or "pm" for a match of `HALF`, and nothing for nothing."""
    return re.sub(r"[.\s]", "", written).lower()


def say_date(day: Date, *, month_first: bool = False) -> str:
    """Verbalize a date: "the twenty-eighth of November twenty twenty-six", or "November twenty-eighth, ..."."""
    month = MONTHS[day.month - 1] if day.month is not None else ""
    place = ordinal(day.day) if day.day is not None else ""
    if place and month:
        words = f"{month} {place}" if month_first else f"the {place} of {month}"
    else:
        words = month or (f"the {place}" if place else "")
    if day.year is None:
        return words
    year_words = _short_year(day.year) if day.year < 100 else year(day.year)
    return f"{words}{',' if month_first and place else ''} {year_words}".strip()


def _short_year(number: int) -> str:
    return f"oh {cardinal(number)}" if number < 10 else cardinal(number)


def say_time(hour: int, minute: int, second: int | None, half: str, *, part: str = "") -> str:
    """Verbalize a time of day; `half` is "am", "pm" or empty, `part` the decimals of the second."""
    if minute:
        words = f"{cardinal(hour)} {'oh ' if minute < 10 else ''}{cardinal(minute)}"
    elif half:
        words = cardinal(hour)
    elif 1 <= hour <= 12:
        words = f"{cardinal(hour)} o'clock"
    else:
        words = f"{cardinal(hour)} hundred hours"
    if part:
        words += f" and {decimal(str(second or 0), part)} seconds"
    elif second:
        words += f" and {cardinal(second)} second{'' if second == 1 else 's'}"
    # In lower case "a m" would be read as the article.
    return f"{words} {half.upper()}" if half else words


def _numeric(match: re.Match[str]) -> str | None:
    return _said(match, read_numeric(match["first"], match["second"], match["third"]))


def _american(match: re.Match[str]) -> str | None:
    parts = (match["first"], match["second"], match["third"])
    month_first = date(parts, "mdy")
    return _said(match, read_numeric(*parts)) if month_first is None else say_date(month_first, month_first=True)


def _said(match: re.Match[str], found: Date | None) -> str | None:
    return None if found is None else _after_the(match, say_date(found)) + (" at " if match["at"] else "")


def _day_first(match: re.Match[str]) -> str | None:
    found = _named(match)
    return None if found is None else keep_full_stop(match, _after_the(match, say_date(found)))


def _month_first(match: re.Match[str]) -> str | None:
    found = _named(match)
    return None if found is None else say_date(found, month_first=True)


def _named(match: re.Match[str]) -> Date | None:
    """Return the date of a match whose month is a name; None if there is no such day."""
    month = str(month_number(match["month"]))
    if match["year"]:
        return date((match["year"], month, match["day"]), "ymd")
    return date((month, match["day"]), "md")


def _after_the(match: re.Match[str], words: str) -> str:
    """Return the words, without "the" if the text has one before them."""
    before = match.string[max(0, match.start() - 5) : match.start()]
    return words.removeprefix("the ") if _THE.search(before) is not None else set_apart(match, words)


def _clock(match: re.Match[str]) -> str | None:
    half = half_of(match["half"] or "")
    hour = int(match["hour"])
    if half and not 1 <= hour <= 12:
        half = ""
    second = int(match["second"]) if match["second"] else None
    return keep_full_stop(match, say_time(hour, int(match["minute"]), second, half, part=match["part"] or ""))


def _duration(match: re.Match[str]) -> str:
    parts = []
    for name, unit in (("hours", "hour"), ("minutes", "minute"), ("seconds", "second")):
        figures = match[name]
        if figures:
            whole, _, part = figures.partition(".")
            words = decimal(whole, part) if part else count(whole)
            parts.append(f"{words} {unit}{'' if words == 'one' else 's'}")
    return set_apart(match, " ".join(parts))


def _month_of_year(match: re.Match[str]) -> str:
    return set_apart(match, f"{MONTHS[int(match['month']) - 1]} {year(int(match['year']))}")


def _hour(match: re.Match[str]) -> str:
    return keep_full_stop(match, say_time(int(match["hour"]), 0, None, half_of(match["half"])))


def _decade(match: re.Match[str]) -> str:
    return set_apart(match, plural_tens(int(match["decade"])))


RULES = [
    NormalizationRule(
        "0",
        r"(?<![\w/.-])(?P<first>[0-9]{4})[-/](?P<second>[0-9]{1,2})[-/](?P<third>[0-9]{1,2})"
        r"(?:(?P<at>T)(?=[0-9])|(?![\w/-]))",
        _numeric,
    ),
    NormalizationRule(
        "0", r"(?<![\w/.,-])(?P<month>0?[1-9]|1[0-2])/(?P<year>(?:19|20)[0-9]{2})(?![\w/]|[.,][0-9])", _month_of_year
    ),
    NormalizationRule(
        "0",
        r"(?<![\w:.,])(?P<hours>2[5-9]|[3-9][0-9]|[1-9][0-9]{2}):(?P<minutes>[0-5][0-9]):(?P<seconds>[0-5][0-9](?:\.[0-9]{1,9})?)"
        r"(?![\w:])",
        _duration,
    ),
    NormalizationRule(
        "0",
        r"(?<![\w:.,])(?P<hours>[0-9]{1,3})\s?(?:h|hrs?)(?:\s?(?P<minutes>[0-5]?[0-9])\s?(?:mins?|m))"
        r"(?:\s?(?P<seconds>[0-5]?[0-9](?:\.[0-9]{1,9})?)\s?(?:secs?|s))?(?!\w)",
        _duration,
    ),
    NormalizationRule(
        "0",
        r"(?<![\w:.,])(?P<minutes>[0-9]{1,3})\s?(?:min|m)\s?(?P<seconds>[0-5]?[0-9](?:\.[0-9]{1,9})?)\s?(?:secs?|s)(?!\w)"
        r"(?P<hours>)",
        _duration,
    ),
    NormalizationRule(
        "0",
        r"(?<![\w/.-])(?P<first>[0-9]{1,2})/(?P<second>[0-9]{1,2})/(?P<third>[0-9]{4}|[0-9]{2})(?P<at>)(?![\w/])",
        _numeric,
    ),
    NormalizationRule(
        "0",
        r"(?<![\w/.-])(?P<first>[0-9]{1,2})[.-](?P<second>[0-9]{1,2})[.-](?P<third>[0-9]{4})(?P<at>)(?![\w-])",
        _numeric,
    ),
    NormalizationRule(
        "0",
        rf"(?<![\w.,:/-])(?P<day>[0-3]?[0-9])(?:st|nd|rd|th)?[\s-](?:of\s)?(?P<month>{MONTH})"
        r"(?:(?:,?\s|-)(?P<year>[0-9]{4})(?!\w|[.,:/-][0-9]))?(?!\w)",
        _day_first,
    ),
    NormalizationRule(
        "a",
        rf"(?<!\w)(?P<month>{MONTH})\s(?P<day>[0-3]?[0-9])(?:st|nd|rd|th)?{_YEAR}(?!\w|[.,:/][0-9])",
        _month_first,
    ),
    NormalizationRule(
        "0",
        r"(?:(?<![\w:.])|(?<=[0-9]T))(?P<hour>[01]?[0-9]|2[0-4]):(?P<minute>[0-5][0-9])(?::(?P<second>[0-5][0-9])(?:[.,](?P<part>[0-9]{1,9}))?)?"
        rf"(?:{HALF}|Z)?(?![\w:])",
        _clock,
    ),
    NormalizationRule("0", rf"(?<![\w:.])(?P<hour>1[0-2]|0?[1-9]){HALF}(?!\w)", _hour),
    NormalizationRule("0.", r"(?<!\w)['’]?(?P<decade>[1-9][0-9]{2}0|[1-9]0)['’]?s(?!\w)", _decade),
]
"""The rules for dates and times."""
_SLASHED = next(rule for rule in RULES if rule.pattern.startswith(r"(?<![\w/.-])(?P<first>[0-9]{1,2})/"))
AMERICAN = [_SLASHED._replace(say=_american), *RULES]
"""The same, with the month first in 12/05/2024."""
