"""English number words."""

from __future__ import annotations

MAX_NUMBER = 10**15
"""The largest number that has words; larger ones are read digit by digit."""

_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_WESTERN = (
    (10**15, "quadrillion"),
    (10**12, "trillion"),
    (10**9, "billion"),
    (10**6, "million"),
    (1000, "thousand"),
    (100, "hundred"),
)
_INDIAN = ((10**7, "crore"), (10**5, "lakh"), (1000, "thousand"), (100, "hundred"))
_IRREGULAR = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}


def cardinal(number: int, *, indian: bool = False) -> str:
    """Return a number in words: 123 is "one hundred twenty-three", -5 "minus five".

    Args:
        number: any number; beyond `MAX_NUMBER` in either direction it is read digit by digit.
        indian: whether to use lakhs and crores.
    """
    if number < 0:
        return f"minus {cardinal(-number, indian=indian)}"
    if number > MAX_NUMBER:
        return digits(str(number))
    return _words(number, _INDIAN if indian else _WESTERN)


def _words(number: int, scales: tuple[tuple[int, str], ...]) -> str:
    if number < 20:
        return _SMALL[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return f"{_TENS[tens]}-{_SMALL[ones]}" if ones else _TENS[tens]
    for scale, name in scales:
        if number >= scale:
            many, rest = divmod(number, scale)
            words = f"{_words(many, scales)} {name}"
            return f"{words} {_words(rest, scales)}" if rest else words
    raise AssertionError(number)


def ordinal(number: int, *, indian: bool = False) -> str:
    """Return an ordinal number, from 0: 1 is "first", 21 "twenty-first"; beyond `MAX_NUMBER` digit by digit."""
    words = cardinal(number, indian=indian)
    if number > MAX_NUMBER:
        return words
    space, hyphen = words.rfind(" "), words.rfind("-")
    head, last = words[: max(space, hyphen) + 1], words[max(space, hyphen) + 1 :]
    return head + nth(last)


def nth(word: str) -> str:
    """Return the ordinal of a number word: "one" is "first", "twenty" "twentieth"."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    return f"{word[:-1]}ieth" if word.endswith("y") else f"{word}th"


def year(number: int) -> str:
    """Return a year of up to four digits in words: 1999 is "nineteen ninety-nine", 2005 "two thousand five"."""
    century, rest = divmod(number, 100)
    if century < 10 or (century % 10 == 0 and rest < 10):
        return cardinal(number)
    if rest == 0:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def digits(text: str) -> str:
    """Return the digits one by one; other characters are left out."""
    return " ".join(_SMALL[int(digit)] for digit in text if digit in "0123456789")


def decimal(whole: str, fraction: str, *, indian: bool = False) -> str:
    """Return a number with decimals in words: "3", "14" is "three point one four".

    Args:
        whole: the digits before the point; empty for zero.
        fraction: the digits after it.
        indian: whether to use lakhs and crores.
    """
    return f"{count(whole or '0', indian=indian)} point {digits(fraction)}"


def count(text: str, *, indian: bool = False) -> str:
    """Return digits as a number in words, whatever their count."""
    # Python refuses to convert very long numbers, which would be read digit by digit anyway.
    return cardinal(int(text), indian=indian) if len(text) <= 16 else digits(text)


def fraction(above: int, below: int) -> str:
    """Return a fraction: 1, 2 is "one half", 3, 4 "three quarters", 7, 365 "seven over three hundred sixty-five"."""
    if below not in {*range(2, 21), 30, 32, 50, 64, 100, 1000} or above > 99:
        return f"{cardinal(above)} over {cardinal(below)}"
    parts = {2: "half", 4: "quarter"}.get(below) or ordinal(below)
    if above != 1:
        parts = "halves" if below == 2 else f"{parts}s"
    return f"{cardinal(above)} {parts}"


def plural_tens(number: int) -> str:
    """Return a decade: 1990 is "nineteen nineties", 90 "nineties"."""
    words = year(number) if number >= 1000 else cardinal(number)
    return f"{words[:-1]}ies" if words.endswith("y") else f"{words}s"
