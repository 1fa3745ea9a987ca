"""The voices of a Piper model: its speakers, and their aliases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from enginehouse.engines.voice.backends.base import VoiceInfo
from enginehouse.engines.voice.backends.piper._description import VoiceDescription
from enginehouse.kit.nearest import did_you_mean
from enginehouse.kit.validation import invalid, shorten
from enginehouse.kit.voice_names import OPENAI_VOICES


class PiperVoices:
    """Finder of a model's voices.

    A voice's id is `LANGUAGE-NAME-QUALITY`, such as "en_us-joe-medium", as Piper's own files are called. If there are
    several speakers, that is the first one, and `ID-SPEAKER` is each of them.

    Args:
        model: the model's name, for errors.
        description: the voice's file.
        stem: the id of a voice whose file does not name its language, recordings and quality.
        aliases: other names for ids; None for OpenAI's names, and that of the recordings ("joe").
    """

    def __init__(
        self, *, model: str, description: VoiceDescription, stem: str, aliases: Mapping[str, str] | None
    ) -> None:
        self._model = model
        self._tag = description.tag
        self._dataset = description.dataset
        parts = (description.language.code, description.dataset, description.audio.quality)
        self._own = _plain("-".join(parts) if all(parts) else stem)
        self._speakers = {self._own: description.default_speaker_id}
        names = {self._own: _title(description.dataset or self._own)}
        if description.num_speakers > 1:
            for name, number in sorted(description.speaker_id_map.items(), key=lambda item: item[1]):
                voice_id = f"{self._own}-{_plain(name)}"
                self._speakers[voice_id] = number
                names[voice_id] = f"{names[self._own]} {name}"
        languages = list(dict.fromkeys((self._tag, self.language)))
        self.list: Sequence[VoiceInfo] = [
            VoiceInfo(voice_id=voice_id, name=f"{names[voice_id]} ({description.language_name})", languages=languages)
            for voice_id in sorted(self._speakers)
        ]
        """All voices, by id."""
        self.aliases = self._default_aliases() if aliases is None else aliases
        """Other names of voices."""
        for name, voice_id in self.aliases.items():
            if voice_id.lower() not in self._speakers:
                raise invalid(f"options.aliases.{name}", self._unknown(voice_id))

    @property
    def language(self) -> str:
        """The primary subtag of its language."""
        return self._tag.partition("-")[0]

    def speaker(self, voice: str) -> int:
        """Return the speaker's number of a voice's id; empty is the model's own.

        Raises:
            ServiceError: INVALID_REQUEST, naming `controls.voice` and the nearest names.
        """
        found = self._speakers.get((voice or self._own).lower())
        if found is None:
            raise invalid("controls.voice", self._unknown(voice))
        return found

    def check_language(self, tag: str) -> None:
        """Raise INVALID_REQUEST, naming `controls.language`, for a language that it does not speak."""
        if tag.partition("-")[0].lower() != self.language:
            raise invalid(
                "controls.language",
                f"{shorten(tag)} is not supported by {self._model!r}, which speaks only {self._tag}; "
                "use a model that speaks it",
            )

    def _default_aliases(self) -> dict[str, str]:
        speakers = [voice_id for voice_id in self._speakers if voice_id != self._own] or [self._own]
        names = {name: speakers[at % len(speakers)] for at, name in enumerate(OPENAI_VOICES)}
        return names | ({_plain(self._dataset): self._own} if self._dataset else {})

    def _unknown(self, voice: str) -> str:
        near = did_you_mean(voice, list(self._speakers))
        return f"{shorten(voice)} is no voice of {self._model!r}{near} (`enginehouse voices` lists them)"


def _plain(name: str) -> str:
    """Return a name in small letters, digits, dashes and underscores."""
    return (
        "-".join("".join(sign if sign.isalnum() or sign in "_-" else " " for sign in name.lower()).split()) or "voice"
    )


def _title(name: str) -> str:
    return name.replace("_", " ").replace("-", " ").title()
