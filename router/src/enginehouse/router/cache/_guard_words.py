"""The words that the guard knows: numbers, negations, opposites, question words and function words."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

NUMBER_WORDS: Mapping[str, str] = MappingProxyType(
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
# "One" is a pronoun as often as a number, and "second" is also a unit of time. They count only if another number
# takes their place.
WEAK_NUMBERS = frozenset({"one", "once", "single", "first", "second", "pair"})

_DENYING = (
    "not no never none nobody nothing nowhere neither nor cannot without except excluding unless avoid stop lacks "
    "lacking absent isn't aren't wasn't weren't don't doesn't didn't can't couldn't won't wouldn't shouldn't haven't "
    "hasn't hadn't mustn't needn't ain't లేదు కాదు లేని లేకుండా వద్దు లేవు नहीं मत बिना sin nunca jamás pas jamais "
    "sans nicht kein keine ohne nie non barred banned forbidden prohibited"
)
NEGATIONS = frozenset(_DENYING.split())
NEGATING_PREFIXES = ("un", "non", "in", "im", "ir", "dis", "il")

# Pairs of words of which one in place of the other reverses the question.
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
    "plant|animal plants|animals singular|plural past|future ancient|modern to|from for|against last|this this|next "
    "last|next today|tomorrow today|yesterday tomorrow|yesterday"
)
# Words without a meaning of their own: exchanging them leaves the question the same.
_CARRYING = (
    "a an the of in on at to for from by with into as is are was were be been being am do does did done have has "
    "had having can could will would shall should may might must what which who whom whose when where why how that "
    "this these those it its there here i you he she we they me him her us them my your his our their and or but if "
    "then than so such too very just also only please tell give show explain describe list name say know want need "
    "like way ways kind thing things some any all each every up out about get make let"
)
FUNCTION = frozenset(_CARRYING.split())
# Words that ask for different things ("what" and "which" ask for anything). "How" together with a word of MEASURES,
# such as "how long", counts as a question word of its own.
ASKING = frozenset({"who", "whose", "where", "when", "why", "how"})
_MEASURING = "long many much old far often fast big large tall deep heavy wide high soon likely"
MEASURES = frozenset(_MEASURING.split())
# Words that may replace each other in one place.
_EXCHANGEABLE = (
    "a an the what which can could will would do does did my your our "
    "it that this these those some any each every please"
)
NEUTRAL = frozenset(_EXCHANGEABLE.split())


def _pairs() -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for pair in _OPPOSITES.split():
        one, other = pair.split("|")
        found.setdefault(one, set()).add(other)
        found.setdefault(other, set()).add(one)
    return MappingProxyType({word: frozenset(others) for word, others in found.items()})


OPPOSITE = _pairs()
