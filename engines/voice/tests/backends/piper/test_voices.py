"""The voices of Piper models, by their descriptions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from enginehouse.engines.voice.backends.piper._description import read_description
from enginehouse.engines.voice.backends.piper._voices import PiperVoices
from enginehouse.kit.errors import ServiceError
from engines.voice.tests.backends.piper.voices import description

READERS: dict[str, Any] = {"num_speakers": 3, "speaker_id_map": {"Jane Doe": 0, "p225": 1, "p226": 2}}


def voices(folder: Path, *, aliases: dict[str, str] | None = None, **changes: Any) -> PiperVoices:
    path = folder / "voice.onnx.json"
    path.write_text(json.dumps(description(**changes)))
    return PiperVoices(model="model", description=read_description(path), stem="Old Voice", aliases=aliases)


def test_speakers_are_voices(tmp_path: Path) -> None:
    found = voices(tmp_path, dataset="vctk", **READERS)
    assert [voice.voice_id for voice in found.list] == [
        "en_us-vctk-medium",
        "en_us-vctk-medium-jane-doe",
        "en_us-vctk-medium-p225",
        "en_us-vctk-medium-p226",
    ]
    assert [found.speaker(voice.voice_id) for voice in found.list] == [0, 0, 1, 2]
    assert found.list[1].name == "Vctk Jane Doe (English, United States)"


def test_openais_names_are_spread_over_the_speakers(tmp_path: Path) -> None:
    found = voices(tmp_path, **READERS)
    assert found.aliases["joe"] == "en_us-joe-medium"
    names = [found.aliases[name] for name in ("alloy", "ash", "ballad", "cedar")]
    assert [found.speaker(name) for name in (*names, "")] == [0, 1, 2, 0, 0]


def test_aliases_of_the_catalog_replace_openais(tmp_path: Path) -> None:
    found = voices(tmp_path, aliases={"reader": "en_us-joe-medium-p226"}, **READERS)
    assert found.aliases == {"reader": "en_us-joe-medium-p226"}
    with pytest.raises(ServiceError, match="controls.voice"):
        found.speaker("alloy")


@pytest.mark.parametrize(
    ("changes", "tag", "voice_id"),
    [
        ({}, "en-US", "en_us-joe-medium"),
        ({"language": {"code": "te_IN"}}, "te-IN", "te_in-joe-medium"),
        ({"language": {"code": "es_419"}}, "es-419", "es_419-joe-medium"),
        ({"language": None, "espeak": {"voice": "en-gb-x-rp"}}, "en-GB-x-rp", "old-voice"),
        ({"language": None, "espeak": {"voice": "de"}}, "de", "old-voice"),
    ],
)
def test_languages_and_ids(tmp_path: Path, changes: dict[str, Any], tag: str, voice_id: str) -> None:
    [voice] = voices(tmp_path, **changes).list
    assert voice.voice_id == voice_id
    assert voice.languages[0] == tag
    assert voice.languages[-1] == tag.partition("-")[0]
