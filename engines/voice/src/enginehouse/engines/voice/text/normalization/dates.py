"""Dates written in figures."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_LENGTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_FIGURES = re.compile(r"[0-9]+")
_JOINED = {"y": 4, "m": 2, "d": 2}

FORMATS = ("dmy", "mdy", "ymd", "ydm", "dm", "md", "my", "ym", "y", "m", "d")
"""The orders in which the parts of a date may be written: day, month, year."""

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
"""Their English names."""
MONTH = (
    r"(?:January|February|March|April|May|June|July|August|September|October|November|December"
    r"|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec)\b\.?)"
)
"""A regular expression for the name of a month, or its short form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Date:
    """A date, or the known parts of one."""

    year: int | None = None
    """0 to 9999; two figures are kept as written."""
    month: int | None = None
    """1 to 12."""
    day: int | None = None
    """1 to 31, and at most the month's last day."""


def date(figures: Iterable[str], date_format: str) -> Date | None:
    """Return the date whose parts are in an order of `FORMATS`; None if there is no such day."""
    parts = dict(zip(date_format, map(int, figures), strict=True))
    year, month, day = parts.get("y"), parts.get("m"), parts.get("d")
    if month is not None and not 1 <= month <= 12:
        return None
    if day is not None and not 1 <= day <= (_LENGTHS[month - 1] if month else 31):
        return None
    leap = year is None or year < 100 or (year % 4 == 0 and (year % 100 != 0 or year % 400 == 0))
    if day == 29 and month == 2 and not leap:
        return None
    return Date(year=year, month=month, day=day)


def read_date(text: str, date_format: str) -> Date | None:
    """Read a date in figures with any marks between them, or with none ("20261128"); None if it is no date."""
    figures = _FIGURES.findall(text)
    if len(figures) == 1 and len(date_format) > 1 and len(figures[0]) == sum(_JOINED[part] for part in date_format):
        joined, figures = figures[0], []
        for part in date_format:
            figures.append(joined[: _JOINED[part]])
            joined = joined[_JOINED[part] :]
    if len(figures) != len(date_format) or any(
        len(figure) > _JOINED[part] for figure, part in zip(figures, date_format, strict=True)
    ):
        return None
    return date(figures, date_format)


def read_numeric(first: str, second: str, third: str) -> Date | None:
    """Read a date of three numbers: year first if it has four figures, else day first, or month first if there is no
    such day; None if it is no date either way."""
    if len(first) == 4:
        return date((first, second, third), "ymd")
    return date((first, second, third), "dmy") or date((first, second, third), "mdy")


def month_number(name: str) -> int:
    """Return the number of an English month, from 1, by its name or its short form."""
    return next(number for number, month in enumerate(MONTHS, 1) if month.startswith(name.rstrip(".")[:3]))
