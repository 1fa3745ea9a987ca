"""Telugu text normalization: the rules in order."""

from __future__ import annotations

import re
import unicodedata

from enginehouse.engines.voice.text.normalization.figures import NUMBER, SIGN, TELEPHONES, WHOLE, WrittenNumber
from enginehouse.engines.voice.text.normalization.prepare import prepare
from enginehouse.engines.voice.text.normalization.raised import RAISED, RAISED_SIGNS, unraised
from enginehouse.engines.voice.text.normalization.rules import NormalizationRule, NormalizationRules, tidy
from enginehouse.engines.voice.text.normalization.tables import any_of, table
from enginehouse.engines.voice.text.normalization.web import ADDRESS, MAILBOX, TELUGU, read_address
from enginehouse.engines.voice.text.te import amounts, when
from enginehouse.engines.voice.text.te.endings import LETTER, form_after, joined
from enginehouse.engines.voice.text.te.numbers import NumberForm, count, digits, fraction, ordinal

_VULGAR = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
_SHORT = table(
    """
    డా. = డాక్టర్ | ప్రొ. = ప్రొఫెసర్ | ఉదా. = ఉదాహరణకు | నం. = నంబర్ | క్రీ.శ. = క్రీస్తు శకం
    క్రీ.పూ. = క్రీస్తు పూర్వం | కి.మీ. = కిలోమీటర్లు | కి.గ్రా. = కిలోగ్రాములు | రూ. = రూపాయలు | Dr. = డాక్టర్
    Mr. = మిస్టర్ | Mrs. = మిసెస్ | Ms. = మిస్ | Prof. = ప్రొఫెసర్ | No. = నంబర్ | vs. = వర్సెస్ | etc. = మొదలైనవి
    e.g. = ఉదాహరణకు | i.e. = అంటే
    """
)
_SYMBOLS = table(
    """
    & = మరియు | @ = ఎట్ | + = ప్లస్ | = = ఈక్వల్ టు | × = ఇంటూ | ÷ = బై | ± = ప్లస్ ఆర్ మైనస్ | − = మైనస్ | % = శాతం
    № = నంబర్ | ₹ = రూపాయలు | $ = డాలర్లు | € = యూరోలు | £ = పౌండ్లు | ¥ = యెన్లు | ° = డిగ్రీలు | ≈ = సుమారు
    ≤ = లేదా తక్కువ | ≥ = లేదా ఎక్కువ
    """
)


def _address(match: re.Match[str]) -> str:
    return read_address(match.group(), names=TELUGU, digits=digits)


def _telephone(match: re.Match[str]) -> str:
    return joined(match, say_telephone(match.group()))


def say_telephone(number: str) -> str:
    """Verbalize a telephone number digit by digit, with a short pause between its groups."""
    groups = [digits(group) for group in re.findall(r"[0-9]+", number)]
    return ("ప్లస్ " if number.lstrip(" (").startswith("+") else "") + ", ".join(groups)


def _version(match: re.Match[str]) -> str:
    return joined(match, " పాయింట్ ".join(count(part) for part in match.group().split(".")))


def _ordinal(match: re.Match[str]) -> str | None:
    figures = WrittenNumber.of(match["number"])
    return joined(match, ordinal(int(figures.whole))) if len(figures.whole) < 16 else None


def _ordinal_of(match: re.Match[str]) -> str | None:
    # The following letters are joined to it.
    figures = WrittenNumber.of(match["number"])
    return ordinal(int(figures.whole)) if len(figures.whole) < 16 else None


def _fraction(match: re.Match[str]) -> str | None:
    above, below = int(match["above"]), int(match["below"])
    if below == 0:
        return None
    return joined(match, mixed(match["whole"], fraction(above, below)))


def _vulgar(match: re.Match[str]) -> str:
    above, _, below = unicodedata.normalize("NFKC", match["part"]).partition("⁄")
    return joined(match, mixed(match["whole"], fraction(int(above), int(below))))


def mixed(whole: str | None, part: str) -> str:
    """Return a whole number and a fraction: రెండు మరియు పావు, రెండున్నర."""
    if whole and part == "అర":
        return f"{count(whole.strip())}న్నర"
    return f"{count(whole.strip())} మరియు {part}" if whole else part


def _number(match: re.Match[str]) -> str:
    figures = WrittenNumber.of(match["number"])
    minus = "మైనస్ " if match["minus"] else ""
    if figures.digit_by_digit:
        return joined(match, minus + digits(figures.whole))
    form = form_after(match.string, match.end())
    if form is NumberForm.NOUN and len(figures.whole) == 4 and not figures.separated and figures.whole < "2100":
        # Most likely a year, not a quantity.
        form = NumberForm.ENDING
    return joined(match, minus + amounts.say_number(figures, form))


def _power(match: re.Match[str]) -> str:
    exponent = unraised(match["exponent"])
    if exponent in {"2", "3"}:
        return joined(match, " స్క్వేర్" if exponent == "2" else " క్యూబ్")
    sign = "మైనస్ " if exponent[0] in "-−" else ""
    bare = exponent.lstrip("+-−")
    return joined(match, f" టు ది పవర్ ఆఫ్ {sign}{count(bare) if bare.isdigit() else bare}")


