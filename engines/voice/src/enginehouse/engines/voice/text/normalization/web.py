"""Web and mail addresses in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from enginehouse.engines.voice.text.normalization.tables import table

_ENDINGS = "com|org|net|edu|gov|mil|int|info|co|io|ai|dev|app|in|uk|us|eu|de|fr|jp|au|ca"
ADDRESS = (
    r"(?:https?://|(?<![\w.@-])www\.)[^\s<>\"']{1,2000}"
    rf"|(?<![\w.@/-])(?:[A-Za-z0-9][A-Za-z0-9-]{{0,62}}\.){{1,8}}(?:{_ENDINGS})(?![\w-])(?:/[^\s<>\"']{{0,2000}})?"
)
"""A regular expression for a web address, with or without its scheme."""
MAILBOX = r"(?<![\w.+%-])[A-Za-z0-9_][\w.+%-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])"
"""A regular expression for a mail address."""

_SCHEME = re.compile(r"https?://")
_PARTS = re.compile(r"[0-9]+|[^\W\d_]+|[^\s]")
_TRAILING = ".,;:!?)]}'’”*"

ENGLISH = table(
    """
    . = dot | / = slash | - = dash | _ = underscore | @ = at | : = colon | ? = question mark | = = equals | & = and
    # = hash | % = percent | + = plus | ~ = tilde | www = w w w
    """
)
"""The English names of the parts of an address."""
TELUGU = table(
    """
    . = డాట్ | / = స్లాష్ | - = డాష్ | _ = అండర్‌స్కోర్ | @ = ఎట్ | : = కోలన్ | ? = క్వశ్చన్ మార్క్ | = = ఈక్వల్స్
    & = అండ్ | # = హ్యాష్ | % = పర్సెంట్ | + = ప్లస్ | ~ = టిల్డా | www = w w w
    """
)
"""The Telugu names of the parts of an address."""


def read_address(address: str, *, names: Mapping[str, str], digits: Callable[[str], str]) -> str:
    """Return an address in words, without its scheme: "example.com/a" is "example dot com slash a".

    Marks at its end belong to the sentence and stay as they are.

    Args:
        address: a match of `ADDRESS` or `MAILBOX`.
        names: the names of its marks.
        digits: reads figures.
    """
    bare = _SCHEME.sub("", address.rstrip(_TRAILING), count=1)
    marks = address[len(address.rstrip(_TRAILING)) :]
    words = []
    for part in _PARTS.findall(bare.rstrip("/")):
        if part in names:
            words.append(names[part])
        elif part.isdigit() and part.isascii():
            words.append(digits(part))
        elif part[0].isalpha():
            words.append(part)
    return " ".join(words) + marks
