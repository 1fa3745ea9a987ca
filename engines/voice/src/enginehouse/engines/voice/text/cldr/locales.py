"""The words of languages by CLDR: units, currencies, dates, "and"."""

from __future__ import annotations

import datetime
import re
from decimal import Decimal
from functools import lru_cache
from typing import Any

from babel import Locale, UnknownLocaleError
from babel.dates import format_date
from babel.numbers import get_currency_name
from babel.units import format_unit

from enginehouse.engines.voice.text.cldr.words import MONEY, OF_MONEY, PERCENT

_SAME = {"cmn": "zh", "no": "nb", "yue": "zh"}
UNITS = {
    "km": "length-kilometer", "m": "length-meter", "cm": "length-centimeter", "mm": "length-millimeter",
    "mi": "length-mile", "ft": "length-foot", "kg": "mass-kilogram", "g": "mass-gram", "mg": "mass-milligram",
    "lb": "mass-pound", "oz": "mass-ounce", "l": "volume-liter", "L": "volume-liter", "ml": "volume-milliliter",
    "mL": "volume-milliliter", "min": "duration-minute", "h": "duration-hour", "s": "duration-second",
    "ms": "duration-millisecond", "km/h": "speed-kilometer-per-hour", "m/s": "speed-meter-per-second",
    "mph": "speed-mile-per-hour", "m/s²": "acceleration-meter-per-square-second",
    "m/s^2": "acceleration-meter-per-square-second",
    "m²": "area-square-meter", "m^2": "area-square-meter", "km²": "area-square-kilometer",
    "km^2": "area-square-kilometer",
    "cm²": "area-square-centimeter", "ha": "area-hectare", "m³": "volume-cubic-meter", "m^3": "volume-cubic-meter",
    "cm³": "volume-cubic-centimeter", "°C": "temperature-celsius", "° C": "temperature-celsius",
    "℃": "temperature-celsius",
    "°F": "temperature-fahrenheit", "° F": "temperature-fahrenheit", "℉": "temperature-fahrenheit", "°": "angle-degree",
    "%": "concentr-percent", "‰": "concentr-permille", "kB": "digital-kilobyte", "KB": "digital-kilobyte",
    "MB": "digital-megabyte", "GB": "digital-gigabyte", "TB": "digital-terabyte", "Hz": "frequency-hertz",
    "kHz": "frequency-kilohertz", "MHz": "frequency-megahertz", "GHz": "frequency-gigahertz", "W": "power-watt",
    "kW": "power-kilowatt", "kWh": "energy-kilowatt-hour", "V": "electric-volt", "A": "electric-ampere",
    "kcal": "energy-kilocalorie",
}  # fmt: skip
"""CLDR's units by their signs."""
CURRENCIES = {
    "$": "USD", "US$": "USD", "USD": "USD", "€": "EUR", "EUR": "EUR", "₹": "INR", "INR": "INR", "Rs.": "INR",
    "Rs": "INR", "रु.": "INR", "रू.": "INR",
    "£": "GBP", "GBP": "GBP", "¥": "JPY", "JPY": "JPY", "R$": "BRL", "BRL": "BRL", "₽": "RUB", "RUB": "RUB", "₩": "KRW",
    "₺": "TRY", "₴": "UAH", "₪": "ILS", "৳": "BDT", "₦": "NGN", "₫": "VND", "฿": "THB", "CHF": "CHF", "zł": "PLN",
    "元": "CNY", "CNY": "CNY", "MX$": "MXN", "A$": "AUD", "C$": "CAD",
}  # fmt: skip
"""ISO codes by currencies' signs."""
_CALLED = ("USD", "EUR", "INR", "GBP", "JPY")
_SCALES = {
    "k": 3,
    "K": 3,
    "m": 6,
    "M": 6,
    "mn": 6,
    "million": 6,
    "b": 9,
    "B": 9,
    "bn": 9,
    "billion": 9,
    "tn": 12,
    "T": 12,
}
SCALE = r"(?:million|billion|mn|bn|tn|[kKmMbBT])"
"""A regular expression for an English scale after an amount."""
_WITHOUT_OF = frozenset({"mil", "mille", "mila"})
_YEAR_SIGN = re.compile(r"\s?г\.")
_FIGURE = re.compile(r"[0-9][0-9.,]*")