def _worded_telephone(match: re.Match[str]) -> str:
    return joined(match, ", ".join(digits(group) if group.isdigit() else group for group in match.group().split("-")))


def _space(match: re.Match[str]) -> str:
    return " "


_RULES = NormalizationRules(
    [
        # Rulers, and markup of emphasis and headings.
        NormalizationRule(
            ".", r"[-=_*#~+<>.^|/\\$€£₹&@%°×]{4,}|[-=_*#~<>^|]{2,3}(?![\w])|(?<![\w])[-=_*#~<>^|]{2,3}", _space
        ),
        NormalizationRule(".", r"(?<![^\s])#{1,6}(?=\s)", _space),
        NormalizationRule("0a.", MAILBOX, _address),
        NormalizationRule("0a", ADDRESS, _address),
        NormalizationRule(
            "0",
            r"(?<![\w.,+-])(?:[0-9]{1,3}-)?[0-9]{3}(?:-[0-9]{1,4}){0,2}(?:-[A-Z]{2,9}){1,3}(?:-[0-9]{1,4})?(?![\w-])",
            _worded_telephone,
        ),
        *when.RULES,
        *amounts.RULES,
        *(NormalizationRule("0.", pattern, _telephone) for pattern in TELEPHONES),
        NormalizationRule("0", r"(?<![\w.])[0-9]{1,5}(?:\.[0-9]{1,5}){2,5}(?![0-9A-Za-z])", _version),
        NormalizationRule("0", rf"(?<![\w.,])(?P<number>{WHOLE})\s?-?వ(?=ది|దే|దా)", _ordinal_of),
        NormalizationRule(
            "0", rf"(?<![\w.,])(?P<number>{WHOLE})(?:\s?-?వ(?!{LETTER})|(?:st|nd|rd|th)(?![A-Za-z0-9]))", _ordinal
        ),
        NormalizationRule(
            "0",
            r"(?<![\w/.,])(?:(?P<whole>[0-9]{1,15})\s)?(?P<above>[0-9]{1,3})/(?P<below>[0-9]{1,4})"
            r"(?![0-9A-Za-z/]|[.,][0-9])",
            _fraction,
        ),
        NormalizationRule("0.", rf"(?P<whole>(?<![\w.,])[0-9]{{1,15}}\s?)?(?P<part>[{_VULGAR}])", _vulgar),
        NormalizationRule(". ", r"(?<=[0-9%])(?:\s[-–—]\s|[-–—])(?=[$€£₹]?[0-9])", lambda match: " నుండి "),
        NormalizationRule(".", r"(?<=[0-9]),(?=[0-9])", lambda match: ", "),
        NormalizationRule("0.", rf"(?P<minus>{SIGN})(?P<number>(?:(?<![0-9])\.[0-9]+|{NUMBER}))", _number),
        NormalizationRule(
            "a",
            rf"(?<![\w\u0c00-\u0c7f.])(?P<word>{any_of(_SHORT)})",
            lambda match: joined(match, _SHORT[match["word"]]),
        ),
        NormalizationRule(".", rf"(?P<exponent>{RAISED})", _power),
        NormalizationRule(".", r"(?<=[\w)\]])\^[{(]?(?P<exponent>[-−+]?(?:[0-9]{1,9}|[a-z](?![a-z])))[)}]?", _power),
        NormalizationRule("a", r"(?<!\w)[A-GJ][#♯](?![\w#])", lambda match: f"{match.group()[0]} షార్ప్"),
        NormalizationRule("a", r"(?<!\w)[A-Z]{1,4}(?:\s?&\s?[A-Z]{1,4}){1,4}(?!\w)", lambda match: match.group()),
        NormalizationRule(".", r"#(?=\s?[0-9])", lambda match: " నంబర్ "),
        NormalizationRule(".", r"#(?=\w)", lambda match: " హ్యాష్‌ట్యాగ్ "),
        NormalizationRule(".", rf"[{re.escape(''.join(_SYMBOLS))}]", lambda match: f" {_SYMBOLS[match.group()]} "),
        NormalizationRule(".", r"[*_^|\\`~•‣·{}\[\]<>#←↑→↓↔⇒/]", _space),
    ],
    # Beginnings of words, marks other than punctuation between sentences, and spaces around dashes.
    places=(
        rf"[^\w\s,;:!?'\"()’“”।\u0c00-\u0c7f\u200c\u200d]|[0-9{_VULGAR}{RAISED_SIGNS}_]|(?<=[0-9]),|\((?=[0-9])|\s(?=[-–—]\s?[0-9])"
        r"|(?<![^\W0-9_])[A-Za-z]|(?<![\u0c00-\u0c7f\u200c\u200d])[\u0c05-\u0c39]"
    ),
)


def normalize_telugu(text: str) -> str:
    """Return Telugu text with numbers, dates, times, amounts, addresses, abbreviations and signs in words."""
    return tidy(_RULES.apply(prepare(text, language="te", grouped=",")))
