"""Numbers written in figures."""

from __future__ import annotations

import re
from dataclasses import dataclass

_WESTERN = r"[0-9]{1,3}(?:,[0-9]{3}){1,6}(?![0-9])"
_INDIAN = r"[0-9]{1,2}(?:,[0-9]{2}){1,8},[0-9]{3}(?![0-9])"
WHOLE = rf"(?:{_WESTERN}|{_INDIAN}|[0-9]+)"
"""A regular expression for a whole number, with or without separators."""
NUMBER = rf"(?:{WHOLE}(?:\.[0-9]+)?|\.[0-9]+)"
"""A regular expression for a number that may have decimals."""
SIGN = r"(?:(?<![\w\u0900-\u0dff\u200c\u200d)\].,%°-])[-−])?"
"""A regular expression for a minus sign before a number; a hyphen after a word or a number does not match."""
TELEPHONES = (
    r"(?<![\w.])\+(?:[0-9]{7,15}|[0-9]{1,3}(?:[ -]?\(?[0-9]{2,5}(?![0-9])\)?){2,4})(?!\w)",
    r"(?<![\w.,+-])\([0-9]{3}\)\s?[0-9]{3}[ -][0-9]{4}(?![\w-])",
    r"(?<![\w.,+-])(?:[0-9]{3}[ -][0-9]{3}[ -][0-9]{4}|[2-9][0-9]{2}\.[0-9]{3}\.[0-9]{4}"
    r"|[0-9](?:[1-9][0-9]|[0-9][1-9])-[0-9]{4}"
    r"|[6-9][0-9]{4}[ -][0-9]{5}|0[0-9]{2,4}(?:-[0-9]{6,8}| [0-9]{3,4} [0-9]{4})"
    r"|1[89]00[ -][0-9]{3}[ -][0-9]{3,4}|[0-9]{1,7}(?:-[0-9]{1,7}){2,6})(?![\w-])",
)
"""Regular expressions for numbers whose separators mark them as telephone numbers and the like: with a country code,
with the area code in brackets, and others."""

_SEPARATED_INDIAN = re.compile(_INDIAN)
_SEPARATED_WESTERN = re.compile(_WESTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenNumber:
    """A number in figures, without separators."""

    whole: str
    """The figures before the decimal point; "0" if there are none."""
    decimals: str
    """The figures after it; empty for a whole number."""
    indian: bool
    """True if it was separated in lakhs and crores."""
    separated: bool
    """True if it had separators."""

    @classmethod
    def of(cls, text: str) -> WrittenNumber:
        """Read a text that `NUMBER` matches."""
        whole, _, decimals = text.partition(".")
        separated = "," in whole
        indian = (
            separated and _SEPARATED_WESTERN.fullmatch(whole) is None and _SEPARATED_INDIAN.fullmatch(whole) is not None
        )
        return cls(whole=whole.replace(",", "") or "0", decimals=decimals, indian=indian, separated=separated)

    @property
    def one(self) -> bool:
        """True if it is 1, for the singular of a noun."""
        return self.whole.lstrip("0") == "1" and not self.decimals

    @property
    def digit_by_digit(self) -> bool:
        """True if it is an identifier rather than a quantity: a telephone, account or serial number.

        That is any number that begins with a zero, and any of ten figures or more without separators that is not a
        multiple of a million.
        """
        if self.separated or self.decimals:
            return False
        if len(self.whole) > 1 and self.whole[0] == "0":
            return True
        return len(self.whole) >= 10 and not self.whole.endswith("000000")
