"""English abbreviations, Roman numerals and symbols."""

from __future__ import annotations

import re

from enginehouse.engines.voice.text.en.numbers import cardinal, ordinal, year
from enginehouse.engines.voice.text.normalization.roman import roman
from enginehouse.engines.voice.text.normalization.rules import NormalizationRule, keep_full_stop, set_apart
from enginehouse.engines.voice.text.normalization.tables import any_of, table
from enginehouse.engines.voice.text.segmentation.abbreviations import BEGINNINGS

_TITLES = table(
    """
    Mr = Mister | Mrs = Missus | Ms = Miz | Dr = Doctor | Prof = Professor | Rev = Reverend | Capt = Captain
    Col = Colonel | Gen = General | Lt = Lieutenant | Sgt = Sergeant | Maj = Major | Gov = Governor | Sen = Senator
    Pres = President | Mt = Mount | Ft = Fort | Smt = Shrimati | Hon = Honourable
    """
)
_BRITISH = ("Mr", "Mrs", "Ms", "Dr")
"""Titles that are also written without a stop."""
_SHORT = table(
    """
    e.g. = for example | i.e. = that is | etc. = et cetera | vs. = versus | approx. = approximately | Ltd. = Limited
    Inc. = Incorporated | Co. = Company | Corp. = Corporation | Pvt. = Private | Bros. = Brothers | Jr. = Junior
    Sr. = Senior | dept. = department | govt. = government | Dept. = Department | Govt. = Government | Ave. = Avenue
    Blvd. = Boulevard | Rd. = Road | Jan. = January | Feb. = February | Mar. = March | Apr. = April | Jun. = June
    Jul. = July | Aug. = August | Sept. = September | Sep. = September | Oct. = October | Nov. = November
    Dec. = December | cf. = compare | E.g. = For example | I.e. = That is
    Approx. = Approximately | viz. = namely | incl. = including | et al. = and others | vs = versus | w/ = with
    w/o = without
    """
)
_NUMBERED = table(
    """
    No. = number | no. = number | Nos. = numbers | nos. = numbers | Fig. = figure | fig. = figure | Figs. = figures
    Vol. = volume | vol. = volume | Ch. = chapter | ch. = chapter | p. = page | c. = circa | pp. = pages
    Sec. = section | sec. = section | Art. = article | Eq. = equation | № = number
    """
)
"""Abbreviations that are expanded only before a number."""
_RULERS = "King|Queen|Pope|Prince|Princess|Emperor|Empress|Tsar|Czar|Sultan|Kaiser|Shah|Antipope|Duke|Patriarch"
_REGNAL = (
    "Abdul|Adrian|Albert|Alexander|Alfonso|Andrew|Anne|Augustus|Baldwin|Benedict|Boniface|Catherine|Charles|Christian|Clement"
    "|Cleopatra|Conrad|Constantine|Cyrus|Darius|David|Edward|Elizabeth|Emmanuel|Ferdinand|Francis|Frederick|Friedrich|George"
    "|Gregory|Gustav|Haakon|Harald|Harold|Henri|Henry|Innocent|Isabella|Ivan|James|John|Joseph|Julius|Karl|Leo|Leopold|Louis"
    "|Malcolm|Mary|Maximilian|Mehmed|Mehmet|Michael|Murad|Napoleon|Nicholas|Olaf|Olav|Otto|Paul|Pedro|Peter|Philip|Pius"
    "|Ptolemy|Ramesses|Ramses|Richard|Robert|Rudolf|Selim|Sixtus|Stephen|Suleiman|Thutmose|Tutankhamun|Umberto|Urban|Victor"
    "|Wilhelm|William|Xerxes"
)
"""Names of rulers, whose numbers are ordinal."""
_PARTS = (
    "Chapter|Part|Section|Volume|Book|Act|Scene|Phase|Appendix|Article|Class|Grade|Type|Level|Unit|Stage|Title|Schedule"
    "|World War|Roman numeral|Episode|Super Bowl|Apollo|Fantasy|Rocky|Mark|Mk|Table|Figure|Canto|Annex|Rule|Round|Tier"
    "|Division|Group|Factor|Psalm|Stalag|Olympiad|Elizabeth Tower|Quarter|War|Vatican|Diabetes|Schedule|Lesson|Module"
)
_EITHER_CASE = f"{_PARTS}|{_PARTS.lower()}"
_SURE = r"(?:II|III|VII|VIII|XII|XIII|XIV|XVI{0,3}|XIX|XX[IVX]{1,5})"
"""Roman numerals that are hardly ever anything else."""
_WORDS_IN_NUMERALS = frozenset(
    {"MIX", "DI", "LI", "MI", "CD", "DC", "CC", "MC", "MD", "ML", "MM", "CM", "XL", "XXL", "XX", "DL", "LL"}
)
"""Numerals that voices read as what they mostly are: a word, or letters."""
_NAME_BEFORE = re.compile(r"(\w+)\s\Z")
_NAME_AFTER = re.compile(r"\s[A-Z]")
_PRONOUN_AFTER = re.compile(r"\s(?!of\b)[a-z]")
_SYMBOLS = table(
    """
    & = and | @ = at | + = plus | = = equals | × = times | ÷ = divided by | ± = plus or minus | ≈ = about
    ≠ = is not equal to | ≤ = is at most | ≥ = is at least | − = minus | % = percent | § = section | № = number
    ₹ = rupees | $ = dollars | € = euros | £ = pounds | ¥ = yen | ° = degrees | √ = the square root of
    ∞ = infinity | π = pi | µ = micro
    """
)


