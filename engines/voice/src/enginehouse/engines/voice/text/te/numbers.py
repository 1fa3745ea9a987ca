"""Telugu number words.

A number word has up to three forms: alone (ఐదు వందలు, ఇరవై ఒకటి), before a noun (ఐదు వందల మంది, ఇరవై ఒక్క మంది), and
with an ending (ఐదు వందలకి, ఇరవై ఒకటికి).
"""

from __future__ import annotations

import enum

MAX_NUMBER = 10**15
"""The largest number that has words; larger ones are read digit by digit."""

_SMALL = (
    *("సున్నా", "ఒకటి", "రెండు", "మూడు", "నాలుగు", "ఐదు", "ఆరు", "ఏడు", "ఎనిమిది", "తొమ్మిది", "పది"),
    *("పదకొండు", "పన్నెండు", "పదమూడు", "పద్నాలుగు", "పదిహేను", "పదహారు", "పదిహేడు", "పద్దెనిమిది", "పంతొమ్మిది"),
)
_TENS = ("", "", "ఇరవై", "ముప్పై", "నలభై", "యాభై", "అరవై", "డెబ్బై", "ఎనభై", "తొంభై")
# Singular alone, singular before more digits, plural alone, plural before more digits or a noun.
_SCALES = (
    (10**7, "కోటి", "కోటి", "కోట్లు", "కోట్ల"),
    (10**5, "లక్ష", "లక్ష", "లక్షలు", "లక్షల"),
    (1000, "వెయ్యి", "వెయ్యి", "వేలు", "వేల"),
    (100, "వంద", "నూట", "వందలు", "వందల"),
)


class NumberForm(enum.Enum):
    """The form of a number word, by what follows."""

    ALONE = "alone"
    """Alone: no counted noun follows."""
    NOUN = "noun"
    """Before the noun that it counts."""
    ENDING = "ending"
    """Before an ending that is joined to it, or a word such as నుండి or కంటే."""


def cardinal(number: int, form: NumberForm = NumberForm.ALONE) -> str:
    """Return a number in words: 123 is నూట ఇరవై మూడు, -5 మైనస్ ఐదు; beyond `MAX_NUMBER` digit by digit."""
    if number < 0:
        return f"మైనస్ {cardinal(-number, form)}"
    if number > MAX_NUMBER:
        return digits(str(number))
    if number == 1 and form is NumberForm.NOUN:
        return "ఒక"
    return _words(number, form)


def _words(number: int, form: NumberForm) -> str:
    if number < 100:
        tens, ones = divmod(number, 10)
        words = _SMALL[number] if number < 20 else f"{_TENS[tens]} {_SMALL[ones]}".removesuffix(" సున్నా")
        # Before a noun "one" at a number's end is shortened.
        return f"{words[: -len('ఒకటి')]}ఒక్క" if form is NumberForm.NOUN and words.endswith("ఒకటి") else words
    for scale, one, one_and, many, many_of in _SCALES:
        if number >= scale:
            times, rest = divmod(number, scale)
            if times == 1:
                words = one_and if rest else one
            else:
                words = f"{_words(times, NumberForm.NOUN)} {many_of if rest or form is not NumberForm.ALONE else many}"
            return f"{words} {_words(rest, form)}" if rest else words
    raise AssertionError(number)


def ordinal(number: int) -> str:
    """Return an ordinal number, from 1: రెండవ, ఇరవై ఒకటవ, వందవ; beyond `MAX_NUMBER` digit by digit."""
    words = cardinal(number)
    if number > MAX_NUMBER:
        return words
    if words.endswith("ై"):
        return f"{words[:-1]}య్యవ"
    return f"{words[:-1]}వ" if words[-1] in "ుి" else f"{words}వ"


def digits(text: str) -> str:
    """Return the digits one by one; other characters are left out."""
    return " ".join(_SMALL[int(digit)] for digit in text if digit in "0123456789")


def count(text: str, form: NumberForm = NumberForm.ALONE) -> str:
    """Return digits as a number in words, whatever their count."""
    # Python refuses to convert very long numbers, which would be read digit by digit anyway.
    return cardinal(int(text), form) if len(text) <= 16 else digits(text)


def decimal(whole: str, fraction: str) -> str:
    """Return a number with decimals in words: మూడు పాయింట్ ఒకటి నాలుగు.

    Args:
        whole: the digits before the point; empty for zero.
        fraction: the digits after it.
    """
    return f"{count(whole or '0')} పాయింట్ {digits(fraction)}"


def fraction(above: int, below: int) -> str:
    """Return a fraction: 1, 2 is అర, 3, 4 ముప్పావు, 2, 3 రెండు బై మూడు."""
    named = {(1, 2): "అర", (1, 4): "పావు", (3, 4): "ముప్పావు"}
    return named.get((above, below)) or f"{cardinal(above)} బై {cardinal(below)}"


def oblique(words: str) -> str:
    """Return the oblique form of a plural, before an ending or a noun: వందలు becomes వందల, నిమిషాలు నిమిషాల."""
    return words[:-1] if words.endswith("లు") else words
