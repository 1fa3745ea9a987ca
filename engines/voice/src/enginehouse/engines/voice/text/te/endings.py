"""Telugu case endings and nouns after a number, which change its words."""

from __future__ import annotations

import re

from enginehouse.engines.voice.text.normalization.tables import any_of
from enginehouse.engines.voice.text.te.numbers import NumberForm, oblique

LETTER = r"[\u0c00-\u0c7f\u200c\u200d]"
"""A regular expression for a Telugu letter or sign."""

_ENDINGS = (
    *("కి", "కు", "కే", "కీ", "కూ", "కల్లా", "లో", "లోని", "లోనే", "లోనూ", "లోపు", "లోగా", "తో", "తోనే", "ని", "నీ", "ను"),
    *("న", "నే", "నూ", "నాటి", "నాటికి", "గా", "గానే", "దాకా", "పై", "పైన", "పైగా", "ద్వారా"),
)
"""Endings that are joined to a number, and words that follow one without being counted."""
_ADPOSITIONS = (
    *("నుండి", "నుంచి", "వరకు", "కంటే", "కన్నా", "మీద", "కోసం", "చొప్పున", "మధ్య", "లోపల"),
    *("నాడు", "వద్ద"),
)
_MEASURED = ("దూర", "ఎత్తు", "పొడవు", "వెడల్పు", "లోతు", "వేగ", "బరువు", "విలువ", "మేర", "పాటు")
"""Beginnings of words for the measured quantity: they follow amounts as endings do."""
_OTHERS = (
    *("మరియు", "లేదా", "కాగా", "మాత్రమే"),
    *("ఉన్న", "ఉంది", "ఉంటా", "ఉంటుంది", "ఉండ", "అయ్యా", "అయిం", "అయి", "అవుతా", "అవుతుంది", "అని", "కాదు", "కావాలి"),
    *("కానీ", "కాబట్టి", "వచ్చా", "వచ్చింది", "దాటిం", "దాటా", "ఇచ్చా", "ఇస్తా", "తీసుక", "చెల్లిం", "పెరిగ", "తగ్గ", "అంటే"),
)
_JOINED = re.compile(rf"{any_of(_ENDINGS)}(?!{LETTER})")
_TELUGU = re.compile(LETTER)
_FOLLOWING = re.compile(
    rf"\s(?:(?P<ending>{any_of((*_ENDINGS, *_ADPOSITIONS))}(?!{LETTER})|{any_of(_MEASURED)})"
    rf"|(?P<other>{any_of(_OTHERS)})|(?P<noun>{LETTER}|[a-z]{{2}}))"
)
_RANGE = re.compile(r"\s?[-–—]\s?[0-9]")


def form_after(text: str, end: int) -> NumberForm:
    """Return the form of a number before the text at `end`."""
    if _JOINED.match(text, end) is not None or _RANGE.match(text, end) is not None:
        return NumberForm.ENDING
    if _TELUGU.match(text, end) is not None:
        return NumberForm.NOUN
    following = _FOLLOWING.match(text, end)
    if following is None or following["other"]:
        return NumberForm.ALONE
    return NumberForm.ENDING if following["ending"] else NumberForm.NOUN


def joined(match: re.Match[str], words: str) -> str:
    """Return the words for a match, set off from the neighbouring words, or in the form for the ending that follows."""
    text, start, end = match.string, match.start(), match.end()
    if start and (text[start - 1].isalnum() or _TELUGU.match(text, start - 1) is not None):
        words = f" {words}"
    ending = _JOINED.match(text, end)
    if ending is not None:
        if words.endswith("ం") and ending.group() in {"కి", "కు", "కే", "కీ", "కూ"}:
            # శాతం and కి are joined to శాతానికి.
            return f"{words[:-1]}ాని"
        return oblique(words)
    following = _FOLLOWING.match(text, end)
    if following is not None and following["ending"]:
        return oblique(words)
    touches = end < len(text) and (text[end].isalnum() or _TELUGU.match(text, end) is not None)
    return f"{words} " if touches else words
