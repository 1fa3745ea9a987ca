"""Weights on this machine: where they are looked for, and the errors for those that are missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from enginehouse.kit.backends.packages import PackagedWeights
from enginehouse.kit.backends.weights import weights_file, weights_folder
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason, ServiceError
from engines.kit.tests.backends.fake_packages import install, part, weights_of


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


def test_packages_are_sources_of_files_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"pair": weights_of({"a": [(part("pair", "a", b"1"), b"1")], "b": [(part("pair", "b", b"2"), b"2")]})}
    packages = PackagedWeights(table=table, models_dir=tmp_path / "models")

    def file() -> Path:
        return weights_file(catalog_model("package:pair"), models_dir=tmp_path, like="a file", packages=packages)

    def folder(source: str = "package:pair", *files: str) -> Path:
        return weights_folder(
            catalog_model(source), models_dir=tmp_path, files=files or ("a", "b"), like="org/like", packages=packages
        )

    for find in (file, folder):
        with pytest.raises(
            ServiceError, match="weights of 'big' .* package pair is not installed; install it"
        ) as raised:
            find()
        assert raised.value.reason is Reason.WEIGHTS_ABSENT
    install(tmp_path / "site", "pair", {"a": b"1", "b": b"2"})
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert file() == tmp_path / "site" / "pair" / "a"
    assert folder() == tmp_path / "site" / "pair"
    for source, files, said in [
        ("package:pear", (), "'package:pear' is not known to hold weights; did you mean 'pair'?"),
        ("package:pair", ("a", "c", "d"), "source 'package:pair' has no c, d; name other weights"),
    ]:
        with pytest.raises(ServiceError, match=re.escape(said)) as raised:
            folder(source, *files)
        assert raised.value.reason is Reason.INVALID_REQUEST
        assert raised.value.violations[0].field == "source"


def test_an_engine_without_packaged_weights_refuses_them(tmp_path: Path) -> None:
    for find in (file_of, folder_of):
        with pytest.raises(ServiceError, match="this engine knows no weights in packages") as raised:
            find("package:pair", tmp_path)
        assert raised.value.reason is Reason.INVALID_REQUEST
