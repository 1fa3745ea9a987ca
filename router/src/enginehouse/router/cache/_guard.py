"""Whether two questions that look alike may share an answer. Vectors do not see a digit, a name or a "not".

A hit that is wrong is worse than a miss, so the guard only ever forbids. It compares what vectors are blind to:
numbers (in digits or words), names (words that are capitalised where a sentence does not begin, and all in capitals),
negations, words whose opposite the other question has, what is quoted, and the script that each is written in. And a
single word put in another's place, with all else the same, is taken for another question ("measles" for "mumps"): that
costs hits where the two are synonyms.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Iterator, Mapping
from types import MappingProxyType

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*", re.UNICODE)
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*", re.UNICODE)
_QUOTED = re.compile(r"\"([^\"]{1,200})\"|“([^”]{1,200})”|`([^`]{1,200})`")
_SYMBOLS = re.compile(r"[+*/^=<>%√≤≥≠±×÷$€£₹°]")
_SENTENCE_END = '.?!:;\n"“(—–-'

_NUMBER_WORDS: Mapping[str, str] = MappingProxyType(
    {
        word: str(value)
        for value, words in {
            0: "zero", 1: "one once first single", 2: "two twice second double pair", 3: "three third triple thrice",
            4: "four fourth", 5: "five fifth", 6: "six sixth", 7: "seven seventh", 8: "eight eighth", 9: "nine ninth",
            10: "ten tenth", 11: "eleven eleventh", 12: "twelve twelfth dozen", 13: "thirteen thirteenth",
            14: "fourteen fourteenth", 15: "fifteen fifteenth", 16: "sixteen sixteenth", 17: "seventeen seventeenth",
            18: "eighteen eighteenth", 19: "nineteen nineteenth", 20: "twenty twentieth", 30: "thirty", 40: "forty",
            50: "fifty", 60: "sixty", 70: "seventy", 80: "eighty", 90: "ninety", 100: "hundred", 1000: "thousand",
            1_000_000: "million", 1_000_000_000: "billion",
        }.items()
        for word in words.split()
    }
)  # fmt: skip
# "One" is a pronoun as often as a number, and "second" a unit of time: they count only beside each other.
_WEAK_NUMBERS = frozenset({"one", "once", "single", "first", "second", "pair"})

_DENYING = (
    "not no never none nobody nothing nowhere neither nor cannot without except excluding unless avoid stop lacks "
    "lacking absent isn't aren't wasn't weren't don't doesn't didn't can't couldn't won't wouldn't shouldn't haven't "
    "hasn't hadn't mustn't needn't ain't లేదు కాదు లేని లేకుండా వద్దు లేవు नहीं मत बिना sin nunca jamás pas jamais "
    "sans nicht kein keine ohne nie"
)
_NEGATIONS = frozenset(_DENYING.split())
_NEGATING_PREFIXES = ("un", "non", "in", "im", "ir", "dis", "il")

# Pairs where one word instead of the other turns the question round.
_OPPOSITES = (
    "before|after earlier|later increase|decrease increases|decreases increasing|decreasing more|less most|least "
    "maximum|minimum max|min largest|smallest biggest|smallest highest|lowest higher|lower longest|shortest "
    "longer|shorter fastest|slowest faster|slower oldest|youngest older|younger newest|oldest first|last start|end "
    "begin|end starts|ends begins|ends open|close opens|closes up|down above|below over|under left|right in|out "
    "inside|outside import|export imports|exports buy|sell buying|selling add|remove add|subtract multiply|divide "
    "enable|disable on|off true|false win|lose won|lost pros|cons advantages|disadvantages advantage|disadvantage "
    "benefits|risks positive|negative hot|cold warm|cold north|south east|west summer|winter morning|evening "
    "day|night male|female man|woman men|women boy|girl father|mother son|daughter brother|sister king|queen "
    "ascending|descending upper|lower public|private internal|external input|output encode|decode encrypt|decrypt "
    "compress|decompress upload|download push|pull read|write sync|async lend|borrow teacher|student "
    "acid|base cause|effect causes|effects question|answer safe|dangerous legal|illegal best|worst good|bad "
    "better|worse cheapest|dearest easy|hard allow|forbid accept|reject arrive|depart arrival|departure "
    "expand|contract rise|fall rises|falls gain|loss freeze|melt boil|freeze evaporate|condense "
    "plant|animal plants|animals singular|plural past|future ancient|modern"
)
# Words that carry no subject: a question with others of them is the same question.
_CARRYING = (
    "a an the of in on at to for from by with into as is are was were be been being am do does did done have has "
    "had having can could will would shall should may might must what which who whom whose when where why how that "
    "this these those it its there here i you he she we they me him her us them my your his our their and or but if "
    "then than so such too very just also only please tell give show explain describe list name say know want need "
    "like way ways kind thing things some any all each every up out about get make let"
)
_FUNCTION = frozenset(_CARRYING.split())
# Words with this much in common at their beginning are forms of one word.
_STEM = 4


def _pairs() -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for pair in _OPPOSITES.split():
        one, other = pair.split("|")
        found.setdefault(one, set()).add(other)
        found.setdefault(other, set()).add(one)
    return MappingProxyType({word: frozenset(others) for word, others in found.items()})


_OPPOSITE = _pairs()


@dataclasses.dataclass(frozen=True, slots=True)
class Traits:
    """What two questions must have in common to share an answer.

    Attributes:
        numbers: the numbers, sorted, each as often as it occurs.
        words: every word, folded to lower case.
        names: words written as names, folded.
        negations: how many words deny something.
        quoted: what stands in quotation marks, as it is.
        symbols: operators, currencies and units by sign, sorted.
        script: the script that most letters are in.
    """

    numbers: tuple[str, ...]
    words: frozenset[str]
    names: frozenset[str]
    negations: int
    quoted: tuple[str, ...]
    symbols: tuple[str, ...]
    script: str


def traits(text: str) -> Traits:
    """The traits of a question."""
    text = unicodedata.normalize("NFKC", text)
    numbers = [_plain(number) for number in _NUMBER.findall(text)]
    words: set[str] = set()
    names: set[str] = set()
    negations = 0
    for word, begins in _words(text):
        folded = word.casefold().replace("’", "'")
        if folded.endswith("'s"):
            folded, word = folded[:-2], word[:-2]
        words.add(folded)
        if folded in _NEGATIONS:
            negations += 1
        if folded in _NUMBER_WORDS and folded not in _WEAK_NUMBERS:
            numbers.append(_NUMBER_WORDS[folded])
        if (word[:1].isupper() and not begins and folded != "i") or (len(word) > 1 and word.isupper()):
            names.add(folded)
    return Traits(
        numbers=tuple(sorted(numbers)),
        words=frozenset(words),
        names=frozenset(names),
        negations=negations,
        quoted=tuple(sorted(next(part for part in found if part) for found in _QUOTED.findall(text))),
        symbols=tuple(sorted(_SYMBOLS.findall(text))),
        script=_script(text),
    )


def conflict(one: Traits, other: Traits) -> str:
    """Why the two must not share an answer; empty where nothing speaks against it."""
    if one.script != other.script:
        return "script"
    if one.numbers != other.numbers:
        return "numbers"
    if one.symbols != other.symbols:
        return "symbols"
    if one.quoted != other.quoted:
        return "quotes"
    # A name in one must be in the other, however it is written there.
    if not (one.names <= other.words and other.names <= one.words):
        return "names"
    if (one.negations > 0) != (other.negations > 0):
        return "negation"
    only_one, only_other = one.words - other.words, other.words - one.words
    if any(not only_other.isdisjoint(_OPPOSITE.get(word, ())) for word in only_one):
        return "opposites"
    if _weak(only_one) != _weak(only_other):
        return "numbers"
    if _negated(only_one, only_other) or _negated(only_other, only_one):
        return "negation"
    return "substitution" if _substituted(only_one - _FUNCTION, only_other - _FUNCTION) else ""


def _substituted(words: frozenset[str], others: frozenset[str]) -> bool:
    """Whether one word of meaning stands in another's place."""
    if len(words) != 1 or len(others) != 1:
        return False
    (word,), (other,) = words, others
    return word[:_STEM] != other[:_STEM]


