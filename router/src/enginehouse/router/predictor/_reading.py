"""The features of a prompt: named numbers from its length, its wording and its structure.

Every prompt has the numbers of `KNOWLEDGE`; `STORY` are those that tell hard from easy among sums told as stories,
and count as far as a prompt is one ("sums"). Counts are taken as logarithms. What a prompt is about is told by
`_words`.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

from enginehouse.router.predictor._words import WordTable

# Characters read from each end of a prompt.
EDGE = 1024

KNOWLEDGE = ("length", "need", "numbers", "symbols", "negation", "statements", "numeric_options")
STORY = (
    "numbers",
    "number_words",
    "people",
    "comparisons",
    "fractions",
    "percentages",
    "multiples",
    "rates",
    "rests",
    "totals",
    "conditions",
    "durations",
)


# Words counted together; none is in two of them, and there are at most 15.
GROUPS: Mapping[str, str] = {
    "number_words": (
        "two three four five six seven eight nine ten eleven twelve fifteen twenty thirty forty fifty hundred thousand "
        "million dozen couple pair"
    ),
    "comparisons": "as than more less fewer older younger taller longer shorter faster slower difference",
    "fractions": "half halves third thirds quarter quarters fourth fourths fifth fifths tenth",
    "percentages": "percent percentage discount interest tax tip profit",
    "multiples": "times twice double doubled triple tripled thrice",
    "rates": "each every per apiece rate speed average ratio hourly daily weekly",
    "rests": "left remaining remain remains rest remainder leftover",
    "totals": "total altogether combined together sum overall both all",
    "conditions": "if then when after before until while unless originally initially",
    "durations": "hour hours minute minutes day days week weeks month months year years second seconds",
    "negation": "not except never false incorrect least cannot neither nor without wrong",
    "statements": "i ii iii iv statement statements",
    "people": "he she his her him they them their",
    "dealings": "buys bought sells sold pays paid has had gives gave gets costs earns spends makes",
}

_PLACES = {name: place for place, name in enumerate(GROUPS, start=1)}
_LOG = tuple(math.log1p(count) for count in range(2 * EDGE + 2))
_RELATIONS = ("fractions", "percentages", "multiples", "rates", "rests", "totals")
_SEPARATORS = bytes.maketrans(
    bytes(byte for byte in range(128) if not chr(byte).isalnum()),
    b" " * sum(not chr(byte).isalnum() for byte in range(128)),
)
_NOT_SYMBOL = bytes(byte for byte in range(256) if chr(byte) not in "=+*/^\\<>|_{}[]~")
# Leaves digits alone of a text, and nothing between those of one number.
_DIGITS = bytes(byte if 48 <= byte <= 57 else 32 for byte in range(256))
_OPTION = re.compile(rb"\n\s*\(?[A-Ea-e][.):]\s*(\S{1,12})")
_QUESTION_MARKS = re.compile(r"\n[ \t]*(?:Q|Question|Problem|Input)[ \t]*\d*[:.]", re.IGNORECASE)
_ANSWER_MARKS = re.compile(r"\n[ \t]*(?:A|Answer|Solution|Output)[ \t]*:[ \t]*\S[^\n]*\n", re.IGNORECASE)
_KEEP = 24


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """The numbers of one prompt by name, and the field that it speaks of most ("" if unknown) with its probability."""

    numbers: dict[str, float]
    field: str
    probability: float


def read(texts: Sequence[str], table: WordTable) -> Reading:
    """Read the texts of a request, oldest first, with a table made for `GROUPS`.

    What costs does not grow with the length beyond twice `EDGE`: of more, both ends are read.
    """
    text, length = _sample(texts)
    asked = _last_question(text)
    if asked is not text:
        length = len(asked)
    raw = asked.encode("utf-8", "replace")
    lower = raw.lower() if asked.isascii() else asked.lower().encode("utf-8", "replace")
    words = lower.translate(_SEPARATORS).split()
    heard = table.read_words(words)
    counts = heard.counts
    quantities = len(raw.translate(_DIGITS, b".,").split())
    offered = list(_OPTION.finditer(raw)) if b"\n" in raw else []
    options = [option[1] for option in offered]
    given = quantities + counts[_PLACES["number_words"]]
    if len(options) > 1:
        # Numbers to choose from are not quantities of a story.
        lower = lower[: offered[0].start()]
        given = len(lower.translate(_DIGITS, b".,").split())
    counts[_PLACES["percentages"]] += raw.count(b"%")
    numbers = {name: _LOG[counts[place]] for name, place in _PLACES.items()}
    numbers["length"] = math.log1p(length)
    numbers["numbers"] = _LOG[quantities]
    numbers["symbols"] = math.log1p(len(raw.translate(None, _NOT_SYMBOL)))
    numbers["options"] = 1.0 if len(options) > 1 else 0.0
    numbers["numeric_options"] = (
        sum(1 for option in options if option.lstrip(b"$-(+.")[:1].isdigit()) / len(options) if options else 0.0
    )
    numbers["sums"] = _sums(
        quantities=given,
        relations=sum([counts[_PLACES[name]] for name in _RELATIONS]) + raw.count(b"$"),
        people=counts[_PLACES["people"]] + counts[_PLACES["dealings"]],
        asks_how_many=b"how many" in lower or b"how much" in lower,
        words=len(words),
        choices=len(options) > 1,
    )
    numbers["need"] = heard.need
    return Reading(numbers, heard.field, heard.probability)


def _sums(*, quantities: int, relations: int, people: int, asks_how_many: bool, words: int, choices: bool) -> float:
    """Return how much of a story with sums a prompt is, 0 to 1: quantities close together, related, asked for.

    Where there are answers to choose from, people are told of in cases and passages too, with numbers here and there:
    there a story must ask for a number, or be dense with related ones.
    """
    if not quantities:
        return 0.0
    told = relations + people / 2 + 3 * asks_how_many
    close = min(1.0, quantities / words / 0.04) if words else 0.0
    if choices:
        close *= close
        if not asks_how_many:
            told = relations
    return min(1.0, 1.8 * close * quantities**2 / (quantities**2 + 2) * told / (told + 1))


def _sample(texts: Sequence[str]) -> tuple[str, int]:
    """Both ends of the texts together, and the length of all of them in characters."""
    length = sum(map(len, texts))
    if len(texts) == 1:
        text = texts[0]
    elif length <= 2 * EDGE:
        text = "\n".join(texts)
    else:
        text = "\n".join(_ends(texts))
    if len(text) > 2 * EDGE:
        text = f"{text[:EDGE]}\n{text[-EDGE:]}"
    return text, length


def _ends(texts: Sequence[str]) -> Sequence[str]:
    """Of many texts, only as many from both ends as are read."""
    first: list[str] = []
    last: list[str] = []
    seen = 0
    for text in texts:
        first.append(text[:EDGE])
        seen += len(text)
        if seen >= EDGE:
            break
    seen = 0
    for text in reversed(texts[len(first) :]):
        last.append(text[-EDGE:])
        seen += len(text)
        if seen >= EDGE:
            break
    return [*first, *reversed(last)]


def _last_question(text: str) -> str:
    """The text without worked examples before its last question: they don't make what is asked harder."""
    if ":" not in text or "\n" not in text:
        return text
    start = 0
    for asked in _QUESTION_MARKS.finditer(text):
        start = asked.end()
    for answered in _ANSWER_MARKS.finditer(text, start):
        if len(text) - answered.end() >= _KEEP:
            start = answered.end()
    rest = text[start:].strip() if start else text
    return rest if len(rest) >= _KEEP else text
