"""English text normalization: the rules in order."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from enginehouse.engines.voice.text.en import abbreviated, amounts, when
from enginehouse.engines.voice.text.en.numbers import cardinal, count, decimal, digits, fraction, ordinal, year
from enginehouse.engines.voice.text.normalization.dates import MONTHS
from enginehouse.engines.voice.text.normalization.figures import NUMBER, SIGN, TELEPHONES, WHOLE, WrittenNumber
from enginehouse.engines.voice.text.normalization.prepare import prepare
from enginehouse.engines.voice.text.normalization.raised import RAISED, RAISED_SIGNS, unraised
from enginehouse.engines.voice.text.normalization.rules import NormalizationRule, NormalizationRules, set_apart, tidy
from enginehouse.engines.voice.text.normalization.web import ADDRESS, ENGLISH, MAILBOX, read_address

_NUMBER_BEFORE = re.compile(r"([0-9,]{1,20})(?:\.[0-9]{1,9})?[%°]?\Z")
_NUMBER_AFTER = re.compile(r"[$€£₹]?([0-9,]{1,20})")
_WHEN_BEFORE = re.compile(
    rf"(?:\b(?:[Ii]n|[Ss]ince|[Bb]y|[Uu]ntil|[Bb]efore|[Aa]fter|[Cc]irca|[Yy]ear|AD|{'|'.join(MONTHS)}),?\s)\Z"
)
_COMPARISONS = {"<=": "is at most", ">=": "is at least", "!=": "is not equal to", "==": "equals"}
_VULGAR = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"


def _address(match: re.Match[str]) -> str:
    return read_address(match.group(), names=ENGLISH, digits=_figures_in_name)


def _figures_in_name(figures: str) -> str:
    return digits(figures) if len(figures) > 4 or figures[0] == "0" else _plain(figures)


def _plain(figures: str) -> str:
    return year(int(figures)) if len(figures) == 4 and 1100 <= int(figures) <= 2099 else count(figures)


def _small(match: re.Match[str]) -> str:
    words = cardinal(int(match["small"]))
    return set_apart(match, words if match.end() == match.end("small") else f"{words},")


def _nothing(match: re.Match[str]) -> str:
    return " "


def _telephone(match: re.Match[str]) -> str:
    return say_telephone(match.group())


def say_telephone(number: str) -> str:
    """Verbalize a telephone number digit by digit, with a short pause between its groups."""
    groups = [digits(group) for group in re.findall(r"[0-9]+", number)]
    return ("plus " if number.lstrip(" (").startswith("+") else "") + ", ".join(groups)


def _version(match: re.Match[str]) -> str:
    parts = match.group().split(".")
    return set_apart(match, (" dot " if len(parts) == 4 else " point ").join(count(part) for part in parts))


def _ordinal(match: re.Match[str]) -> str | None:
    figures = WrittenNumber.of(match["number"])
    return ordinal(int(figures.whole), indian=figures.indian) if len(figures.whole) < 16 else None


def _fraction(match: re.Match[str]) -> str | None:
    above, below = int(match["above"]), int(match["below"])
    if below == 0:
        return None
    if (above, below) == (24, 7):
        return "twenty-four seven"
    words = f"{cardinal(above)} {cardinal(below)}" if above == below else fraction(above, below)
    if match["whole"] is None:
        return set_apart(match, words)
    words = words.replace("one ", "a ", 1) if above == 1 else words
    return set_apart(match, f"{count(match['whole'])} and {words}")


def _vulgar(match: re.Match[str]) -> str:
    above, _, below = unicodedata.normalize("NFKC", match["part"]).partition("⁄")
    words = fraction(int(above), int(below))
    if match["whole"]:
        words = f"{count(match['whole'].strip())} and {words.replace('one ', 'a ', 1) if above == '1' else words}"
    return set_apart(match, words)


def _power(match: re.Match[str]) -> str:
    return set_apart(match, power(unraised(match["exponent"])))


def _of_word(match: re.Match[str]) -> str:
    """Say a raised figure after a word, which is a note's or a unit's."""
    return set_apart(match, f" {count(unraised(match['exponent']).lstrip('-+'))}")


def power(exponent: str) -> str:
    """Verbalize an exponent: "-7" is "to the power of minus seven", "2" "squared"."""
    if exponent in {"2", "3"}:
        return " squared" if exponent == "2" else " cubed"
    sign = "minus " if exponent[0] in "-−" else ""
    bare = exponent.lstrip("+-−")
    if not bare.isdigit():
        return f" to the power of {sign}{bare}"
    return f" to the power of {sign}{count(bare)}"


def _scientific(match: re.Match[str]) -> str:
    figures = WrittenNumber.of(match["number"])
    return set_apart(match, f"{amounts.say_number(figures)} times ten{power(match['exponent'].lstrip('+'))}")


def _named_version(match: re.Match[str]) -> str:
    return set_apart(match, "version " + " point ".join(count(part) for part in match["parts"].split(".")))


def _worded_telephone(match: re.Match[str]) -> str:
    return ", ".join(digits(group) if group.isdigit() else group for group in match.group().split("-"))


def _height(match: re.Match[str]) -> str:
    return set_apart(match, f"{count(match['feet'])} foot {count(match['inches'])}")


def _seconds(match: re.Match[str]) -> str:
    return set_apart(match, f"{decimal(match['whole'], match['decimals'])} seconds")


def _between(match: re.Match[str]) -> str:
    """Verbalize a dash between two numbers: a range if they ascend, else a subtraction."""
    if match.group().strip() == match.group():
        return " to "
    before = _NUMBER_BEFORE.search(match.string[max(0, match.start() - 31) : match.start()])
    after = _NUMBER_AFTER.match(match.string, match.end())
    if before is None or after is None:
        return " to "
    left, right = before[1].replace(",", ""), after[1].replace(",", "")
    return " to " if int(left or 0) < int(right or 0) else " minus "


def _number(match: re.Match[str]) -> str:
    minus = "minus " if match["minus"] else ""
    if len(match["number"]) == 1:
        return set_apart(match, minus + digits(match["number"]))
    figures = WrittenNumber.of(match["number"])
    if figures.digit_by_digit:
        return set_apart(match, minus + digits(figures.whole))
    if len(figures.whole) == 4 and not (figures.decimals or figures.separated or minus):
        number = int(figures.whole)
        follows_year_word = _WHEN_BEFORE.search(match.string[max(0, match.start() - 12) : match.start()]) is not None
        if 1100 <= number <= 2099 or (follows_year_word and number >= 1000):
            return set_apart(match, year(number))
    return set_apart(match, minus + amounts.say_number(figures))


_FIGURES = [
    NormalizationRule(
        "0",
        r"(?<![\w.,+-])(?:[0-9]{1,3}-)?[0-9]{3}(?:-[0-9]{1,4}){0,2}(?:-[A-Z]{2,9}){1,3}(?:-[0-9]{1,4})?(?![\w-])",
        _worded_telephone,
    ),
    NormalizationRule(
        "0",
        r"(?<![\w.,])(?P<number>[0-9]{1,15}(?:\.[0-9]{1,15})?)[eE](?P<exponent>[-−+]?[0-9]{1,3})(?!\w)",
        _scientific,
    ),
    NormalizationRule(".", rf"(?<=[0-9)\]])(?P<exponent>{RAISED})", _power),
    *(
        NormalizationRule(".", rf"(?<=\b{letters})(?P<exponent>{RAISED})", _power)
        for letters in (r"\w", r"\w\w", r"\w\w\w")
    ),
    NormalizationRule(".", rf"(?P<exponent>{RAISED})", _of_word),
    NormalizationRule(".", r"(?<=[\w)\]])\^[{(]?(?P<exponent>[-−+]?(?:[0-9]{1,9}|[a-z](?![a-z])))[)}]?", _power),
    NormalizationRule(
        "a", r"(?<![\w.])[vV]\.?(?P<parts>[0-9]{1,5}(?:\.[0-9]{1,5}){0,5})(?![\w]|\.[0-9])", _named_version
    ),
    *(NormalizationRule("0.", pattern, _telephone) for pattern in TELEPHONES),
    NormalizationRule("0", r"(?<![\w.])[0-9]{1,5}(?:\.[0-9]{1,5}){2,5}(?![\w])", _version),
    NormalizationRule("0", rf"(?<![\w.,])(?P<number>{WHOLE})(?:st|nd|rd|th|ST|ND|RD|TH)(?!\w)", _ordinal),
    NormalizationRule(
        "0",
        r"(?<![\w/.,])(?:(?P<whole>[0-9]{1,15})\s)?(?P<above>[0-9]{1,3})/(?P<below>[0-9]{1,4})(?![\w/]|[.,][0-9])",
        _fraction,
    ),
    NormalizationRule("0.", rf"(?P<whole>(?<![\w.,])[0-9]{{1,15}}\s?)?(?P<part>[{_VULGAR}])", _vulgar),
    NormalizationRule("0", r"(?P<feet>[1-9][0-9]?)['’′](?P<inches>1[01]|[0-9])[\"”″]?(?!\w)", _height),
    NormalizationRule("0", r"(?<![\w.,])(?P<whole>[0-9]{1,9})\.(?P<decimals>[0-9]{1,9})\s?s(?!\w)", _seconds),
    NormalizationRule(". ", r"(?<=[0-9%])(?:\s[-–—−]\s|[-–—−])(?=[$€£₹]?[0-9])", _between),
    NormalizationRule(".", r"(?:(?<=[ap]m)|(?<=[AP]M)|(?<=[ap]\.m\.))[-–—](?=[0-9])", lambda match: " to "),
    NormalizationRule(".", r"(?<=[0-9])[:∶](?=[0-9])", lambda match: " to "),
    NormalizationRule(".", r"(?<=[0-9]),(?=[0-9])", lambda match: ", "),
    NormalizationRule("0.", rf"(?P<minus>{SIGN})(?P<number>(?:(?<![0-9])\.[0-9]+|{NUMBER}))", _number),
]


def _rules(dates: Sequence[NormalizationRule]) -> NormalizationRules:
    return NormalizationRules(
        [
            NormalizationRule(
                ".", r"(?<=\s)(?:[<>!]=|==)(?=\s?[\w-])", lambda match: f" {_COMPARISONS[match.group()]} "
            ),
            # Rulers, and markup of emphasis and headings.
            NormalizationRule(
                ".", r"[-=_*#~+<>.^|/\\$€£₹&@%°×]{4,}|[-=_*#~<>^|]{2,3}(?![\w])|(?<![\w])[-=_*#~<>^|]{2,3}", _nothing
            ),
            NormalizationRule(".", r"(?<![^\s])#{1,6}(?=\s)", _nothing),
            # First because it is fast, and most numbers are small.
            NormalizationRule(
                "0", r"(?P<small>[1-9][0-9]{0,2})(?:(?=[;!?)]|[,.](?![0-9])|\Z)|,(?=[0-9](?![0-9])))", _small
            ),
            NormalizationRule("0a.", MAILBOX, _address),
            NormalizationRule("0a", ADDRESS, _address),
            *dates,
            *amounts.RULES,
            *_FIGURES,
            *abbreviated.RULES,
            *abbreviated.SYMBOLS,
        ],
        # Beginnings of words, marks other than punctuation between sentences, and spaces around dashes and crosses.
        places=rf"[^\w\s,;:!?'\"()’“”]|[0-9{_VULGAR}{RAISED_SIGNS}]|(?<![^\W0-9_])[^\W0-9_]|[_₹]|!(?==)|(?<=[0-9])[:,]|\((?=[0-9])|['’](?=[0-9])"
        r"|\s(?=[-–—−x×*]\s?[0-9])",
    )


_RULES = _rules(when.RULES)
_AMERICAN_RULES = _rules(when.AMERICAN)
_ROMAN_NAME = re.compile(r"(?<=\w )[Ⅰ-ⅿ]+")


def normalize_english(text: str, *, american: bool = False) -> str:
    """Return English text with numbers, dates, times, amounts, addresses, abbreviations and signs in words.

    Args:
        text: a sentence or more.
        american: whether the month comes first in 12/05/2024.
    """
    if not text.isascii():
        text = _ROMAN_NAME.sub(lambda match: unicodedata.normalize("NFKC", match.group()).upper(), text)
    text = prepare(text, language="en", grouped=",")
    return tidy((_AMERICAN_RULES if american else _RULES).apply(text))
