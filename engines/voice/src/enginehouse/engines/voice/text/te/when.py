"""Dates and times in Telugu."""

from __future__ import annotations

import re

from enginehouse.engines.voice.text.en.when import HALF, half_of
from enginehouse.engines.voice.text.normalization.dates import MONTH, Date, date, month_number, read_numeric
from enginehouse.engines.voice.text.normalization.rules import NormalizationRule
from enginehouse.engines.voice.text.te.endings import joined
from enginehouse.engines.voice.text.te.numbers import NumberForm, cardinal, decimal, oblique, ordinal

MONTHS = (
    *("జనవరి", "ఫిబ్రవరి", "మార్చి", "ఏప్రిల్", "మే", "జూన్", "జూలై", "ఆగస్టు", "సెప్టెంబర్", "అక్టోబర్", "నవంబర్"),
    "డిసెంబర్",
)
"""The months' names."""


def say_date(day: Date) -> str:
    """Verbalize a date, the year first, as an ending can follow the day: రెండు వేల ఇరవై ఆరు నవంబర్ ఇరవై ఎనిమిది."""
    words = []
    if day.year is not None:
        words.append(cardinal(day.year))
    if day.month is not None:
        words.append(MONTHS[day.month - 1])
    if day.day is not None:
        words.append(cardinal(day.day))
    return " ".join(words)


def say_time(hour: int, minute: int, second: int | None, half: str, *, part: str = "") -> str:
    """Verbalize a time of day; `half` is "am", "pm" or empty, `part` the decimals of the second."""
    words = "ఒంటి గంట" if hour == 1 else f"{cardinal(hour)} గంటలు"
    if minute:
        words = f"{oblique(words)} {_counted(minute, 'నిమిషం', 'నిమిషాలు')}"
    if part:
        words = f"{oblique(words)} {decimal(str(second or 0), part)} సెకన్లు"
    elif second:
        words = f"{oblique(words)} {_counted(second, 'సెకను', 'సెకన్లు')}"
    return f"{_part_of_day(hour, half)} {words}" if half else words


def _counted(number: int, one: str, many: str) -> str:
    return f"{cardinal(number, NumberForm.NOUN)} {one if number == 1 else many}"


def _part_of_day(hour: int, half: str) -> str:
    if half == "am":
        if hour == 12:
            return "రాత్రి"
        return "తెల్లవారుజామున" if hour < 4 else "ఉదయం"
    if hour == 12 or hour < 4:
        return "మధ్యాహ్నం"
    return "సాయంత్రం" if hour < 7 else "రాత్రి"


def _numeric(match: re.Match[str]) -> str | None:
    found = read_numeric(match["first"], match["second"], match["third"])
    return None if found is None else joined(match, say_date(found)) + (" " if match["at"] else "")


def _named(match: re.Match[str]) -> str | None:
    month = str(month_number(match["month"]))
    found = date((match["year"], month, match["day"]), "ymd") if match["year"] else date((month, match["day"]), "md")
    return None if found is None else joined(match, say_date(found))


def _clock(match: re.Match[str]) -> str:
    half = half_of(match["half"] or "")
    hour = int(match["hour"])
    if half and not 1 <= hour <= 12:
        half = ""
    second = int(match["second"]) if match["second"] else None
    words = say_time(hour, int(match["minute"]), second, half, part=match["part"] or "")
    # The word for hours is part of the time already; its ending stays.
    return joined(match, oblique(words) if match["hours"] and not match["hours"].endswith(("లు", ".")) else words)


def _hour(match: re.Match[str]) -> str:
    return joined(match, say_time(int(match["hour"]), 0, None, half_of(match["half"])))


def _day(match: re.Match[str]) -> str:
    return joined(match, f"{ordinal(int(match['day']))} {match['what']}")


RULES = [
    NormalizationRule(
        "0",
        r"(?<![\w/.-])(?P<first>[0-9]{4})[-/](?P<second>[0-9]{1,2})[-/](?P<third>[0-9]{1,2})"
        r"(?:(?P<at>T)(?=[0-9])|(?![0-9A-Za-z-]))",
        _numeric,
    ),
    NormalizationRule(
        "0",
        r"(?<![\w/.-])(?P<first>[0-9]{1,2})/(?P<second>[0-9]{1,2})/(?P<third>[0-9]{4}|[0-9]{2})(?P<at>)(?![0-9A-Za-z/])",
        _numeric,
    ),
    NormalizationRule(
        "0",
        r"(?<![\w/.-])(?P<first>[0-9]{1,2})[.-](?P<second>[0-9]{1,2})[.-](?P<third>[0-9]{4})(?P<at>)(?![0-9A-Za-z-])",
        _numeric,
    ),
    NormalizationRule(
        "0",
        rf"(?<![\w.,:/-])(?P<day>[0-3]?[0-9])(?:st|nd|rd|th)?[\s-](?P<month>{MONTH})"
        r"(?:(?:,?\s|-)(?P<year>[0-9]{4})(?![0-9A-Za-z]|[.,:/-][0-9]))?(?![0-9A-Za-z])",
        _named,
    ),
    NormalizationRule(
        "a",
        rf"(?<!\w)(?P<month>{MONTH})\s(?P<day>[0-3]?[0-9])(?:st|nd|rd|th)?"
        r"(?:,?\s(?P<year>[0-9]{4})(?![0-9A-Za-z]|[.,:/-][0-9]))?(?![0-9A-Za-z]|[.,:/][0-9])",
        _named,
    ),
    NormalizationRule(
        "0",
        r"(?:(?<![\w:.])|(?<=[0-9]T))(?P<hour>[01]?[0-9]|2[0-4])(?::|\.(?=[0-9]{2}\s?గం))(?P<minute>[0-5][0-9])(?::(?P<second>[0-5][0-9])(?:[.,](?P<part>[0-9]{1,9}))?)?"
        rf"(?:{HALF}|Z)?(?![0-9A-Za-z:])(?:\s?(?P<hours>గంటలు|గంటల|గం\.))?",
        _clock,
    ),
    NormalizationRule("0", rf"(?<![\w:.])(?P<hour>1[0-2]|0?[1-9]){HALF}(?![0-9A-Za-z])", _hour),
    NormalizationRule("0", r"(?<![\w:.,/])(?P<day>[0-3]?[0-9])\s?(?:వ\s)?(?P<what>తేదీ|తరగతి)", _day),
]
"""The rules for dates and times."""
