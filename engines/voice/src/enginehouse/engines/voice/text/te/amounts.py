"""Money, measures and percentages in Telugu."""

from __future__ import annotations

import re

from enginehouse.engines.voice.text.normalization.figures import NUMBER, SIGN, WrittenNumber
from enginehouse.engines.voice.text.normalization.rules import NormalizationRule
from enginehouse.engines.voice.text.normalization.tables import any_of, unit_names
from enginehouse.engines.voice.text.te.endings import LETTER, joined
from enginehouse.engines.voice.text.te.numbers import NumberForm, count, decimal

_RUPEE = ("రూపాయి", "రూపాయలు", "పైసా", "పైసలు")
_DOLLAR = ("డాలర్", "డాలర్లు", "సెంటు", "సెంట్లు")
_EURO = ("యూరో", "యూరోలు", "సెంటు", "సెంట్లు")
_POUND = ("పౌండ్", "పౌండ్లు", "పెన్నీ", "పెన్నీలు")
_YEN = ("యెన్", "యెన్లు", "", "")
CURRENCIES = {
    **dict.fromkeys(("₹", "Rs", "Re", "INR", "రూ"), _RUPEE),
    **dict.fromkeys(("$", "US$", "USD"), _DOLLAR),
    **dict.fromkeys(("€", "EUR"), _EURO),
    **dict.fromkeys(("£", "GBP"), _POUND),
    **dict.fromkeys(("¥", "JPY"), _YEN),
}
"""By sign: the singular and plural of the currency and of its hundredth."""
CURRENCY = r"(?:US\$|USD|INR|EUR|GBP|JPY|Rs\b\.?|Re\b\.?|రూ\.|[₹$€£¥])"
"""A regular expression for a currency's sign."""
_SCALES = {
    **dict.fromkeys(("లక్ష కోట్లు", "లక్ష కోట్ల", "లక్షల కోట్లు", "లక్షల కోట్ల"), ("లక్ష కోట్ల", "లక్షల కోట్ల")),
    **dict.fromkeys(("వేల కోట్లు", "వేల కోట్ల"), ("వెయ్యి కోట్ల", "వేల కోట్ల")),
    **dict.fromkeys(("లక్ష", "లక్షలు", "లక్షల", "lakh", "lakhs"), ("లక్ష", "లక్షల")),
    **dict.fromkeys(("కోటి", "కోట్లు", "కోట్ల", "crore", "crores", "cr"), ("కోటి", "కోట్ల")),
    **dict.fromkeys(("వేలు", "వేల", "thousand", "k", "K"), ("వెయ్యి", "వేల")),
    **dict.fromkeys(("మిలియన్లు", "మిలియన్ల", "మిలియన్", "million", "M"), ("మిలియన్", "మిలియన్")),
    **dict.fromkeys(("బిలియన్లు", "బిలియన్ల", "బిలియన్", "billion", "bn", "B"), ("బిలియన్", "బిలియన్")),
}
"""Scales: the singular, and the plural before a noun."""
_SCALE = any_of(_SCALES)
_UNITS = unit_names(
    """
    km, కి.మీ., కి.మీ = కిలోమీటర్, కిలోమీటర్లు | m, మీ. = మీటర్, మీటర్లు
    cm, సెం.మీ., సెం.మీ = సెంటీమీటర్, సెంటీమీటర్లు | mm, మి.మీ., మి.మీ = మిల్లీమీటర్, మిల్లీమీటర్లు
    kg, kgs, కి.గ్రా., కి.గ్రా, కే.జీ., కేజీ = కిలో, కిలోలు | g, గ్రా. = గ్రాము, గ్రాములు
    mg, మి.గ్రా. = మిల్లీగ్రాము, మిల్లీగ్రాములు | l, L, లీ. = లీటర్, లీటర్లు
    ml, mL, మి.లీ. = మిల్లీలీటర్, మిల్లీలీటర్లు | ft = అడుగు, అడుగులు | h, hr, hrs, గం. = గంట, గంటలు
    min, mins, ని. = నిమిషం, నిమిషాలు | sec, secs, సె. = సెకను, సెకన్లు
    °C, ° C, ℃ = డిగ్రీ సెల్సియస్, డిగ్రీల సెల్సియస్ | °F, ° F, ℉ = డిగ్రీ ఫారెన్‌హీట్, డిగ్రీల ఫారెన్‌హీట్
    ° = డిగ్రీ, డిగ్రీలు | % = శాతం, శాతం | KB, kB = కిలోబైట్, కిలోబైట్లు | MB = మెగాబైట్, మెగాబైట్లు
    GB = గిగాబైట్, గిగాబైట్లు | W = వాట్, వాట్లు | kW = కిలోవాట్, కిలోవాట్లు | m² = చదరపు మీటర్, చదరపు మీటర్లు
    km² = చదరపు కిలోమీటర్, చదరపు కిలోమీటర్లు | sq ft, sq. ft., చ.అ. = చదరపు అడుగు, చదరపు అడుగులు
    """
)
_AN_HOUR = "km/h|kmph|km/hr|kph|కి.మీ./గం."
UNIT = any_of(_UNITS)
"""A regular expression for a unit's sign."""


