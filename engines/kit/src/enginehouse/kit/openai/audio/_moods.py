"""The emotions that free instructions ask for, and those that they rule out."""

from __future__ import annotations

import re

_MOODS = {
    "happy": "happy", "happily": "happy", "cheerful": "happy", "cheerfully": "happy", "joyful": "happy",
    "warm": "tender", "warmly": "tender", "tender": "tender", "tenderly": "tender", "gentle": "tender",
    "gently": "tender", "soothing": "tender", "calm": "neutral", "calmly": "neutral", "neutral": "neutral",
    "sad": "sad", "sadly": "sad", "melancholic": "sad", "angry": "angry", "angrily": "angry", "furious": "angry",
    "excited": "excited", "excitedly": "excited", "enthusiastic": "excited", "energetic": "excited",
    "fearful": "fearful", "scared": "fearful", "afraid": "fearful", "anxious": "fearful",
}  # fmt: skip
"""Emotions by the words that people write for them."""
_NOT = re.compile(
    r"(?:not(?!\s+(?:only|just|merely)\b)|no|never|neither|nor|without|avoid(?:ing)?|stop|less|hardly|barely|cannot|dont"
    r"|isnt|wont|shouldnt|lest|anything\s+but|instead\s+of|rather\s+than|free\s+of|lacking|refrain|\w+n['’]t)\b"
)
"""Words that turn what follows into its opposite."""
_TURN = re.compile(r"(?:but|instead|though|yet|however|rather(?!\s+than\b)|just|only|be|sound|speak|stay|keep|use)\b")
"""Words with which what is wanted begins again, after a comma or a negation."""
_CONTRARY = frozenset({"but", "instead", "though", "yet", "however"})
"""Words that end a negation wherever they stand."""
_TOKEN = re.compile(r"anything\s+but\b|instead\s+of\b|rather\s+than\b|\w+n['’]t\b|\w+|[.,;:!?\n–—]")


def read_moods(instructions: str) -> tuple[list[str], list[str]]:
    """Return the emotions that are asked for, and the words of those that are ruled out, both in order.

    A negation holds to the end of its clause: "not sad or angry, but happy" rules out two and asks for one.
    """
    text = instructions.lower()
    wanted: list[str] = []
    unwanted: list[str] = []
    negated = comma = listed = False
    for token in _TOKEN.finditer(text):
        word = token.group()
        if word in ".;:!?\n–—":
            negated = comma = False
        elif word == ",":
            # A list goes on after a comma: "not sad, angry or afraid". Nothing else does: "not too fast, cheerful".
            comma, negated = True, negated and listed
        elif _NOT.match(text, token.start()) is not None:
            negated, comma, listed = True, False, False
        elif negated and (word in _CONTRARY or (comma and _TURN.match(text, token.start()) is not None)):
            negated = comma = False
        elif word in _MOODS:
            if negated:
                unwanted.append(word)
                listed = True
            else:
                wanted.append(_MOODS[word])
            comma = False
    return list(dict.fromkeys(wanted)), list(dict.fromkeys(unwanted))
