"""What espeak-ng can speak with, and which of it a request means.

A voice is a language ("en-us", "te") or a language with a variant ("en-us+f3"), and every variant goes with every
language: some 14,500 voices of 138 languages and 104 variants.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import overload

from enginehouse.engines.voice.backends.base import Gender, VoiceInfo
from enginehouse.engines.voice.backends.espeak._jobs import Inventory, LanguageVoice, Variant
from enginehouse.kit.nearest import nearest_names
from enginehouse.kit.validation import invalid, shorten

# Variants that are more than another person, by how their ids begin.
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
# Which of a language's voices a region hears as its own, where its tag alone does not say: of the regions that are not
# listed, English follows Britain and Spanish America. "" is no region.
_AMERICAN = ("", "as", "ca", "gu", "jp", "kr", "lr", "mh", "mp", "ph", "pr", "um", "us", "vi")
_CARIBBEAN = ("ag", "bb", "bs", "bz", "dm", "gd", "gy", "jm", "kn", "lc", "tt", "vc")
_REGIONS: Mapping[str, tuple[Mapping[str, str], str]] = {
    "en": (dict.fromkeys(_AMERICAN, "en-us") | dict.fromkeys(_CARIBBEAN, "en-029"), "en-gb"),
    "es": (dict.fromkeys(("", "ea", "es", "gq", "ic"), "es"), "es-419"),
    "zh": (dict.fromkeys(("hk", "mo"), "yue"), "cmn"),
}
# Languages under another name, and close relatives.
_RELATED = {"ckb": "ku", "in": "id", "iw": "he", "mo": "ro", "nn": "nb", "sh": "hr"}
_NEAR = 3


class VoiceList(Sequence[VoiceInfo]):
    """All voices, by id; each is made when it is asked for."""

    def __init__(self, languages: Mapping[str, LanguageVoice], variants: Mapping[str, Variant]) -> None:
        self._languages = [
            (key, languages[key].name, tuple(canonical(tag) for _, tag in languages[key].tags))
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
        # A plus sign sorts before all that a language's tag may go on with, so the product is in order.
        which, variant = divmod(range(len(self))[index], 1 + len(self._variants))
        key, name, tags = self._languages[which]
        if not variant:
            return VoiceInfo(voice_id=key, name=name, languages=tags, gender=Gender.MALE)
        variant_key, kind = self._variants[variant - 1]
        return VoiceInfo(
            voice_id=f"{key}+{variant_key}",
            name=f"{name}, {kind.name}",
            languages=tags,
            # The languages' own voice is a man's, and variants that say nothing keep it.
            gender=Gender.FEMALE if kind.gender == "female" else Gender.MALE,
            style=next((style for start, style in _STYLES.items() if variant_key.startswith(start)), ""),
        )


class EspeakVoices:
    """Finds voices.

    Args:
        inventory: what there is.
        aliases: other names for voices, each for an id such as "en-us+f2", or for a variant alone, such as "+f2",
            which speaks whatever language an utterance has.
    """

    def __init__(self, inventory: Inventory, *, aliases: Mapping[str, str]) -> None:
        self._languages = _by_id(inventory.languages)
        self._variants = {variant.file.lower().replace(" ", "-"): variant for variant in inventory.variants}
        self._aliases = aliases
        self.list = VoiceList(self._languages, self._variants)
        """All of them."""
        self._best = _best_by_tag(self._languages)
        related = (tag for tag, known in _RELATED.items() if known in self._best)
        self.languages = sorted({tag.split("-")[0] for tag in self._best}.union(related))
        """The languages' primary subtags."""
        for name, voice in aliases.items():
            if self._parse(voice) is None:
                raise invalid(f"options.aliases.{name}", self._unknown(voice))

    def file(self, voice: str, language: str) -> str:
        """espeak-ng's own word for a voice: an id, an alias, a variant alone ("+f3"), or nothing for the plain voice
        of the language.

        Raises:
            ServiceError: INVALID_REQUEST, naming `controls.voice` or `controls.language` and what comes near.
        """
        parsed = self._parse(self._aliases.get(voice, voice))
        if parsed is None:
            raise invalid("controls.voice", self._unknown(voice))
        key, variant = parsed
        entry = self._languages[key or self.for_language(language)]
        return f"{entry.file}+{variant.file}" if variant else entry.file

    def for_language(self, tag: str) -> str:
        """The id of the voice that speaks a language best: its own, else its region's, else a relative's.

        Raises:
            ServiceError: INVALID_REQUEST, naming `controls.language` and what comes near.
        """
        wanted = tag.lower().replace("_", "-")
        found = self._find(wanted)
        if found is None:
            near = [canonical(known) for known in nearest_names(wanted, self._best, count=_NEAR)]
            hint = f"; near it are {', '.join(near)}" if near else ""
            raise invalid("controls.language", f"{shorten(tag)} is no language that espeak-ng speaks{hint}")
        return found

    def _find(self, wanted: str) -> str | None:
        primary, *rest = wanted.split("-")
        if wanted in self._languages:
            return wanted
        for length in range(len(rest), 0, -1):
            if found := self._best.get("-".join((primary, *rest[:length]))):
                return found
        if primary in _REGIONS:
            regions, others = _REGIONS[primary]
            region = next((part for part in rest if len(part) == 2 or part.isdecimal()), "")
            found = regions.get(region, others)
            if found in self._languages:
                return found
        if found := self._best.get(primary):
            return found
        within = [tag for tag in self._best if tag.startswith(primary + "-")]
        if within:
            return self._best[min(within, key=lambda tag: (len(tag), tag))]
        return self._find(_RELATED[primary]) if primary in _RELATED else None

    def _parse(self, voice: str) -> tuple[str, Variant | None] | None:
        """A language's id, empty for any, and a variant; None where there is no such voice."""
        key, plus, name = voice.lower().partition("+")
        variant = self._variants.get(name)
        if (plus and variant is None) or (key and key not in self._languages):
            return None
        return key, variant

    def _unknown(self, voice: str) -> str:
        key, plus, name = voice.lower().partition("+")
        known = [*self._languages, *self._aliases]
        if key and key not in self._languages:
            near = [match + plus + name for match in nearest_names(key, known, count=_NEAR)]
        else:
            near = [key + plus + match for match in nearest_names(name, self._variants, count=_NEAR)]
        near = [match for match in near if match in self._aliases or self._parse(match) is not None]
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        return f"espeak-ng has no voice {shorten(voice)}{hint} (`enginehouse voices` lists them)"


