"""The languages that a text may be in: by its letters, and where several languages share those, by its words."""

from __future__ import annotations

from collections.abc import Iterable

import pycld2  # type: ignore[import-untyped]

from enginehouse.kit.languages import language_of
from enginehouse.kit.scripts import dominant, languages_in
from enginehouse.router.request import MAX_DETECTED

# Of a conversation, the last texts: what comes before may be instructions of the application.
_MAX_TEXTS = 3
# The share of the text, in percent, that the words of one language must make up.
_MIN_SHARE = 70


def detect_languages(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the languages that the first text which shows any may be in; none if that cannot be told.

    One language where the script or the words decide; those that share the script where they do not, such as Hindi and
    Marathi. Latin letters alone tell nothing, and words only if there are enough of them.
    """
    for text, _ in zip(texts, range(_MAX_TEXTS), strict=False):
        found = _detect(text[:MAX_DETECTED])
        if found:
            return found
    return ()


def _detect(text: str) -> tuple[str, ...]:
    script = dominant(text)
    if not script:
        return ()
    sharing = languages_in(script) if script != "Latin" else ()
    if len(sharing) == 1:
        return sharing
    language = _by_words(text)
    if language and (not sharing or language in sharing):
        return (language,)
    return sharing


def _by_words(text: str) -> str:
    try:
        reliable, _, found = pycld2.detect(text.encode("utf-8", "replace"))
    except pycld2.error:
        # It takes some control characters for damaged UTF-8.
        return ""
    _, code, share, _ = found[0]
    return language_of(code) if reliable and code != "un" and share >= _MIN_SHARE else ""
