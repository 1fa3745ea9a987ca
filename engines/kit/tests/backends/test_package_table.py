"""Tables of packaged weights, and what is said of those that cannot be."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import yaml

from enginehouse.kit.backends.package_table import read_package_table
from enginehouse.kit.backends.packages import PackagedWeights
from enginehouse.kit.config import ConfigError
from enginehouse.kit.engine import installed_engines

SHA = "a" * 64
TABLE: dict[str, Any] = {
    "weights": {
        "voice": {
            "licence": "MIT",
            "origin": "hf:org/repo",
            "description": "A voice.",
            "files": [
                {
                    "name": "v.onnx",
                    "sha256": SHA,
                    "parts": [
                        {"package": "voice-1", "version": "1.0", "path": "voice/1", "sha256": SHA},
                        {"package": "voice-2", "version": "1.0", "path": "voice/2", "sha256": SHA},
                    ],
                }
            ],
        }
    }
}


def test_a_table_is_read() -> None:
    entry = read_package_table(yaml.safe_dump(TABLE), origin="t")["voice"]
    assert [part.requirement for part in entry.parts] == ["voice-1==1.0", "voice-2==1.0"]
    assert entry.files[0].name == "v.onnx"


@pytest.mark.parametrize(
    ("place", "key", "value", "said"),
    [
        ((), "voices", {}, "voices: Extra inputs are not permitted"),
        ((), "weights", {"../up": TABLE["weights"]["voice"]}, "name '../up' must be 1-64 of"),
        (("voice",), "licence", None, "weights.voice.licence: Input should be a valid string"),
        (("voice",), "files", [], "weights.voice.files: Tuple should have at least 1 item"),
        (("voice",), "files", TABLE["weights"]["voice"]["files"] * 2, "names a file twice"),
        (("voice", "files", 0), "name", "up/v.onnx", "must be a plain file name"),
        (("voice", "files", 0), "name", ".lock", "must be a plain file name"),
        (("voice", "files", 0), "sha256", "A" * 64, "weights.voice.files.0.sha256: String should match"),
        (("voice", "files", 0, "parts", 1), "path", "../v", "must stay within the folder"),
        (("voice", "files", 0, "parts", 1), "path", "/v", "must stay within the folder"),
        (("voice", "files", 0, "parts", 1), "sha256", None, "each of several parts needs its sha256"),
    ],
)
def test_a_table_that_cannot_be(place: tuple[str | int, ...], key: str, value: Any, said: str) -> None:
    table = copy.deepcopy(TABLE)
    inner = table if not place else table["weights"]
    for step in place:
        inner = inner[step]
    inner[key] = value
    with pytest.raises(ConfigError, match=re.escape(said)) as raised:
        read_package_table(yaml.safe_dump(table), origin="some.yaml")
    assert str(raised.value).startswith("some.yaml: ")


def _entries() -> list[tuple[str, str]]:
    return [(kind, name) for kind, spec in installed_engines().items() for name in spec.read_weights()]


@pytest.mark.parametrize(("kind", "name"), _entries())
def test_the_installed_packages_are_what_the_tables_say(kind: str, name: str, tmp_path: Any) -> None:
    weights = PackagedWeights(table=installed_engines()[kind].read_weights(), models_dir=tmp_path)
    if absent := weights.absent(name):
        pytest.skip(absent)
    folder = weights.folder(name)
    assert all((folder / file.name).is_file() for file in installed_engines()[kind].read_weights()[name].files)