def _title(match: re.Match[str]) -> str | None:
    title = match["title"]
    named = _NAME_AFTER.match(match.string, match.end()) is not None
    if title == "Dr" and not named and _named_before(match):
        return keep_full_stop(match, "Drive")
    if not named and not match.group().endswith("."):
        return None
    return _TITLES[title]


def _saint(match: re.Match[str]) -> str:
    if _named_before(match) or _NAME_AFTER.match(match.string, match.end()) is None:
        return keep_full_stop(match, "Street")
    return "Saint"


def _named_before(match: re.Match[str]) -> bool:
    """Return whether a name precedes, such as that of a street."""
    before = _NAME_BEFORE.search(match.string[max(0, match.start() - 30) : match.start()])
    return before is not None and before[1][0].isupper() and before[1] not in BEGINNINGS


def _ruler(match: re.Match[str]) -> str | None:
    number = roman(match["numeral"])
    return None if number is None else f"{match['before']}the {ordinal(number)}"


def _part(match: re.Match[str]) -> str | None:
    numeral = match["numeral"]
    number = roman(numeral)
    if number is None or numeral in {"C", "D", "L", "M"}:
        # Classes and sections also have letters.
        return None
    if numeral == "I" and "War" not in match["before"] and _PRONOUN_AFTER.match(match.string, match.end()) is not None:
        return None
    return f"{match['before']}{cardinal(number)}"


def _regnal(match: re.Match[str]) -> str | None:
    if match["numeral"] == "I" and _PRONOUN_AFTER.match(match.string, match.end()) is not None:
        return None
    return _ruler(match)


def _numbered_name(match: re.Match[str]) -> str | None:
    number = roman(match["numeral"])
    if number is None or match["before"].strip() in BEGINNINGS:
        return None
    return f"{match['before']}{cardinal(number)}"


def _century(match: re.Match[str]) -> str | None:
    number = roman(match["numeral"])
    return None if number is None else ordinal(number)


def _letters(match: re.Match[str]) -> str | None:
    """Spell a numeral that is none: voices read out "IV" as "Roman four"."""
    word = match["letters"]
    number = roman(word)
    if number is None or word in _WORDS_IN_NUMERALS:
        return None
    if re.fullmatch(_SURE, word) is not None:
        return cardinal(number)
    if len(word) > 3:
        return year(number) if word[0] == "M" else None
    return " ".join(word)


def _unchanged(match: re.Match[str]) -> str:
    return match.group()


