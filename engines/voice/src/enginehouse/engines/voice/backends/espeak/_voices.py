"""The voices of espeak-ng, and the choice of one for a request.

A voice is a language ("en-us", "te") or a language with a variant ("en-us+f3"), and every variant goes with every
language: some 14,500 voices of 138 languages and 104 variants.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import overload

from enginehouse.engines.voice.backends.base import Gender, VoiceInfo
from enginehouse.engines.voice.backends.espeak._jobs import Inventory, LanguageVoice, Variant
from enginehouse.kit.languages import canonical_case, fold_tag, nearest_tag
from enginehouse.kit.nearest import nearest_names
from enginehouse.kit.validation import invalid, shorten

# Styles of variants that are not just another person, by the beginning of their ids.
_STYLES = {
    "announcer": "announcer",
    "anikarobot": "robot",
    "anxious": "anxious",
    "aunty": "elderly",
    "croak": "croak",
    "demonic": "demonic",
    "fast": "fast",
    "grand": "elderly",
    "klatt": "klatt",
    "mr-serious": "serious",
    "robosoft": "robot",
    "unirobot": "robot",
    "whisper": "whisper",
}
_MAX_SUGGESTIONS = 3


class VoiceList(Sequence[VoiceInfo]):
    """All voices, sorted by id; each is made on access."""

    def __init__(self, languages: Mapping[str, LanguageVoice], variants: Mapping[str, Variant]) -> None:
        self._languages = [
            (key, languages[key].name, tuple(canonical_case(tag) for _, tag in languages[key].tags))
            for key in sorted(languages)
        ]
        self._variants = [(key, variants[key]) for key in sorted(variants)]

    def __len__(self) -> int:
        return len(self._languages) * (1 + len(self._variants))

    @overload
    def __getitem__(self, index: int) -> VoiceInfo: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[VoiceInfo]: ...

    def __getitem__(self, index: int | slice) -> VoiceInfo | Sequence[VoiceInfo]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        # A plus sign sorts before all characters that may continue a language tag, so the product is sorted.
        which, variant = divmod(range(len(self))[index], 1 + len(self._variants))
        key, name, tags = self._languages[which]
        if not variant:
            return VoiceInfo(voice_id=key, name=name, languages=tags, gender=Gender.MALE)
        variant_key, kind = self._variants[variant - 1]
        return VoiceInfo(
            voice_id=f"{key}+{variant_key}",
            name=f"{name}, {kind.name}",
            languages=tags,
            # The languages' own voice is male, and variants without a gender keep it.
            gender=Gender.FEMALE if kind.gender == "female" else Gender.MALE,
            style=next((style for start, style in _STYLES.items() if variant_key.startswith(start)), ""),
        )


class EspeakVoices:
    """Finder of voices.

    Args:
        inventory: the voices of the installed espeak-ng.
        aliases: other names for voices, each for an id such as "en-us+f2", or for a variant only, such as "+f2", which
            speaks the language of the utterance.
    """

    def __init__(self, inventory: Inventory, *, aliases: Mapping[str, str]) -> None:
        self._languages = _by_id(inventory.languages)
        self._variants = {variant.file.lower().replace(" ", "-"): variant for variant in inventory.variants}
        self.aliases = aliases
        """Other names of voices."""
        self.variants = sorted(self._variants)
        """The ids of the variants."""
        self.list = VoiceList(self._languages, self._variants)
        """All voices."""
        self._best = _best_by_tag(self._languages)
        self.languages = sorted({tag.split("-")[0] for tag in self._best})
        """The primary subtags of the languages."""
        for name, voice in aliases.items():
            if self._parse(voice) is None:
                raise invalid(f"options.aliases.{name}", self._unknown(voice))

    def file(self, voice: str, language: str) -> str:
        """Return espeak-ng's own name for a voice: an id, a variant only ("+f3"), or empty for the plain voice of the
        language.

        Raises:
            ServiceError: INVALID_REQUEST, naming `controls.voice` or `controls.language` and the nearest names.
        """
        parsed = self._parse(voice)
        if parsed is None:
            raise invalid("controls.voice", self._unknown(voice))
        key, variant = parsed
        entry = self._languages[key or self.for_language(language)]
        return f"{entry.file}+{variant.file}" if variant else entry.file

    def for_language(self, tag: str) -> str:
        """Return the id of the best voice for a language: its own, else its region's, else a related language's.

        Raises:
            ServiceError: INVALID_REQUEST, naming `controls.language` and the nearest languages.
        """
        wanted = fold_tag(tag)
        if wanted in self._languages:
            return wanted
        found = nearest_tag(wanted, self._best)
        if found is None:
            near = [canonical_case(known) for known in nearest_names(wanted, self._best, count=_MAX_SUGGESTIONS)]
            hint = f"; the nearest are {', '.join(near)}" if near else ""
            raise invalid("controls.language", f"espeak-ng does not speak {shorten(tag)}{hint}")
        return self._best[found]

    def _parse(self, voice: str) -> tuple[str, Variant | None] | None:
        """Parse a voice into a language's id, empty for any, and a variant; None if there is no such voice."""
        key, plus, name = voice.lower().partition("+")
        variant = self._variants.get(name)
        if (plus and variant is None) or (key and key not in self._languages):
            return None
        return key, variant

    def _unknown(self, voice: str) -> str:
        key, plus, name = voice.lower().partition("+")
        if key and key not in self._languages:
            near = [match + plus + name for match in nearest_names(key, self._languages, count=_MAX_SUGGESTIONS)]
        else:
            near = [key + plus + match for match in nearest_names(name, self._variants, count=_MAX_SUGGESTIONS)]
        near = [match for match in near if self._parse(match) is not None]
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        return f"espeak-ng has no voice {shorten(voice)}{hint} (`enginehouse voices` lists them)"


def _by_id(languages: Iterable[LanguageVoice]) -> dict[str, LanguageVoice]:
    """Return the languages by their own tag. If two have the same tag, the second is keyed by its file's name."""
    found: dict[str, LanguageVoice] = {}
    for language in sorted(languages, key=lambda language: language.file):
        key = language.tags[0][1].lower()
        if key in found:
            key = language.file.rpartition("/")[2].lower()
        found[key] = language
    return found


def _best_by_tag(languages: Mapping[str, LanguageVoice]) -> dict[str, str]:
    """Return the id of the best language for each tag."""
    ranked = sorted(
        (priority, len(key), key, tag.lower()) for key, language in languages.items() for priority, tag in language.tags
    )
    best: dict[str, str] = {}
    for _, _, key, tag in ranked:
        best.setdefault(tag, key)
    return best
