"""The names of a model's own voices, and the voice that a name in a request means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from enginehouse.engines.voice.backends.base import VoiceInfo
from enginehouse.engines.voice.text import UnknownVoice
from enginehouse.kit.languages import canonical_case, fold_tag, is_tag, nearest_tag
from enginehouse.kit.nearest import nearest_names
from enginehouse.kit.validation import shorten
from enginehouse.kit.voice_names import OPENAI_VOICES, language_voice

_MAX_SUGGESTIONS = 3
# A slip of the pen, rather than a name of another kind.
_ALIKE = 0.75
_LIST = "ListVoices, GET /v1/audio/voices and `enginehouse voices` list all"


class NamedVoices(Protocol):
    """A model's voices; a `SpeakerInfo` has them."""

    @property
    def voices(self) -> Sequence[VoiceInfo]:
        """Its own voices."""

    @property
    def aliases(self) -> Mapping[str, str]:
        """Other names, each for a voice's id or for a variant alone."""

    @property
    def variants(self) -> Sequence[str]:
        """The variants that go with every voice, such as "f3" in "en-us+f3"."""


class VoiceNames:
    """Finder of a model's own voices.

    A name is, in this order, the id of a voice, an alias, one of OpenAI's names, or a language tag, which means the
    nearest voice of that language. Names match in any case. A variant that follows any of them stays, and alone it
    speaks the language of the text.

    Args:
        model: the model's name, for errors.
        speaker: the model.
    """

    def __init__(self, *, model: str, speaker: NamedVoices) -> None:
        self._model = model
        self._variants = {fold_tag(variant): variant for variant in speaker.variants}
        # A voice with a variant is found by its two parts: there are thousands of such voices.
        plain = [voice for voice in speaker.voices if not (self._variants and "+" in voice.voice_id)]
        self._ids = {fold_tag(voice.voice_id): voice.voice_id for voice in plain}
        self._aliases = dict.fromkeys(OPENAI_VOICES, "") | {fold_tag(a): voice for a, voice in speaker.aliases.items()}
        self._best = _best_by_tag(plain)
        self.languages: Mapping[str, Sequence[str]] = _VoiceLanguages(
            {voice.voice_id: voice.languages for voice in plain}, variants=frozenset(speaker.variants)
        )
        """The languages of the voices by id, each voice's own first; not of variants alone, which speak all."""
        self.tags = self._best.keys()
        """The folded tags of the languages that the voices speak."""

    @property
    def registered(self) -> Sequence[str]:
        """The names that the registry has: ids, aliases, and variants alone."""
        return [*self._ids.values(), *self._aliases, *(f"+{variant}" for variant in self._variants.values())]

    def find(self, name: str) -> str | None:
        """Return the id of the voice that a name means; empty for the model's own for each language, and only the
        variant ("+f3") for the variant of that one; None if there is no such voice.
        """
        wanted, plus, variant = fold_tag(name).partition("+")
        found = "" if plus and not wanted else self._find_plain(wanted)
        if found is None or not plus:
            return found
        return found.partition("+")[0] + "+" + self._variants[variant] if variant in self._variants else None

    def fault(self, name: str) -> str:
        """Return why a name means no voice, in words."""
        wanted = fold_tag(name).partition("+")[0]
        fault = f"{self._model!r} has no voice {shorten(name)}"
        if not wanted or self._find_plain(wanted) is not None:
            return fault if self._variants else f"{fault}: its voices have no variants"
        if is_tag(wanted) and nearest_tag(wanted, self._best) is None:
            return f"{fault}, and speaks no such language"
        return fault

    def near(self, name: str) -> Sequence[str]:
        """Return at most three names of voices that are most like one that means none; languages for a language."""
        wanted, plus, variant = fold_tag(name).partition("+")
        if not wanted or self._find_plain(wanted) is not None:
            return [f"{wanted}+{known}" for known in _nearest(variant, self._variants)]
        known = {alias: alias for alias in self._aliases} | self._ids
        near = nearest_names(wanted, known, count=_MAX_SUGGESTIONS, cutoff=_ALIKE)
        if is_tag(wanted) and nearest_tag(wanted, self._best) is None:
            known = {tag: canonical_case(tag) for tag in self._best} | known
            near += _nearest(wanted, self._best)
        else:
            near += _nearest(wanted, known)
        ending = plus + variant if variant in self._variants else ""
        return [known[match] + ending for match in dict.fromkeys(near)][:_MAX_SUGGESTIONS]

    def _find_plain(self, wanted: str) -> str | None:
        if wanted in self._ids:
            return self._ids[wanted]
        if wanted in self._aliases:
            return self._aliases[wanted]
        tag = language_voice(wanted, self._best)
        return None if tag is None else self._best[tag]