def _weak(words: frozenset[str]) -> set[str]:
    # A weak number differs only where the other question has another number in its place.
    found = {_NUMBER_WORDS[word] for word in words if word in _NUMBER_WORDS}
    return found if len(found) > 1 else set()


def _negated(words: frozenset[str], others: frozenset[str]) -> bool:
    """Whether one of the words is another's with a prefix that denies it, as in "reversible" and "irreversible"."""
    return any(
        word.startswith(prefix) and len(word) > len(prefix) + 3 and word[len(prefix) :] in others
        for word in words
        for prefix in _NEGATING_PREFIXES
    )


def _words(text: str) -> Iterator[tuple[str, bool]]:
    """Each word, and whether a sentence begins with it."""
    for match in _WORD.finditer(text):
        before = text[: match.start()].rstrip(" \t")
        yield match.group(), not before or before[-1] in _SENTENCE_END


def _plain(number: str) -> str:
    """A number without what groups its thousands: 1,000 is 1000."""
    digits = "".join(str(unicodedata.digit(one)) if one.isdigit() else one for one in number)
    return digits.replace(",", "") if re.fullmatch(r"\d{1,3}(,\d{2,3})+(\.\d+)?", digits) else digits


def _script(text: str) -> str:
    counts: dict[str, int] = {}
    for letter in text[:2000]:
        if letter.isascii():
            name = "LATIN" if letter.isalpha() else ""
        else:
            name = unicodedata.name(letter, "").partition(" ")[0] if letter.isalpha() else ""
        if name:
            counts[name] = counts.get(name, 0) + 1
    return max(counts, key=lambda name: counts[name], default="")
