"""Changes of a catalog file that wait for a restart."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import yaml

from enginehouse.local.datadir import DataDirectory
from enginehouse.local.pending_catalog import pending_catalog
from enginehouse.local.pids import process_start_id
from enginehouse.local.settings import Settings
from enginehouse.local.state import MeshState, Phase


def entry(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "cluster": "inference",
        "backend": "b",
        "source": "file:x",
        "capabilities": ["chat"],
        **fields,
    }


def write(path: Path, *entries: dict[str, Any], aliases: dict[str, str] | None = None) -> None:
    path.write_text(yaml.safe_dump({"models": list(entries), "aliases": aliases or {}}))


def started(data: DataDirectory, catalog: Path) -> None:
    """Write what a start of a mesh leaves while it runs; the caller holds the lock."""
    data.prepare()
    environ = {"ENGINEHOUSE_LOCAL__CATALOG_FILE": str(catalog)}
    settings = Settings(None, environ=environ, engines={})
    settings.copy_catalog(data)
    MeshState(
        phase=Phase.READY,
        data=str(data.root),
        url="http://127.0.0.1:1",
        pid=os.getpid(),
        start_id=process_start_id(os.getpid()),
        started_at=time.time(),
        catalog=str(settings.catalog_file(data)),
    ).write(data.state)


def test_changes_of_the_file_wait_for_a_restart(make_data: Any, tmp_path: Path) -> None:
    data, file = make_data(), tmp_path / "mine.yaml"
    write(file, entry("a"), entry("b", quality=0.1), entry("c"))
    with data.lock():
        started(data, file)
        assert pending_catalog(data) is None
        write(file, entry("a"), entry("b", quality=0.2), entry("d"), aliases={"e": "d"})
        found = pending_catalog(data)
        assert found is not None
        assert found.changes == {"b": "changed", "c": "removed", "d": "added"}
        assert list(found.added) == ["d"]
        assert found.aliases_changed
        for told in ("b (changed)", "c (removed)", "d (added)", "aliases (changed)", str(file), "`enginehouse up`"):
            assert told in found.describe()
        started(data, file)
        assert pending_catalog(data) is None


def test_a_broken_file_is_told(make_data: Any, tmp_path: Path) -> None:
    data, file = make_data(), tmp_path / "mine.yaml"
    write(file, entry("a"))
    with data.lock():
        started(data, file)
        write(file, entry("a", quality=7.0))
        found = pending_catalog(data)
        assert found is not None
        assert "quality" in found.fault
        assert "the mesh goes on with what it was started with" in found.describe()


def test_nothing_waits_where_nothing_runs(make_data: Any, tmp_path: Path) -> None:
    data, file = make_data(), tmp_path / "mine.yaml"
    assert pending_catalog(data) is None
    write(file, entry("a"))
    with data.lock():
        started(data, file)
    (data.root / "lock").write_text("")
    write(file)
    assert pending_catalog(data) is None


def test_every_process_reads_the_copy(make_data: Any, tmp_path: Path) -> None:
    data, file = make_data(), tmp_path / "mine.yaml"
    write(file, entry("a"))
    with data.lock():
        started(data, file)
        text = file.read_text()
        file.write_text("broken: [")
        assert data.served_catalog.read_text() == text
