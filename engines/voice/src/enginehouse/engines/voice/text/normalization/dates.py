"""Dates as they are written in figures."""

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
    """A date, or the parts of one that are known."""

    year: int | None = None
    """0 to 9999; two figures are taken as written."""
    month: int | None = None
    """1 to 12."""
    day: int | None = None
    """1 to 31, and no more than the month has."""


def date(figures: Iterable[str], order: str) -> Date | None:
    """The date whose parts are written in an order of `FORMATS`; None where there is no such day."""
    parts = dict(zip(order, map(int, figures), strict=True))
    year, month, day = parts.get("y"), parts.get("m"), parts.get("d")
    if month is not None and not 1 <= month <= 12:
        return None
    if day is not None and not 1 <= day <= (_LENGTHS[month - 1] if month else 31):
        return None
    leap = year is None or year < 100 or (year % 4 == 0 and (year % 100 != 0 or year % 400 == 0))
    if day == 29 and month == 2 and not leap:
        return None
    return Date(year=year, month=month, day=day)


def read_date(text: str, order: str) -> Date | None:
    """A date in figures with any marks between them, or with none ("20261128"); None where it isn't one."""
    figures = _FIGURES.findall(text)
    if len(figures) == 1 and len(order) > 1 and len(figures[0]) == sum(_JOINED[part] for part in order):
        joined, figures = figures[0], []
        for part in order:
            figures.append(joined[: _JOINED[part]])
            joined = joined[_JOINED[part] :]
    if len(figures) != len(order) or any(
        len(figure) > _JOINED[part] for figure, part in zip(figures, order, strict=True)
    ):
        return None
    return date(figures, order)


def read_numeric(first: str, second: str, third: str) -> Date | None:
    """A date of three numbers as people write them: year first where it has four figures, else day first, or month
    first where there is no such day; None where it isn't one either way."""
    if len(first) == 4:
        return date((first, second, third), "ymd")
    return date((first, second, third), "dmy") or date((first, second, third), "mdy")


def month_number(name: str) -> int:
    """The number of an English month, from 1, by its name or its short form."""
    return next(number for number, month in enumerate(MONTHS, 1) if month.startswith(name.rstrip(".")[:3]))
