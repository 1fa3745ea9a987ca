"""Money, measures and percentages in English."""

from __future__ import annotations

import re

from enginehouse.engines.voice.text.en.numbers import count, decimal
from enginehouse.engines.voice.text.normalization.figures import NUMBER, SIGN, WrittenNumber
from enginehouse.engines.voice.text.normalization.rules import NormalizationRule, keep_full_stop, set_apart
from enginehouse.engines.voice.text.normalization.tables import any_of, table, unit_names

_RUPEE = ("rupee", "rupees", "paisa", "paise")
_DOLLAR = ("dollar", "dollars", "cent", "cents")
_EURO = ("euro", "euros", "cent", "cents")
_POUND = ("pound", "pounds", "penny", "pence")
_YEN = ("yen", "yen", "", "")
CURRENCIES = {
    **dict.fromkeys(("₹", "Rs", "Re", "INR"), _RUPEE),
    **dict.fromkeys(("$", "US$", "USD"), _DOLLAR),
    **dict.fromkeys(("A$", "AU$", "AUD"), ("Australian dollar", "Australian dollars", "cent", "cents")),
    **dict.fromkeys(("C$", "CA$", "CAD"), ("Canadian dollar", "Canadian dollars", "cent", "cents")),
    **dict.fromkeys(("S$", "SGD"), ("Singapore dollar", "Singapore dollars", "cent", "cents")),
    **dict.fromkeys(("€", "EUR"), _EURO),
    **dict.fromkeys(("£", "GBP"), _POUND),
    **dict.fromkeys(("¥", "JPY"), _YEN),
}
"""By sign: the singular and plural of the currency and of its hundredth."""
_SCALES = table(
    """
    k = thousand | m = million | mn = million | bn = billion | b = billion | tn = trillion | l = lakh | lac = lakh
    lacs = lakh | lakhs = lakh | cr = crore | crores = crore
    """
)
CURRENCY = r"(?:(?:US|AU|CA|[ACS])\$|USD|AUD|CAD|SGD|INR|EUR|GBP|JPY|Rs\b\.?|Re\b\.?|[₹$€£¥])"
"""A regular expression for a currency's sign."""
SCALE = r"(?:thousand|million|billion|trillion|lakhs?|lacs?|crores?|cr|[kKmMbBL]|[mbt]n)\b"
"""A regular expression for a scale that may follow an amount."""

_UNITS = unit_names(
    """
    km = kilometre, kilometres | m = metre, metres | cm = centimetre, centimetres | mm = millimetre, millimetres
    mi = mile, miles | ft = foot, feet | yd = yard, yards | kg, kgs = kilogram, kilograms | g = gram, grams
    mg = milligram, milligrams | lb, lbs = pound, pounds | oz = ounce, ounces | l, L = litre, litres
    ml, mL = millilitre, millilitres | min, mins = minute, minutes | h, hr, hrs = hour, hours
    sec, secs = second, seconds | ms = millisecond, milliseconds
    km/h, kmph, km/hr, kph = kilometre per hour, kilometres per hour | m/s = metre per second, metres per second
    m/s², m/s^2, m·s⁻² = metre per second squared, metres per second squared
    km/s = kilometre per second, kilometres per second | m·s⁻¹, m s⁻¹ = metre per second, metres per second
    mph = mile per hour, miles per hour | km², km^2, sq km = square kilometre, square kilometres
    m², m^2, sq m = square metre, square metres | cm², cm^2 = square centimetre, square centimetres
    m³, m^3 = cubic metre, cubic metres | cm³, cm^3, cc = cubic centimetre, cubic centimetres
    kg/m³, kg/m^3 = kilogram per cubic metre, kilograms per cubic metre
    mm² = square millimetre, square millimetres | ft², sq ft, sq. ft. = square foot, square feet
    °C, ℃, ° C = degree Celsius, degrees Celsius | °F, ℉, ° F = degree Fahrenheit, degrees Fahrenheit
    ° = degree, degrees | % = percent, percent | ‰ = per mille, per mille | KB, kB = kilobyte, kilobytes
    MB = megabyte, megabytes | GB = gigabyte, gigabytes | TB = terabyte, terabytes
    kbps = kilobit per second, kilobits per second | Mbps = megabit per second, megabits per second
    Gbps = gigabit per second, gigabits per second | Hz = hertz, hertz | kHz = kilohertz, kilohertz
    MHz = megahertz, megahertz | GHz = gigahertz, gigahertz | dB = decibel, decibels | px = pixel, pixels
    W = watt, watts | kW = kilowatt, kilowatts | MW = megawatt, megawatts | kWh = kilowatt hour, kilowatt hours
    V = volt, volts | kV = kilovolt, kilovolts | mA = milliamp, milliamps | mAh = milliamp hour, milliamp hours
    kcal = kilocalorie, kilocalories | kJ = kilojoule, kilojoules
    """
)
UNIT = any_of(_UNITS)
"""A regular expression for a unit's sign."""


def say_number(figures: WrittenNumber, *, indian: bool = False) -> str:
    """Verbalize a quantity."""
    indian = indian or figures.indian
    if figures.decimals:
        return decimal(figures.whole, figures.decimals, indian=indian)
    return count(figures.whole, indian=indian)


def _amount(match: re.Match[str]) -> str:
    return _measure(match) if match["currency"] is None else _money(match)


def _money(match: re.Match[str]) -> str:
    one, many, hundredth, hundredths = CURRENCIES[match["currency"].rstrip(".")]
    figures = WrittenNumber.of(match["number"])
    indian = figures.indian or one == "rupee"
    scale = match["scale"]
    if scale:
        words = f"{say_number(figures, indian=indian)} {_SCALES.get(scale.lower(), scale)} {many}"
    elif not figures.decimals or len(figures.decimals) > 2 or not hundredth:
        words = f"{say_number(figures, indian=indian)} {one if figures.one else many}"
    else:
        parts = int(figures.decimals.ljust(2, "0"))
        amounts = []
        if figures.whole.strip("0") or not parts:
            single = figures.whole.lstrip("0") == "1"
            amounts.append(f"{count(figures.whole, indian=indian)} {one if single else many}")
        if parts:
            amounts.append(f"{count(str(parts))} {hundredth if parts == 1 else hundredths}")
        words = " ".join(amounts)
    minus = match["minus"] or match.groupdict().get("inner")
    return keep_full_stop(match, set_apart(match, f"minus {words}" if minus else words))


def _measure(match: re.Match[str]) -> str:
    figures = WrittenNumber.of(match["number"])
    one, many = _UNITS[match["unit"]]
    words = f"{say_number(figures)} {one if figures.one else many}"
    return set_apart(match, f"minus {words}" if match["minus"] else words)


RULES = [
    NormalizationRule(
        "a.",
        rf"(?P<minus>{SIGN})(?<![A-Za-z])(?P<currency>{CURRENCY})\s?(?P<inner>[-−])?"
        rf"(?P<number>{NUMBER})(?:[\s-]?(?P<scale>{SCALE}))?(?:/-)?",
        _money,
    ),
    NormalizationRule(
        "0.",
        rf"(?P<minus>{SIGN})(?<![\w.,])(?P<number>{NUMBER})(?:\s?(?:(?P<unit>{UNIT})(?![\w/²³⁻^])"
        rf"|(?:(?P<scale>{SCALE})\s?)?(?P<currency>{CURRENCY})(?!\w|\s?[0-9])))",
        _amount,
    ),
]
"""The rules for amounts."""
