"""The synchronous client follows the asyncio one."""

from __future__ import annotations

import pathlib
import shutil

import pytest

from checks import unasync

PACKAGE = pathlib.Path("clients/python/src/enginehouse/client")


@pytest.fixture
def client(root: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of the client's package, in a copy of the tree around it."""
    shutil.copy(root / "pyproject.toml", tmp_path)
    shutil.copytree(root / "clients" / "python", tmp_path / "clients" / "python")
    return tmp_path / PACKAGE


def test_the_synchronous_client_is_up_to_date(root: pathlib.Path) -> None:
    assert unasync.complaints(root) == []


def test_a_module_that_is_out_of_date_missing_or_left_over_is_found(
    client: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    assert unasync.complaints(tmp_path) == []
    source = client / "_async" / "admin.py"
    source.write_text(source.read_text().replace("async def list_keys(", "async def list_all_keys("))
    edited = client / "_sync" / "cache.py"
    edited.write_text(edited.read_text() + "# by hand\n")
    (client / "_sync" / "identity.py").unlink()
    (client / "_sync" / "left_over.py").touch()
    found = unasync.complaints(tmp_path)
    assert [pathlib.Path(complaint.split()[0]).name for complaint in found] == [
        "admin.py",
        "cache.py",
        "identity.py",
        "left_over.py",
    ]
    assert all("make client" in complaint for complaint in found)