def _compared(match: re.Match[str]) -> str:
    words = "less than" if match.group() == "<" else "greater than"
    before = match.string[: match.start()].rstrip()[-1:]
    return f" is {words} " if before.isalnum() or before == "%" else f" {words} "


RULES = [
    NormalizationRule("a", rf"(?<!\w)(?P<title>{any_of(_TITLES)})\.", _title),
    NormalizationRule("a", rf"(?<!\w)(?P<title>{any_of(_BRITISH)})(?=\s[A-Z])", _title),
    NormalizationRule("a", r"(?<!\w)St\.", _saint),
    NormalizationRule(
        "a.",
        rf"(?<!\w)(?P<word>{any_of(_NUMBERED)})\s?(?=[0-9])",
        lambda match: f"{_NUMBERED[match['word']]} ",
    ),
    NormalizationRule(
        "a",
        rf"(?<![\w.])(?P<word>{any_of(_SHORT)})(?!\w)",
        lambda match: keep_full_stop(match, _SHORT[match["word"]]),
    ),
    NormalizationRule(
        "a", rf"(?<!\w)(?P<before>(?:{_RULERS})\s[A-Z][a-z]{{1,20}}\s)(?P<numeral>[IVXLC]{{1,9}})(?!\w)", _ruler
    ),
    NormalizationRule("a", rf"(?<!\w)(?P<before>(?:{_EITHER_CASE})\s)(?P<numeral>[IVXLCDM]{{1,15}})(?!\w)", _part),
    NormalizationRule(
        "a", rf"(?<!\w)(?P<before>(?:{_REGNAL})\s)(?:the\s)?(?P<numeral>[IVXLC]{{1,9}})(?!\w|\.\w)", _regnal
    ),
    NormalizationRule(
        "a", rf"(?<!\w)(?P<before>[A-Z][a-z]{{2,20}}\s)(?P<numeral>{_SURE})(?!\w|-|\.\w)", _numbered_name
    ),
    NormalizationRule("a", r"(?<!\w)(?P<numeral>[IVX]{1,6})(?=(?:st|nd|rd|th)?\scentur)", _century),
    NormalizationRule("a", r"(?<![\w'’.&-])(?P<letters>[IVXLCDM]{2,15})(?![\w'’&]|\.\w)", _letters),
    # Voices read these right, and a lone "A" among words as the article.
    NormalizationRule("a", r"(?<!\w)[A-Z]{1,4}(?:\s?&\s?[A-Z]{1,4}){1,4}(?!\w)(?!\s?&)", _unchanged),
    NormalizationRule("a", r"(?<!\w)[A-GJ][#♯](?![\w#])", lambda match: f"{match.group()[0]} sharp"),
    NormalizationRule("a", r"(?<!\w)[A-Z]\+\+(?![\w+])", lambda match: f"{match.group()[0]} plus plus"),
]
"""The rules for abbreviations."""
SYMBOLS = [
    NormalizationRule(".", r"#(?=[0-9])", lambda match: set_apart(match, "number ")),
    NormalizationRule(".", r"#(?=\w)", lambda match: set_apart(match, "hashtag ")),
    NormalizationRule(".", r"~(?=\s?[0-9$€£₹])", lambda match: set_apart(match, "about ")),
    NormalizationRule("a. ", r"(?<=[0-9])\s?[x×]\s?(?=[0-9])", lambda match: " by "),
    NormalizationRule(". ", r"(?<=[0-9])\s?\*\s?(?=[0-9])", lambda match: " times "),
    NormalizationRule("a", r"(?<=[0-9])x(?=[\s.,;!?)]|\Z)", lambda match: " times"),
    NormalizationRule(".", r"(?<![^\s0-9])[<>](?=\s|[0-9])", _compared),
    NormalizationRule("a.", rf"[{re.escape(''.join(_SYMBOLS))}]", lambda match: f" {_SYMBOLS[match.group()]} "),
    NormalizationRule(".", r"[*_^|\\`~•‣·{}\[\]<>#←↑→↓↔⇒/]", lambda match: " "),
]
"""The rules for symbols, after those for amounts."""