def canonical(tag: str) -> str:
    """A BCP 47 tag in its usual case, such as "en-US" and "cmn-Latn-pinyin"."""
    first, *rest = tag.lower().split("-")
    parts = [first]
    private = False
    for part in rest:
        private = private or len(part) == 1
        if not private and len(part) == 2:
            parts.append(part.upper())
        elif not private and len(part) == 4 and part.isalpha():
            parts.append(part.title())
        else:
            parts.append(part)
    return "-".join(parts)


def _by_id(languages: Iterable[LanguageVoice]) -> dict[str, LanguageVoice]:
    """The languages by the tag that is their own. Where two have the same, the second goes by its file's name."""
    found: dict[str, LanguageVoice] = {}
    for language in sorted(languages, key=lambda language: language.file):
        key = language.tags[0][1].lower()
        if key in found:
            key = language.file.rpartition("/")[2].lower()
        found[key] = language
    return found


def _best_by_tag(languages: Mapping[str, LanguageVoice]) -> dict[str, str]:
    """For each tag that is listed, the id of the language that is best for it."""
    ranked = sorted(
        (priority, len(key), key, tag.lower()) for key, language in languages.items() for priority, tag in language.tags
    )
    best: dict[str, str] = {}
    for _, _, key, tag in ranked:
        best.setdefault(tag, key)
    return best
