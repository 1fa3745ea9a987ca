"""PostgreSQL from its wheel: created, started, killed and restarted."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from enginehouse.local.datadir import write_private
from enginehouse.local.errors import LocalError
from enginehouse.local.postgres import STOP_SIGNAL, open_cluster
from enginehouse.local.state import Condition


async def test_a_cluster_requires_its_password_and_keeps_its_data(tmp_path: Path, run: Any, wait: Any) -> None:
    password = tmp_path / "password"
    write_private(password, "a-secret\n")
    # Too long for a socket's path: the socket must be created elsewhere.
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    cluster, _ = open_cluster(deep / "postgres", run=deep)
    assert len(str(cluster.socket_directory)) < 90
    cluster.initialise(password)

    async def probe(pid: int) -> bool:
        return cluster.is_ready(pid)

    options = {"command": cluster.command(), "probe": probe, "os_user": cluster.os_user, "stop_signal": STOP_SIGNAL}
    process = run(name="postgres", stop_timeout_s=20.0, **options)
    await process.start()
    cluster.create_database("a-secret")
    cluster.create_database("a-secret")
    connection = await asyncpg.connect(cluster.url("a-secret"))
    await connection.execute("CREATE TABLE kept (x int); INSERT INTO kept VALUES (7)")
    await connection.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(cluster.url("wrong"))
    os.kill(process.state.pid, signal.SIGKILL)
    await wait(lambda: process.state.restarts == 1 and process.state.condition is Condition.READY, timeout_s=60)
    connection = await asyncpg.connect(cluster.url("a-secret"))
    assert await connection.fetchval("SELECT x FROM kept") == 7
    await connection.close()
    await process.stop()
    assert "database system is shut down" in (tmp_path / "postgres.log").read_text()
    for socket in cluster.socket_directory.iterdir():
        socket.unlink()
    cluster.socket_directory.rmdir()


def test_a_cluster_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("16\n")
    with pytest.raises(LocalError, match="is a cluster of PostgreSQL 16 and this is 18"):
        open_cluster(tmp_path / "postgres", run=tmp_path)


def test_a_failed_initdb_is_quoted(tmp_path: Path) -> None:
    password = tmp_path / "password"
    write_private(password, "")
    cluster, _ = open_cluster(tmp_path / "postgres", run=tmp_path)
    with pytest.raises(LocalError, match="PostgreSQL's initdb failed: .*password"):
        cluster.initialise(password)
    assert list(tmp_path.glob("postgres*")) == []
