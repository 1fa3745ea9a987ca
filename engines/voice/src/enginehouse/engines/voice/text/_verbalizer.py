"""Verbalize sentences: choose the language and the voice of their parts, and normalize their text.

A sentence has one language, by the script of most of its letters. A few Latin words in it, such as a name or a brand,
are left to the same voice, as voices of every language read those; four or more in a row are spoken in their own
language. Letters that the language is not written in (a Telugu word in an English sentence) are always spoken in their
own.

If a language was requested, everything that it can be written in is spoken in it, Latin letters included.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from enginehouse.engines.voice.backends.base import Prosody, Utterance
from enginehouse.engines.voice.text._characters import Cleaner, is_sayable
from enginehouse.engines.voice.text._lexicon import Lexicon
from enginehouse.engines.voice.text._normalize import normalize
from enginehouse.engines.voice.text._plan import Controls, Say
from enginehouse.engines.voice.text._say_as import SPELL_OUT_KINDS, say_as
from enginehouse.engines.voice.text._style import Style
from enginehouse.engines.voice.text.normalization.rules import tidy
from enginehouse.engines.voice.text.segmentation.cuts import pieces
from enginehouse.kit.languages import nearest_tag
from enginehouse.kit.scripts import (
    ScriptRun,
    dominant,
    language_of_script,
    readable,
    reads,
    runs,
    written_in,
)

_WORDS = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_MARKS_AFTER = re.compile(r"[.,;:!?…।'\"”’)\]]*")
_FOREIGN_WORDS = 4
"""The number of consecutive Latin words that are spoken in their own language."""
_FIRST_PLACEHOLDER = 0xF0000
_PLACEHOLDERS = re.compile(r"[\U000f0000-\U000ffffd]")


@dataclass(frozen=True, slots=True)
class SpeechOverride:
    """An SSML element's instruction for speaking its text."""

    kind: str
    """A kind of say-as, or "sub"."""
    alias: str = ""
    """The replacement, for "sub"."""
    date_format: str = ""
    """The order of a date's parts; empty to guess it."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of a sentence."""

    text: str
    """The written text."""
    override: SpeechOverride | None = None
    """Set if an element overrides how it is spoken."""

    @property
    def spelled(self) -> bool:
        """True if it is spelled out letter by letter."""
        return self.override is not None and self.override.kind in SPELL_OUT_KINDS


@dataclass(frozen=True, slots=True)
class _VoiceChoice:
    """The language and the voice of a part of a sentence."""

    language: str
    voice: str
    rules: str
    """The language whose rules normalize the text."""


