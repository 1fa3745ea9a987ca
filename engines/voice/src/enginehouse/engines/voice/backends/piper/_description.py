"""The JSON file that describes a Piper voice; it lies beside the ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pydantic

from enginehouse.kit.errors import clip


class DescriptionError(ValueError):
    """The error of a file that does not describe a voice; the message names it and says what is wrong."""


class _Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="ignore")


class _Audio(_Part):
    sample_rate: int = pydantic.Field(ge=8000, le=48_000)
    quality: str = ""


class _Espeak(_Part):
    voice: str = pydantic.Field(min_length=1)


class VoiceInference(_Part):
    """A voice's own parameters."""

    noise_scale: float = 0.667
    length_scale: float = pydantic.Field(default=1, gt=0)
    noise_w: float = 0.8


class _Language(_Part):
    code: str = ""
    name_english: str = ""
    country_english: str = ""


class VoiceDescription(_Part):
    """The contents of the file."""

    audio: _Audio
    """Its rate and quality."""
    espeak: _Espeak
    """The espeak-ng voice that reads its texts."""
    inference: VoiceInference = VoiceInference()
    """Its own parameters."""
    language: _Language = _Language()
    """Its language; absent in old files."""
    dataset: str = ""
    """The name of its recordings, mostly the speaker's."""
    phoneme_type: Literal["espeak", "text"] = "espeak"
    """What reads its texts: espeak-ng, or the letters themselves. Other kinds need packages or downloads."""
    phoneme_id_map: Mapping[str, list[int]] = pydantic.Field(min_length=1)
    """The numbers of its phonemes."""
    num_symbols: int = pydantic.Field(ge=1)
    """The number of its symbols."""
    num_speakers: int = pydantic.Field(default=1, ge=1)
    """The number of its speakers."""
    speaker_id_map: Mapping[str, int] = {}
    """The numbers of its speakers by name; empty for one."""
    default_speaker_id: int = pydantic.Field(default=0, ge=0)
    """The speaker that speaks if none is named."""

    @property
    def tag(self) -> str:
        """Its language as a BCP 47 tag, such as "en-US"."""
        primary, *rest = (self.language.code or self.espeak.voice).replace("_", "-").lower().split("-")
        if rest and len(rest[0]) == 2:
            rest[0] = rest[0].upper()
        return "-".join((primary, *rest))

    @property
    def language_name(self) -> str:
        """The name of its language for people, such as "English, United States"."""
        names = (self.language.name_english, self.language.country_english)
        return ", ".join(name for name in names if name) or self.tag


def read_description(path: Path) -> VoiceDescription:
    """Read the file; raise DescriptionError."""
    try:
        return VoiceDescription.model_validate_json(path.read_bytes())
    except pydantic.ValidationError as error:
        listed = "; ".join(
            f"{'.'.join(map(str, detail['loc'])) or 'the file'}: {detail['msg']}" for detail in error.errors()
        )
        raise DescriptionError(f"{path} does not describe a Piper voice: {clip(listed, 500)}") from None
    except OSError as error:
        raise DescriptionError(f"{path} cannot be read: {error.strerror}") from error
