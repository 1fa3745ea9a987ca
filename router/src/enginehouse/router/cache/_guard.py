"""The guard of the semantic cache: it decides if two questions with similar vectors may share an answer.

Vectors barely change with a digit, a name or a "not". A wrong hit is worse than a miss, so the guard only ever forbids.
It compares numbers (in digits or words), names (words that are capitalised within a sentence, or written all in
capitals), negations, words whose opposite the other question has, question words (who, when, why...), quoted text, and
the script of each question. Questions with the same words in another order count as different. So do questions of
which one has another word in a single place ("measles" for "mumps"). Both rules cost some right hits.
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

# Words that share this many first letters count as forms of one word.
_STEM = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Traits:
    """The traits of a question that must agree before it shares an answer with another.

    Attributes:
        numbers: the numbers, sorted, each as often as it occurs.
        sequence: every word, folded to lower case, in order.
        words: the same as a set.
        asks: the question words.
        names: the words written as names, folded.
        negations: the number of negating words.
        quoted: the texts in quotation marks, unchanged.
        symbols: the signs of operators, currencies and units, sorted.
        script: the script of most letters.
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
    """Return the traits of a question."""
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
    """Return the reason why the two must not share an answer; empty if there is none."""
    if one.script != other.script:
        return "script"
    if one.numbers != other.numbers:
        return "numbers"
    if one.symbols != other.symbols:
        return "symbols"
    if one.quoted != other.quoted:
        return "quotes"
    # A name in one must be in the other, capitalised or not.
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
    """Return whether both have the same words, as singular or plural, in another order."""
    first, second = [word.rstrip("s") for word in one], [word.rstrip("s") for word in other]
    return first != second and sorted(first) == sorted(second)


def _replaced(one: Sequence[str], other: Sequence[str]) -> bool:
    """Return whether exactly one word is replaced by another, and all else is the same."""
    if len(one) != len(other):
        return False
    different = [pair for pair in zip(one, other, strict=True) if pair[0] != pair[1]]
    if len(different) != 1:
        return False
    word, other_word = different[0]
    return not NEUTRAL.issuperset((word, other_word)) and word[:_STEM] != other_word[:_STEM]


def _substituted(words: frozenset[str], others: frozenset[str]) -> bool:
    """Return whether a single word with a meaning of its own is replaced by another."""
    if len(words) != 1 or len(others) != 1:
        return False
    (word,), (other,) = words, others
    return word[:_STEM] != other[:_STEM]


def _weak(words: frozenset[str]) -> set[str]:
    # A weak number counts only if the other question has another number in its place.
    found = {NUMBER_WORDS[word] for word in words if word in NUMBER_WORDS}
    return found if len(found) > 1 else set()


def _negated(words: frozenset[str], others: frozenset[str]) -> bool:
    """Return whether a word is another's with a negating prefix, as in "reversible" and "irreversible"."""
    return any(
        word.startswith(prefix) and len(word) > len(prefix) + 3 and word[len(prefix) :] in others
        for word in words
        for prefix in NEGATING_PREFIXES
    )


def _words(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each word with True if it begins a sentence."""
    for match in _WORD.finditer(text):
        before = text[: match.start()].rstrip(" \t")
        yield match.group(), not before or before[-1] in _SENTENCE_END


def _plain(number: str) -> str:
    """Return a number without the commas that group its thousands: 1000 for 1,000."""
    digits = "".join(str(unicodedata.digit(sign)) if sign.isdigit() else sign for sign in number)
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
