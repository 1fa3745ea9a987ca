"""Whether two questions that look alike may share an answer. Vectors do not see a digit, a name or a "not".

A hit that is wrong is worse than a miss, so the guard only ever forbids. It compares what vectors are blind to:
numbers (in digits or words), names (words that are capitalised where a sentence does not begin, and all in capitals),
negations, words whose opposite the other question has, what is asked for (who, when, why...), what is quoted, and the
script that each is written in. The same words in another order, and a single word put in another's place with all else
the same ("measles" for "mumps"), are taken for another question: that costs hits where they are not.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Iterator, Sequence

from enginehouse.router.cache._guard_words import (
    ASKING,
    FUNCTION,
    MEASURES,
    NEGATING_PREFIXES,
    NEGATIONS,
    NEUTRAL,
    NUMBER_WORDS,
    OPPOSITE,
    WEAK_NUMBERS,
)

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*", re.UNICODE)
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*", re.UNICODE)
_QUOTED = re.compile(r"\"([^\"]{1,200})\"|“([^”]{1,200})”|`([^`]{1,200})`")
_SYMBOLS = re.compile(r"[+*/^=<>%√≤≥≠±×÷$€£₹°]")
_SENTENCE_END = '.?!:;\n"“(—–-'

# Words with this much in common at their beginning are forms of one word.
_STEM = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Traits:
    """What two questions must have in common to share an answer.

    Attributes:
        numbers: the numbers, sorted, each as often as it occurs.
        sequence: every word, folded to lower case, in order.
        words: the same as a set.
        asks: what is asked for, by the question words.
        names: words written as names, folded.
        negations: how many words deny something.
        quoted: what stands in quotation marks, as it is.
        symbols: operators, currencies and units by sign, sorted.
        script: the script that most letters are in.
    """

    numbers: tuple[str, ...]
    sequence: tuple[str, ...]
    words: frozenset[str]
    asks: frozenset[str]
    names: frozenset[str]
    negations: int
    quoted: tuple[str, ...]
    symbols: tuple[str, ...]
    script: str


def traits(text: str) -> Traits:
    """The traits of a question."""
    text = unicodedata.normalize("NFKC", text)
    numbers = [_plain(number) for number in _NUMBER.findall(text)]
    words: list[str] = []
    names: set[str] = set()
    negations = 0
    for word, begins in _words(text):
        folded = word.casefold().replace("’", "'")
        if folded.endswith("'s"):
            folded, word = folded[:-2], word[:-2]
        words.append(folded)
        if folded in NEGATIONS:
            negations += 1
        if folded in NUMBER_WORDS and folded not in WEAK_NUMBERS:
            numbers.append(NUMBER_WORDS[folded])
        if (word[:1].isupper() and not begins and folded != "i") or (len(word) > 1 and word.isupper()):
            names.add(folded)
    return Traits(
        numbers=tuple(sorted(numbers)),
        sequence=tuple(words),
        words=frozenset(words),
        asks=frozenset(_asks(words)),
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
    if one.asks and other.asks and one.asks != other.asks:
        return "question"
    if _reordered(one.sequence, other.sequence):
        return "order"
    only_one, only_other = one.words - other.words, other.words - one.words
    if any(not only_other.isdisjoint(OPPOSITE.get(word, ())) for word in only_one):
        return "opposites"
    if _weak(only_one) != _weak(only_other):
        return "numbers"
    if _negated(only_one, only_other) or _negated(only_other, only_one):
        return "negation"
    replaced = _replaced(one.sequence, other.sequence)
    return "substitution" if replaced or _substituted(only_one - FUNCTION, only_other - FUNCTION) else ""


def _asks(words: Sequence[str]) -> Iterator[str]:
    for at, word in enumerate(words):
        if word in ASKING:
            following = words[at + 1] if at + 1 < len(words) else ""
            yield f"how {following}" if word == "how" and following in MEASURES else word


def _reordered(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether both have the same words, as singular or plural, in another order."""
    first, second = [word.rstrip("s") for word in one], [word.rstrip("s") for word in other]
    return first != second and sorted(first) == sorted(second)


def _replaced(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether one word stands in another's place, and all else is the same."""
    if len(one) != len(other):
        return False
    different = [pair for pair in zip(one, other, strict=True) if pair[0] != pair[1]]
    if len(different) != 1:
        return False
    word, other_word = different[0]
    return not NEUTRAL.issuperset((word, other_word)) and word[:_STEM] != other_word[:_STEM]


def _substituted(words: frozenset[str], others: frozenset[str]) -> bool:
    """Whether one word of meaning stands in another's place."""
    if len(words) != 1 or len(others) != 1:
        return False
    (word,), (other,) = words, others
    return word[:_STEM] != other[:_STEM]


def _weak(words: frozenset[str]) -> set[str]:
    # A weak number differs only where the other question has another number in its place.
    found = {NUMBER_WORDS[word] for word in words if word in NUMBER_WORDS}
    return found if len(found) > 1 else set()


def _negated(words: frozenset[str], others: frozenset[str]) -> bool:
    """Whether one of the words is another's with a prefix that denies it, as in "reversible" and "irreversible"."""
    return any(
        word.startswith(prefix) and len(word) > len(prefix) + 3 and word[len(prefix) :] in others
        for word in words
        for prefix in NEGATING_PREFIXES
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
