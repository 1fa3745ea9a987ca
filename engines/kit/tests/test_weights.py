"""Weights on this machine: where they are looked for, and the errors for those that are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginehouse.kit.backends.weights import weights_file, weights_folder
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason, ServiceError


def catalog_model(source: str) -> CatalogModel:
    return CatalogModel(
        name="big",
        cluster="voice",
        backend="xtts",
        source=source,
        context_tokens=0,
        max_output_tokens=0,
        capabilities=frozenset({"speech"}),
        quality=0.9,
        prices={},
        options={},
    )


def folder_of(source: str, models_dir: Path) -> Path:
    return weights_folder(catalog_model(source), models_dir=models_dir, files=("a", "b"), like="org/like")


def file_of(source: str, models_dir: Path) -> Path:
    return weights_file(catalog_model(source), models_dir=models_dir, like="a file")


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("file:deep/er", "deep/er"),
        ("hf:org/repo", "hf/org/repo/main"),
        ("hf:org/repo@refs/pr/1", "hf/org/repo/refs--pr--1"),
    ],
)
def test_folders_are_found_once_all_files_are_there(tmp_path: Path, source: str, place: str) -> None:
    write(tmp_path / place / "b")
    with pytest.raises(ServiceError) as raised:
        folder_of(source, tmp_path)
    assert raised.value.reason is Reason.WEIGHTS_ABSENT
    assert f"{tmp_path / place} lacks a;" in raised.value.message
    fix = "enginehouse models pull big" if source.startswith("hf:") else "hf download org/like --local-dir"
    assert fix in raised.value.message
    write(tmp_path / place / "a")
    assert folder_of(source, tmp_path) == tmp_path / place


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("file:x.pt", "x.pt"),
        ("hf:org/repo/x.pt", "hf/org/repo/main/x.pt"),
        ("hf:org/repo/deep/x.pt@v2", "hf/org/repo/v2/deep/x.pt"),
    ],
)
def test_files_are_found(tmp_path: Path, source: str, place: str) -> None:
    with pytest.raises(ServiceError) as raised:
        file_of(source, tmp_path)
    assert raised.value.reason is Reason.WEIGHTS_ABSENT
    assert f"{tmp_path / place} is missing" in raised.value.message
    write(tmp_path / place)
    assert file_of(source, tmp_path) == tmp_path / place


def test_absolute_folders_are_themselves(tmp_path: Path) -> None:
    write(tmp_path / "else" / "a")
    write(tmp_path / "else" / "b")
    assert folder_of(f"file:{tmp_path / 'else'}", tmp_path / "models") == tmp_path / "else"


@pytest.mark.parametrize(
    "source",
    ["", "file:", "hf:", "hf:org", "hf:org/repo/file", "hf:../repo", "hf:org/..", "hf:org/re\\po", "hf:org/repo@../x",
     "hf:org/repo@/x", "package:x", "bundled:x", "org/repo"],
)  # fmt: skip
def test_other_sources_of_folders_are_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(ServiceError) as raised:
        folder_of(source, tmp_path)
    assert raised.value.reason is Reason.INVALID_REQUEST
    assert raised.value.violations[0].field == "source"
    assert repr(source) in raised.value.message


@pytest.mark.parametrize("source", ["hf:org/repo", "hf:org/repo/../x", "hf:org/repo/x@..", "x.pt", "file:"])
def test_other_sources_of_files_are_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(ServiceError) as raised:
        file_of(source, tmp_path)
    assert raised.value.reason is Reason.INVALID_REQUEST
