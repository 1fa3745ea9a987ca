"""Words that are said otherwise than they are written."""

from __future__ import annotations

import re
from collections.abc import Sequence

from enginehouse.engines.voice.text._characters import WORD

_TOKEN = re.compile(rf"[{WORD}]+|[^{WORD}\s]")


class Lexicon:
    """Replaces words, the longest entry first. Linear in the text, however many entries there are.

    Args:
        entries: what is written, and what is said instead. An entry matches whole words, without regard to case; of
            two entries for the same word the first counts. Those that are blank match nothing.
    """

    def __init__(self, entries: Sequence[tuple[str, str]]) -> None:
        self._says: dict[str, str] = {}
        lengths: dict[str, set[int]] = {}
        for word, say in entries:
            key = _fold(" ".join(word.split()))
            first = _TOKEN.match(key)
            if first is None or key in self._says:
                continue
            self._says[key] = say
            lengths.setdefault(first.group(), set()).add(len(key))
        self._lengths = {first: sorted(found, reverse=True) for first, found in lengths.items()}
        """By an entry's first word: how long the entries are."""

    def apply(self, text: str) -> str:
        """The text with what is said in place of what is written. What was put in is not looked up again."""
        if not self._says:
            return text
        folded = _fold(text)
        out, done = [], 0
        for token in _TOKEN.finditer(folded):
            at = token.start()
            if at < done:
                continue
            for length in self._lengths.get(token.group(), ()):
                end = at + length
                say = self._says.get(folded[at:end])
                if say is not None and _whole(folded, at, end):
                    out += [text[done:at], say]
                    done = end
                    break
        return "".join([*out, text[done:]])


_IN_WORD = re.compile(rf"[{WORD}]")


def _whole(text: str, start: int, end: int) -> bool:
    """Return whether no word goes on over either end."""
    return not (
        (_in_word(text, start - 1) and _in_word(text, start)) or (_in_word(text, end - 1) and _in_word(text, end))
    )


def _in_word(text: str, at: int) -> bool:
    return 0 <= at < len(text) and _IN_WORD.match(text, at) is not None


def _fold(text: str) -> str:
    """Small letters, each in the place of its own: the few that would become two stay as they are."""
    small = text.lower()
    if len(small) == len(text):
        return small
    return "".join(lower if len(lower := character.lower()) == 1 else character for character in text)
