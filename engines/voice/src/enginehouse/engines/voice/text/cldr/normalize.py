"""Text normalization of every language but those that have rules of their own.

Numbers stay figures, which the voices of each language read themselves. All around them that voices leave out, misread
or spell becomes words where the language's are known; elsewhere it stays as it was written.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from enginehouse.engines.voice.text._characters import WORD
from enginehouse.engines.voice.text.cldr import words
from enginehouse.engines.voice.text.cldr.locales import CURRENCIES, SCALE, UNITS, SpokenLocale, spoken_locale
from enginehouse.engines.voice.text.normalization.dates import Date, date
from enginehouse.engines.voice.text.normalization.figures import TELEPHONES
from enginehouse.engines.voice.text.normalization.prepare import prepare
from enginehouse.engines.voice.text.normalization.raised import RAISED, RAISED_SIGNS, unraised
from enginehouse.engines.voice.text.normalization.roman import roman
from enginehouse.engines.voice.text.normalization.rules import NormalizationRule, NormalizationRules, tidy
from enginehouse.engines.voice.text.normalization.tables import any_of
from enginehouse.engines.voice.text.normalization.web import ADDRESS, MAILBOX, read_address
from enginehouse.kit.scripts import primary

_FIGURES = r"[0-9]{1,30}(?:[.,][0-9]{1,30}){0,9}"
_SIGN = rf"(?:(?<![{WORD})\].,%°])[-−](?=[0-9$€£¥₹]))?"
_VULGAR = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
_CURRENCY = any_of(CURRENCIES)
_PARTS = ("1/2", "1/4", "3/4", "1/3", "2/3")


class _Normalizer:
    """The rules of one language.

    Args:
        language: a BCP 47 tag.
    """

    def __init__(self, *, language: str) -> None:
        own = primary(language)
        self._language = own
        self._locale: SpokenLocale | None = spoken_locale(language)
        self._minus = words.MINUS.get(own, "")
        self._to = words.TO.get(own, "")
        self._number = words.NUMBER.get(own, "")
        self._powers = words.POWERS[own].split(", ") if own in words.POWERS else []
        self._fractions = words.FRACTIONS[own].split(", ") if own in words.FRACTIONS else []
        self._names = (
            dict(zip("./-_@", words.ADDRESS_NAMES[own].split(", "), strict=True)) if own in words.ADDRESS_NAMES else {}
        )
        self._decimal = self._locale.decimal if self._locale is not None else "."
        group = re.escape("," if self._decimal == "." else ".")
        self._grouped = re.compile(
            rf"[0-9]{{1,3}}(?:{group}[0-9]{{3}})+|[0-9]{{1,2}}(?:{group}[0-9]{{2}})+{group}[0-9]{{3}}"
        )
        self._twice_grouped = re.compile(
            r"[0-9]{1,3}(?:,[0-9]{3}){2,}|[0-9]{1,3}(?:\.[0-9]{3}){2,}|[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}"
        )
        self._rules = self._make_rules()

    def normalize(self, text: str) -> str:
        """Return a text with its signs in words."""
        return tidy(self._rules.apply(prepare(text, language=self._language, grouped="")))

    def _make_rules(self) -> NormalizationRules:
        rules = [
            NormalizationRule(
                ".",
                r"[-=_*#~+<>^|/\\$€£₹&@%°×]{4,}|[-=_*#~<>^|]{2,3}(?![\w])|(?<![\w])[-=_*#~<>^|]{2,3}",
                _space,
            ),
            NormalizationRule(".", r"(?<![^\s])#{1,6}(?=\s)", _space),
            NormalizationRule("a", r"(?<!\w)[apAP]\.\s[mM]\.", lambda match: re.sub(r"\s", "", match.group())),
            NormalizationRule("0a.", MAILBOX, self._address),
            NormalizationRule("0", r"(?<![\w.,])(?P<number>[0-9]{1,4})e(?![\w'’+-])", self._french_ordinal),
            NormalizationRule("0a", ADDRESS, self._address),
            NormalizationRule(
                "0",
                r"(?<![\w.+-])(?:[0-9]{1,3}-)?[0-9]{3}(?:-[0-9]{1,4}){0,2}(?:-[A-Z]{2,9}){1,3}(?![\w-])",
                _spaced,
            ),
            NormalizationRule(
                "0",
                r"(?<![\w/.-])(?P<first>[0-9]{4})[-/.](?P<second>[0-9]{1,2})[-/.]"
                r"(?P<third>[0-9]{1,2})(?:T(?=[0-9])|(?![\w/-]|\.[0-9]))",
                self._date,
            ),
            NormalizationRule(
                "0",
                r"(?<![\w/.-])(?P<first>[0-9]{1,2})(?P<mark>[-/.])(?P<second>[0-9]{1,2})[-/.]"
                r"(?P<third>[0-9]{4})(?![\w/-]|\.[0-9])",
                self._date,
            ),
            *(NormalizationRule("0.", pattern, _spaced) for pattern in TELEPHONES[:2]),
            NormalizationRule(
                "0",
                r"(?<![\w.,+-])"
                r"(?:[6-9][0-9]{4}[ -][0-9]{5}|0[0-9]{2,4}-[0-9]{6,8}|[0-9]{3}-[0-9]{3}-[0-9]{4})"
                r"(?![\w-])",
                _spaced,
            ),
            NormalizationRule(
                "a.",
                rf"(?P<minus>{_SIGN})(?<![A-Za-z])(?P<currency>{_CURRENCY})\s?(?P<inner>[-−])?(?P<number>{_FIGURES})"
                rf"(?:\s(?P<worded>{words.SCALES})(?![{WORD}])|\s?(?P<scale>{SCALE})(?!\w))?",
                self._money,
            ),
            NormalizationRule(
                "0.",
                rf"(?P<minus>{_SIGN})(?<![\w.,])(?P<number>{_FIGURES})(?:\s?(?P<unit>{any_of(UNITS)})(?![{WORD}/²³⁻^])"
                rf"|\s?(?:(?P<scale>{SCALE})\s?)?(?P<currency>{_CURRENCY})(?![{WORD}]|\s?[0-9]))",
                self._amount,
            ),
            NormalizationRule(
                "0",
                r"(?<![\w/.,])(?:(?P<whole>[0-9]{1,15})\s)?(?P<above>[0-9]{1,3})/"
                r"(?P<below>[0-9]{1,4})(?![\w/]|[.,][0-9])",
                self._fraction,
            ),
            NormalizationRule("0.", rf"(?P<whole>(?<![\w.,])[0-9]{{1,15}}\s?)?(?P<part>[{_VULGAR}])", self._vulgar),
            NormalizationRule("a", r"(?<![\w.])[vV]\.?(?=[0-9]+\.[0-9])", lambda match: f"{match.group()[0]} "),
            NormalizationRule(". ", r"(?<=[0-9%])(?:\s[–—]\s|[-–—])(?=[$€£₹]?[0-9])", self._range),
            NormalizationRule(".", rf"(?<=[\w)\]])(?P<exponent>{RAISED})", self._power),
            NormalizationRule(
                ".",
                r"(?<=[\w)\]])\^[{(]?(?P<exponent>[-−+]?(?:[0-9]{1,9}|[a-z](?![a-z])))[)}]?",
                self._power,
            ),
            NormalizationRule("0.", rf"(?P<minus>{_SIGN})(?P<number>(?<![0-9]){_FIGURES})", self._figures),
            NormalizationRule(
                "a",
                r"(?<!\w)(?P<before>[^\W\d_]{2,20}(?:[ -][^\W\d_]{2,20})?\s)"
                r"(?P<numeral>[IVXLC]{1,9})(?P<th>(?:e|er|ème|º|\.)?)(?!\w)",
                self._numeral,
            ),
            NormalizationRule(
                "a",
                r"(?<!\w)(?P<numeral>[IVXLC]{1,9})(?P<th>e|er|ème|-го|-й|-м)?(?P<after>\s"
                r"(?:siècle|secolo|век|века|веке|століття))(?!\w)",
                self._century,
            ),
            NormalizationRule(
                "a",
                r"(?<!\w)[A-GJ][#♯](?![\w#])",
                lambda match: f"{match.group()[0]} {words.SHARP.get(self._language, 'sharp')}",
            ),
            NormalizationRule("a", r"(?<!\w)[A-Z]\+\+(?![\w+])", self._plus_plus),
            NormalizationRule("a", r"(?<!\w)(?P<initials>[A-Z]{1,4}(?:&[A-Z]{1,4}){1,4})(?!\w)", self._initials),
            NormalizationRule("0a.", r"[#№](?=\s?[0-9])", self._numbered),
            NormalizationRule(".", r"#(?=[^\W\d_])", _space),
            NormalizationRule(".", r"&", self._and),
            NormalizationRule(".", r"−", lambda match: f" {self._minus} " if self._minus else "-"),
            NormalizationRule(".", r"(?<=[^\W\d_])/(?=[^\W\d_])", _space),
            NormalizationRule(".", r"\*(?![0-9])|(?<![0-9])\*|[_`|\\{}\[\]<>•‣·←↑→↓]|~(?![0-9])", _space),
        ]
        return NormalizationRules(
            rules,
            places=rf"[^\w\s,;:!?'\"()’“”]|[0-9_{_VULGAR}{RAISED_SIGNS}]|(?<![^\W0-9_])[^\W0-9_]|\((?=[0-9])|\s(?=[–—]\s?[0-9])",
        )

    def _plain(self, number: str) -> str | None:
        """Return a number without marks between its groups and with a point before its decimals; None for another."""
        if self._twice_grouped.fullmatch(number) is not None:
            return number.replace(",", "").replace(".", "")
        whole, mark, part = number, "", ""
        if self._decimal in number:
            whole, mark, part = number.rpartition(self._decimal)
        if not whole.isdigit() and self._grouped.fullmatch(whole) is None:
            # Decimals with the other mark, as many write them.
            whole, mark, part = number.replace(",", ".").rpartition(".")
            if not (whole.isdigit() and part.isdigit()):
                return None
        whole = re.sub(r"[.,]", "", whole)
        return f"{whole}.{part}" if mark else whole

    def _figures(self, match: re.Match[str]) -> str:
        number = match["number"]
        minus = f"{self._minus} " if match["minus"] and self._minus else "-" if match["minus"] else ""
        if self._twice_grouped.fullmatch(number) is not None or self._grouped.fullmatch(number) is not None:
            number = re.sub(r"[.,]", "", number)
        elif number.isdigit() and (
            (len(number) >= 10 and not number.endswith("000000")) or (len(number) > 2 and number[0] == "0")
        ):
            number = " ".join(number)
        return _apart(match, f"{minus}{number}")

    def _amount(self, match: re.Match[str]) -> str | None:
        if match["currency"] is not None:
            return self._money(match)
        number = self._plain(match["number"])
        if self._locale is None or number is None:
            return None
        said = self._locale.measure(number, match["unit"])
        return None if said is None else _apart(match, self._signed(match, said))

    def _money(self, match: re.Match[str]) -> str | None:
        number = self._plain(match["number"])
        if self._locale is None or number is None:
            return None
        worded = match.groupdict().get("worded")
        if worded:
            shown = number.replace(".", self._decimal)
            return _apart(
                match, self._signed(match, self._locale.money_by_word(shown, worded, CURRENCIES[match["currency"]]))
            )
        said = self._locale.money(number, CURRENCIES[match["currency"]], match["scale"] or "")
        return _apart(match, self._signed(match, said))

    def _signed(self, match: re.Match[str], said: str) -> str:
        if not (match["minus"] or match.groupdict().get("inner")):
            return said
        return f"{self._minus} {said}" if self._minus else f"-{said}"

    def _date(self, match: re.Match[str]) -> str | None:
        parts = (match["first"], match["second"], match["third"])
        if len(parts[0]) == 4:
            found = date(parts, "ymd")
        else:
            month_first = self._locale is not None and self._locale.month_first
            found = date(parts, "mdy" if month_first else "dmy") or date(parts, "dmy" if month_first else "mdy")
        said = None if found is None else self._said_date(found)
        return None if said is None else _apart(match, said) + (" " if match.group().endswith("T") else "")

    def _said_date(self, found: Date) -> str | None:
        if self._locale is None or not found.year or found.month is None or found.day is None:
            return None
        return self._locale.date(found.year, found.month, found.day)

    def _fraction(self, match: re.Match[str]) -> str | None:
        if not self._fractions or match["below"].strip("0") == "":
            return None
        return _apart(match, self._part(match["whole"] or "", match["above"], match["below"]))

    def _vulgar(self, match: re.Match[str]) -> str:
        above, _, below = unicodedata.normalize("NFKC", match["part"]).partition("⁄")
        if not self._fractions:
            return f"{match['whole'] or ''}{match['part']}"
        return _apart(match, self._part((match["whole"] or "").strip(), above, below))

    def _part(self, whole: str, above: str, below: str) -> str:
        bar, *known = self._fractions
        part = known[_PARTS.index(f"{above}/{below}")] if f"{above}/{below}" in _PARTS else f"{above} {bar} {below}"
        joint = self._locale.conjunction if self._locale is not None else " "
        return f"{whole}{joint}{part}" if whole else part

    def _range(self, match: re.Match[str]) -> str | None:
        return f" {self._to} " if self._to else None

    def _power(self, match: re.Match[str]) -> str:
        exponent = unraised(match["exponent"])
        sign = self._minus or "-"
        bare = exponent.lstrip("+-−")
        if not self._powers:
            return f" ^ {'-' if exponent[0] in '-−' else ''}{bare} "
        squared, cubed, power = self._powers
        if exponent in {"2", "3"}:
            return f" {squared if exponent == '2' else cubed} "
        return f" {power} {f'{sign} ' if exponent[0] in '-−' else ''}{bare} "

    def _numeral(self, match: re.Match[str]) -> str | None:
        number = roman(match["numeral"])
        before = match["before"].strip()
        known = words.NUMBERED.get(self._language, "").split(", ")
        if number is None:
            return None
        if any(before.endswith(word) for word in known if word) or (
            re.search(rf"\b(?:{words.REIGNED})\Z", before) is not None and (number > 1 or match["th"])
        ):
            ruler = not any(before.endswith(word) for word in known if word)
            return f"{match['before']}{number}{match['th'] or self._ordinal_sign(number, ruler=ruler)}"
        return None

    def _century(self, match: re.Match[str]) -> str | None:
        number = roman(match["numeral"])
        if number is None:
            return None
        ending = "ème" if match["th"] == "e" else match["th"] or self._ordinal_sign(number, ruler=False)
        return f"{number}{ending}{match['after']}"

    def _french_ordinal(self, match: re.Match[str]) -> str | None:
        # Voices read the short ending as a letter.
        return f"{match['number']}ème" if self._language == "fr" else None

    def _ordinal_sign(self, number: int, *, ruler: bool) -> str:
        """Return the sign that makes a numeral an ordinal number where it is read as one."""
        if self._language == "it":
            return "º"
        return "º" if ruler and number <= 10 and self._language in {"es", "pt", "gl"} else ""

    def _plus_plus(self, match: re.Match[str]) -> str | None:
        plus = words.PLUS.get(self._language)
        return f"{match.group()[0]} {plus} {plus}" if plus else None

    def _initials(self, match: re.Match[str]) -> str:
        joint = self._locale.conjunction if self._locale is not None else " & "
        return joint.join(" ".join(letters) for letters in match["initials"].split("&"))

    def _numbered(self, match: re.Match[str]) -> str | None:
        return f" {self._number} " if self._number else None

    def _and(self, match: re.Match[str]) -> str | None:
        return f" {self._locale.conjunction.strip()} " if self._locale is not None else None

    def _address(self, match: re.Match[str]) -> str:
        if self._names:
            return read_address(match.group(), names=self._names, digits=str)
        return re.sub(r"[/_-]+", " ", re.sub(r"^https?://", "", match.group())).rstrip()


def _space(match: re.Match[str]) -> str:
    return " "


def _spaced(match: re.Match[str]) -> str:
    plus = "+" if match.group().lstrip(" (").startswith("+") else ""
    groups = [group for group in re.split(r"[^0-9A-Za-z]+", match.group()) if group]
    return plus + ", ".join(" ".join(group) if group.isdigit() else group for group in groups)


def _apart(match: re.Match[str], said: str) -> str:
    """Return what is said, set off by spaces from letters and digits that touch the match."""
    text, start, end = match.string, match.start(), match.end()
    if said == match.group():
        return said
    before = " " if start and text[start - 1].isalnum() else ""
    after = " " if end < len(text) and text[end].isalnum() else ""
    return f"{before}{said}{after}"


@lru_cache(maxsize=256)
def _normalizer(language: str) -> _Normalizer:
    return _Normalizer(language=language)


def normalize_by_cldr(text: str, language: str) -> str:
    """Return a text with everything in words that voices leave out or misread; numbers stay figures.

    Args:
        text: a sentence or more.
        language: a BCP 47 tag.
    """
    return _normalizer(language).normalize(text)