class SpokenLocale:
    """The words of a language.

    Args:
        locale: CLDR's data.
        language: the primary subtag.
    """

    def __init__(self, *, locale: Locale, language: str) -> None:
        self._locale = locale
        self._language = language
        symbols: Any = locale.number_symbols
        latin = symbols.get("latn", symbols)
        self.decimal: str = str(latin.get("decimal", "."))
        """The decimal sign."""
        pattern = str(locale.list_patterns["standard"]["2"])
        self.conjunction = pattern.replace("{0}", "").replace("{1}", "")
        """The word for "and", with the spaces around it."""
        short = str(locale.date_formats["short"].pattern)
        self.month_first = 0 <= short.find("M") < short.find("d") and not short.startswith("y")
        """True if the month comes first in a date of figures."""

    def measure(self, number: str, sign: str) -> str | None:
        """Return a number with a unit in words: "5 kilómetros"; None if CLDR lacks it.

        Args:
            number: a plain number in ASCII, with a point before decimals.
            sign: a key of `UNITS`.
        """
        if sign == "%" and self._language in PERCENT:
            return f"{number.replace('.', self.decimal)} {PERCENT[self._language]}"
        try:
            words = format_unit(Decimal(number), UNITS[sign], "long", format="0.#########", locale=self._locale)
        except (ValueError, LookupError):
            return None
        return words if _FIGURE.search(words) is not None else None

    def money(self, number: str, code: str, scale: str) -> str:
        """Return an amount in words: "5 dólares", "5,5 millones de dólares"."""
        shown = number.replace(".", self.decimal)
        if not scale:
            return f"{shown} {self._currency(code, Decimal(number))}"
        power = _SCALES[scale]
        name = self._currency(code, Decimal(10**power))
        formats: Any = self._locale.compact_decimal_formats["long"]
        forms = formats.get(self._locale.plural_form(Decimal(number)), formats["other"])
        pattern = forms.get(str(10**power)) or formats["other"][str(10**power)]
        text = str(pattern.pattern).replace("'", "")
        if text.count("0") != 1:
            # Some languages count in other steps, such as lakhs: they get the plain figures.
            return f"{(Decimal(number) * 10**power).normalize():f} {name}".replace(".", self.decimal)
        joint = OF_MONEY.get(self._language, "") if power > 3 else ""
        if joint and self._language in {"fr", "ca"} and name[0] in "aeiouy":
            return f"{text.replace('0', shown, 1)} d'{name}"
        return " ".join((text.replace("0", shown, 1), *([joint] if joint else []), name))

    def money_by_word(self, number: str, scale: str, code: str) -> str:
        """Return an amount whose scale is a word of the text: "5 lakh rupees"."""
        name = self._currency(code, Decimal(10**6))
        joint = OF_MONEY.get(self._language, "") if scale.lower() not in _WITHOUT_OF else ""
        if joint and self._language in {"fr", "ca"} and name[0] in "aeiouy":
            return f"{number} {scale} d'{name}"
        return " ".join((number, scale, *([joint] if joint else []), name))

    def _currency(self, code: str, number: Decimal) -> str:
        if code in _CALLED and self._language in MONEY:
            one, many = MONEY[self._language].split("; ")[_CALLED.index(code)].split(", ")
            return one if number == 1 else many
        return get_currency_name(code, number, self._locale)

    def date(self, year: int, month: int, day: int) -> str:
        """Return a date in words."""
        text = format_date(datetime.date(year, month, day), "long", locale=self._locale)
        match self._language:
            case "ru" | "bg":
                return _YEAR_SIGN.sub(" года" if self._language == "ru" else " година", text)
            case "de":
                # A capital letter after the stop would end the sentence; this way it is an ordinal number.
                return f"{text[: text.index(' ')]} {text[text.index(' ') + 1 :].lower()}"
            case "fr":
                return f"1er{text[1:]}" if text.startswith("1 ") else text
            case _:
                return text


@lru_cache(maxsize=256)
def spoken_locale(language: str) -> SpokenLocale | None:
    """Return the words of a language; None if CLDR does not know it.

    Args:
        language: a BCP 47 tag.
    """
    primary, _, rest = language.partition("-")
    primary = _SAME.get(primary.lower(), primary.lower())
    region = next((part.upper() for part in rest.split("-") if len(part) == 2), "")
    for tag in ([f"{primary}_{region}"] if region else []) + [primary]:
        try:
            return SpokenLocale(locale=Locale.parse(tag), language=primary)
        except (UnknownLocaleError, ValueError):
            continue
    return None