class Verbalizer:
    """Verbalizer of the sentences of one text, in order: a sentence without letters takes the script of the preceding
    one.

    Args:
        controls: the voice, language and prosody.
    """

    def __init__(self, *, controls: Controls) -> None:
        self._controls = controls
        self._cleaner = Cleaner()
        clean = self._cleaner.clean
        self._lexicon = Lexicon([(clean(word), clean(say).strip()) for word, say in controls.lexicon])
        self._prosodies: dict[Style, tuple[Prosody, float]] = {}
        self._script = ""
        self._japanese = False

    def script_of(self, text: str) -> str:
        """Return the script of a sentence: of most of its letters, or of the preceding sentence if it has none."""
        self._script = dominant(text) or self._script
        self._japanese = self._japanese or self._script == "Kana"
        return self._script

    def verbalize(self, fragments: Sequence[Fragment], style: Style, *, script: str) -> list[Say]:
        """Return the utterances of fragments of a sentence with one style; empty if nothing can be spoken.

        Args:
            fragments: the fragments; one that is spelled out comes alone.
            style: their style.
            script: the script of the whole sentence, by `script_of`.
        """
        if len(fragments) == 1 and fragments[0].spelled:
            text = self._cleaner.clean(fragments[0].text).strip()
            return self._split_to_utterances(text, self._choose_voice(script, style), style, spell=True)
        text = ""
        overrides: list[Fragment] = []
        for fragment in fragments:
            if fragment.override is None:
                text += self._lexicon.apply(self._cleaner.clean(fragment.text))
            else:
                text += chr(_FIRST_PLACEHOLDER + len(overrides))
                overrides.append(fragment)
        utterances = []
        for part, choice in self._language_parts(text, style, script):
            normalized = tidy(part) if self._controls.verbatim else normalize(part, choice.rules)
            if overrides:
                normalized = self._fill_placeholders(normalized, overrides, choice)
            utterances += self._split_to_utterances(normalized, choice, style)
        return utterances

    def _split_to_utterances(self, text: str, choice: _VoiceChoice, style: Style, *, spell: bool = False) -> list[Say]:
        prosody, volume_db = self._prosody(style)
        return [
            Say(
                Utterance(text=piece, language=choice.language, voice=choice.voice, prosody=prosody, spell=spell),
                volume_db,
            )
            for piece in (pieces(text, self._controls.max_length) if len(text) > self._controls.max_length else (text,))
            if spell or is_sayable(piece)
        ]

    def _prosody(self, style: Style) -> tuple[Prosody, float]:
        """Return the prosody and the volume of a style."""
        if style not in self._prosodies:
            self._prosodies[style] = style.prosody, style.bounded_volume_db
        return self._prosodies[style]

    def _fill_placeholders(self, text: str, overrides: Sequence[Fragment], choice: _VoiceChoice) -> str:
        """Return the text with the words of overrides in place of their placeholders."""
        return tidy(
            _PLACEHOLDERS.sub(
                lambda match: self._verbalize_override(overrides[ord(match.group()) - _FIRST_PLACEHOLDER], choice), text
            )
        )

    def _verbalize_override(self, fragment: Fragment, choice: _VoiceChoice) -> str:
        assert fragment.override is not None
        if fragment.override.kind != "sub":
            text = self._cleaner.clean(fragment.text).strip()
            return say_as(fragment.override.kind, text, fragment.override.date_format, choice.rules)
        alias = self._cleaner.clean(fragment.override.alias)
        return tidy(alias) if self._controls.verbatim else normalize(alias, choice.rules)

    def _language_parts(self, text: str, style: Style, script: str) -> Iterator[tuple[str, _VoiceChoice]]:
        """Yield the text part by part, each with its language and voice."""
        main = self._choose_voice(script, style)
        at = 0
        if not text.isascii() or script != "Latin":
            for run in self._foreign(text, main):
                choice = self._choose_voice(run.script, style)
                few = run.script == "Latin" and len(_WORDS.findall(text[run.start : run.end])) < _FOREIGN_WORDS
                if choice == main or few:
                    continue
                marks = _MARKS_AFTER.match(text, run.end)
                end = marks.end() if marks is not None else run.end
                yield text[at : run.start], main
                yield text[run.start : end], choice
                at = end
        yield text[at:], main

    def _foreign(self, text: str, main: _VoiceChoice) -> list[ScriptRun]:
        """Return the runs of letters that the sentence's language is not written in, each with everything between its
        words except other letters."""
        own = written_in(main.language)
        found: list[ScriptRun] = []
        ended = True
        for run in runs(text) if own else ():
            if run.script in own:
                ended = True
            elif found and not ended and found[-1].script == run.script:
                found[-1] = ScriptRun(run.script, found[-1].start, run.end)
            else:
                found.append(run)
                ended = False
        return found

    def _choose_voice(self, script: str, style: Style) -> _VoiceChoice:
        """Return the language and the voice for letters of a script."""
        own = self._controls.voices.get(style.voice, ())
        if style.language and (not script or readable(script, style.language)):
            # A voice that cannot read the language would mumble: the model's own for it does better.
            voice = style.voice if reads(own, style.language) else ""
            return _VoiceChoice(style.language, voice, style.language)
        if not script:
            language = own[0] if own else self._spoken("en", script)
            return _VoiceChoice(language, style.voice, language)
        suiting = next((language for language in own if script in written_in(language)), "")
        if suiting:
            return _VoiceChoice(suiting, style.voice, suiting)
        if own and not style.language and script == "Latin":
            return _VoiceChoice(own[0], style.voice, "en")
        language = "ja" if script == "Han" and self._japanese else language_of_script(script, default="en")
        language = self._spoken(language, script)
        return _VoiceChoice(language, "" if own else style.voice, language)

    def _spoken(self, language: str, script: str) -> str:
        """Return a language that a script suggests, or one of the same script that the model speaks instead."""
        known = self._controls.languages
        if not known or nearest_tag(language, known) is not None:
            return language
        alike = (tag for tag in known if script in written_in(tag))
        return next(alike, known[0] if script in ("", "Latin") else language)
