"""Data directories: creation, checks and locking."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from enginehouse.kit.catalog import load_catalog
from enginehouse.kit.grants import GrantKeys
from enginehouse.local.errors import LocalError


def made(make_data: Any) -> Any:
    data = make_data()
    data.inspect()
    with data.lock():
        data.prepare()
        data.postgres.mkdir()
        (data.postgres / "PG_VERSION").write_text("18\n")
        data.finish()
    return data


def test_a_new_directory_has_private_secrets_of_its_own(make_data: Any) -> None:
    data = make_data()
    data.inspect()
    assert not data.root.exists()
    with data.lock():
        data.prepare()
    assert GrantKeys.load(data.grant_keys).current_id == "k1"
    for secret in (data.grant_keys, data.key_pepper, data.database_password):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        assert len(secret.read_text()) > 32
    assert load_catalog(data.catalog).models


def test_secrets_and_catalog_are_kept(make_data: Any) -> None:
    data = made(make_data)
    before = (data.key_pepper.read_text(), data.grant_keys.read_text())
    data.catalog.write_text("models: []\n")
    again = make_data()
    again.inspect()
    again.prepare()
    assert (again.key_pepper.read_text(), again.grant_keys.read_text()) == before
    assert again.catalog.read_text() == "models: []\n"


def test_a_directory_whose_creation_was_interrupted_is_created_anew(make_data: Any) -> None:
    data = make_data()
    with data.lock():
        data.prepare()
    data.postgres.mkdir()
    pepper = data.key_pepper.read_text()
    again = make_data()
    again.inspect()
    again.prepare()
    assert not again.postgres.exists()
    assert again.key_pepper.read_text() != pepper


@pytest.mark.parametrize("part", ["secrets/key-pepper", "secrets/grant-keys", "postgres/PG_VERSION"])
def test_a_missing_part_is_named(make_data: Any, part: str) -> None:
    data = made(make_data)
    (data.root / part).unlink()
    with pytest.raises(LocalError, match=f"incomplete: {part} is missing; restore it"):
        make_data().inspect()


@pytest.mark.parametrize(("layout", "age"), [(0, "an older"), (99, "a newer")])
def test_a_directory_of_another_version_is_refused(make_data: Any, layout: int, age: str) -> None:
    data = made(make_data)
    (data.root / "enginehouse.json").write_text(json.dumps({"layout": layout, "whole": True}))
    with pytest.raises(LocalError, match=f"created by {age} Enginehouse"):
        make_data().inspect()


def test_a_damaged_marker_is_refused(make_data: Any) -> None:
    data = made(make_data)
    (data.root / "enginehouse.json").write_text("{")
    with pytest.raises(LocalError, match=r"enginehouse\.json is damaged"):
        make_data().inspect()


def test_a_folder_with_other_files_is_refused(make_data: Any) -> None:
    data = make_data()
    data.root.mkdir()
    (data.root / "thesis.txt").write_text("dear")
    with pytest.raises(LocalError, match="is neither empty nor a data directory"):
        data.inspect()
    assert [path.name for path in data.root.iterdir()] == ["thesis.txt"]


def test_an_empty_folder_is_accepted(make_data: Any) -> None:
    data = make_data()
    data.root.mkdir()
    data.inspect()


def test_a_file_is_refused(make_data: Any, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    with pytest.raises(LocalError, match="is not a directory"):
        make_data().inspect()


def test_a_full_disk_is_refused_before_anything_is_written(make_data: Any) -> None:
    data = make_data(free_bytes=lambda path: 3 * 2**20)
    with pytest.raises(LocalError, match="3 MiB free, and the mesh needs 256"):
        data.inspect()
    assert not data.root.exists()


def test_a_read_only_disk_is_refused(make_data: Any) -> None:
    data = make_data("../../../../../../../../../../../../proc/enginehouse")
    with pytest.raises(LocalError, match="/proc.* cannot be written to"), data.lock():
        data.prepare()


def test_only_one_process_locks_a_directory(make_data: Any) -> None:
    data = make_data()
    with data.lock(), pytest.raises(LocalError, match="a mesh already runs on .*; stop it with `enginehouse down"):
        make_data().lock()
    with make_data().lock():
        pass
