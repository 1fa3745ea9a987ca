"""The state file: whole or not at all."""

from __future__ import annotations

import os
import pathlib

import pytest

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.gateway.registry import RegistryState
from enginehouse.gateway.state_file import StateFile
from enginehouse.kit.config import ConfigError

ENGINE = registry_pb2.Engine(
    engine_id="one",
    cluster="inference",
    address="127.0.0.1:9001",
    grpc_services=["a.b.C"],
    models=[registry_pb2.ServedModel(name="m", capabilities=["chat"], context_tokens=512)],
    capacity=4,
)
STATE = RegistryState(engines={"one": ENGINE}, services={"a.b.C": "inference", "a.b.Gone": "voice"})


def test_what_was_written_is_read(tmp_path: pathlib.Path) -> None:
    file = StateFile(path=tmp_path / "deep" / "state.json")
    file.prepare()
    assert file.read() is None
    file.write(STATE)
    file.write(STATE)
    assert file.read() == STATE
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["state.json"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"version": 2, "engines": [], "services": {}}', b'{"version": 1}', b"\xff\xfe"]
)
def test_anything_else_is_named_and_kept(tmp_path: pathlib.Path, content: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    file = StateFile(path=path)
    with pytest.raises(ValueError, match=r"state\.json: is not a gateway's state"):
        file.read()
    assert file.set_aside().read_bytes() == content
    assert file.read() is None


def test_a_crash_while_writing_leaves_the_old_state(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = StateFile(path=tmp_path / "state.json")
    file.write(STATE)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        file.write(RegistryState(engines={}, services={}))
    assert file.read() == STATE
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_a_folder_that_cannot_be_made_is_an_error_at_start(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match=r"gateway\.state_file: .*file cannot be written to"):
        StateFile(path=tmp_path / "file" / "state.json").prepare()