def find_voice(name: str, *, model: str, models: Mapping[str, VoiceNames]) -> str:
    """Return the id of the voice that a name means for a model, as `VoiceNames.find` does.

    Args:
        name: the name in the request.
        model: the model that is to speak.
        models: the names of every model's voices, by model.

    Raises:
        UnknownVoice: names the models that have the voice, or else the nearest three voices of all models.
    """
    own = models[model]
    found = own.find(name)
    if found is not None:
        return found
    able = [other for other, names in models.items() if names.find(name) is not None]
    if able:
        hint = f"; use the model {' or '.join(map(repr, able[:_MAX_SUGGESTIONS]))}, which has it"
    else:
        whose = dict.fromkeys(own.near(name), model)
        for other, names in models.items():
            whose = dict.fromkeys(names.near(name), other) | whose
        near = _nearest(fold_tag(name), whose)
        groups = [(other, [match for match in near if whose[match] == other]) for other in (model, *models)]
        parts = [_shown(matches, "" if other == model else other) for other, matches in dict(groups).items() if matches]
        hint = f"; the nearest are {', '.join(parts)}" if parts else ""
    raise UnknownVoice(f"{own.fault(name)}{hint} ({_LIST})")


def _shown(names: Sequence[str], model: str) -> str:
    shown = ", ".join(map(repr, names))
    return f"{shown} of {model!r}" if model else shown


class _VoiceLanguages(Mapping[str, Sequence[str]]):
    """The languages of voices by id. A voice with a variant speaks those of the one without."""

    def __init__(self, plain: Mapping[str, Sequence[str]], *, variants: frozenset[str]) -> None:
        self._plain = plain
        self._variants = variants

    def __getitem__(self, voice_id: str) -> Sequence[str]:
        if voice_id in self._plain:
            return self._plain[voice_id]
        plain, _, variant = voice_id.partition("+")
        if variant not in self._variants:
            raise KeyError(voice_id)
        return self._plain[plain]

    def __iter__(self) -> Iterator[str]:
        for plain in self._plain:
            yield plain
            yield from (f"{plain}+{variant}" for variant in self._variants)

    def __len__(self) -> int:
        return len(self._plain) * (1 + len(self._variants))


def _best_by_tag(voices: Sequence[VoiceInfo]) -> dict[str, str]:
    """Return the id of the best voice for each folded tag: the one that has it first among its languages, and of those
    the one of the region that the language is named after, or of the shortest id.
    """
    ranked = []
    for voice in voices:
        first, _, region = fold_tag(voice.languages[0]).partition("-") if voice.languages else ("", "", "")
        for place, tag in enumerate(voice.languages):
            rank = (place, region not in ("", first), len(voice.voice_id), voice.voice_id)
            ranked.append((rank, fold_tag(tag)))
    best: dict[str, str] = {}
    for rank, tag in sorted(ranked):
        best.setdefault(tag, rank[-1])
    return best


def _nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return the names that are most like one; some of the known ones even where none is like it."""
    return nearest_names(name, known, count=_MAX_SUGGESTIONS, cutoff=0.0)