def say_number(figures: WrittenNumber, form: NumberForm = NumberForm.ALONE) -> str:
    """Verbalize a quantity."""
    return decimal(figures.whole, figures.decimals) if figures.decimals else count(figures.whole, form)


def _money(match: re.Match[str]) -> str:
    one, many, hundredth, hundredths = CURRENCIES[match["currency"].rstrip(".")]
    figures = WrittenNumber.of(match["number"])
    number = say_number(figures, NumberForm.NOUN)
    if match["scale"]:
        single, several = _SCALES[match["scale"]]
        words = f"{number} {single if figures.one else several} {many}"
    elif not figures.decimals or len(figures.decimals) > 2 or not hundredth:
        words = f"{number} {one if figures.one else many}"
    else:
        parts = int(figures.decimals.ljust(2, "0"))
        amounts = []
        if figures.whole.strip("0") or not parts:
            single_one = figures.whole.lstrip("0") == "1"
            amounts.append(f"{count(figures.whole, NumberForm.NOUN)} {one if single_one else many}")
        if parts:
            amounts.append(f"{count(str(parts), NumberForm.NOUN)} {hundredth if parts == 1 else hundredths}")
        words = " ".join(amounts)
    return joined(match, f"మైనస్ {words}" if match["minus"] else words)


def _measure(match: re.Match[str]) -> str:
    figures = WrittenNumber.of(match["number"])
    number = say_number(figures, NumberForm.NOUN)
    if match["minus"]:
        number = f"మైనస్ {number}"
    if match["an_hour"]:
        return joined(match, f"గంటకు {number} {'కిలోమీటర్' if figures.one else 'కిలోమీటర్లు'}")
    if match["unit"] == "%" and figures.one:
        # These units have no singular.
        number = number.replace("ఒక", "ఒక్క")
    one, many = _UNITS[match["unit"]]
    return joined(match, f"{number} {one if figures.one else many}")


RULES = [
    NormalizationRule(
        "a.",
        rf"(?P<minus>{SIGN})(?<![A-Za-z\u0c00-\u0c7f])(?P<currency>{CURRENCY})\s?(?P<number>{NUMBER})"
        rf"(?:\s?(?P<scale>{_SCALE})(?![A-Za-z]))?(?:/-)?(?:\s?రూపాయ(?:లు|ల|ి))?",
        _money,
    ),
    NormalizationRule(
        "0.",
        rf"(?P<minus>{SIGN})(?<![\w.,])(?P<number>{NUMBER})\s?(?:(?P<unit>{UNIT})(?![A-Za-z0-9/²³])"
        rf"|(?P<an_hour>{_AN_HOUR})(?![A-Za-z0-9]))",
        _measure,
    ),
    NormalizationRule(
        "0.",
        rf"(?P<minus>{SIGN})(?<![\w.,])(?P<number>{NUMBER})(?P<scale>)\s?(?P<currency>{CURRENCY})"
        rf"(?!\s?[0-9A-Za-z]|{LETTER}{LETTER}{LETTER})",
        _money,
    ),
]
"""The rules for amounts."""
