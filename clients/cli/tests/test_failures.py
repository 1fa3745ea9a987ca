"""Failures: one line on stderr or one JSON object, and the exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from enginehouse.api.router.v1 import admin_pb2
from enginehouse.local.datadir import DataDirectory, write_private

COMMAND = str(Path(sys.executable).parent / "enginehouse")


def test_a_refused_call_prints_one_line(cli: Any) -> None:
    cli.environment["ENGINEHOUSE_API_KEY"] = "eh_wrong"
    done = cli("keys", "list")
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr == "enginehouse: the API key is unknown, revoked or expired\n"


def test_with_json_it_prints_an_object_with_the_reason(cli: Any) -> None:
    cli.environment["ENGINEHOUSE_API_KEY"] = "eh_wrong"
    done = cli("keys", "list", "--json")
    assert done.exit_code == 1
    assert done.stdout == ""
    error = json.loads(done.stderr)["error"]
    assert error["message"] == "the API key is unknown, revoked or expired"
    assert (error["code"], error["reason"]) == ("UNAUTHENTICATED", "KEY_INVALID")
    assert "eh_wrong" not in done.stderr


def test_without_a_mesh_the_fix_is_named(cli: Any) -> None:
    cli.environment["ENGINEHOUSE_URL"] = None
    cli.environment["ENGINEHOUSE_API_KEY"] = None
    done = cli("spend")
    assert done.exit_code == 1
    assert "start one with `enginehouse up`" in done.stderr


def test_the_data_directorys_key_is_sent_to_its_own_mesh_only(cli: Any, service: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    url = cli.environment["ENGINEHOUSE_URL"]
    write_private(data / "dev.env", f"ENGINEHOUSE_URL={url}\nENGINEHOUSE_API_KEY=eh_right\n")
    cli.environment["ENGINEHOUSE_URL"] = None
    cli.environment["ENGINEHOUSE_API_KEY"] = None
    service.answers["QuerySpend"] = admin_pb2.QuerySpendResponse(total_nanos=3)
    assert cli.json("spend")["total_nanos"] == 3
    done = cli("spend", "--url", "http://127.0.0.1:9")
    assert "no key for http://127.0.0.1:9" in done.stderr


def test_a_malformed_command_exits_with_2(cli: Any) -> None:
    assert cli("keys", "create").exit_code == 2
    assert cli("fly").exit_code == 2
    assert cli("up", "--port", "70000").exit_code == 2
    assert cli("up", "--config", "/no/such/file").exit_code == 2


def test_status_and_down_without_a_mesh(cli: Any) -> None:
    done = cli("status")
    assert done.exit_code == 1
    assert "no mesh was started" in done.stderr
    assert cli.json("down")["was_running"] is False
    assert cli("logs", "router").exit_code == 1


def test_a_failed_start_is_explained_and_leaves_nothing_behind(tmp_path: Path) -> None:
    busy = DataDirectory(tmp_path / "busy")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("dear")
    with busy.lock():
        for arguments, problem in (
            (("--data", str(busy.root)), "a mesh already runs on"),
            (("--data", str(foreign)), "is neither empty nor a data directory of Enginehouse"),
        ):
            for detach in ((), ("--detach",)):
                done = subprocess.run(
                    [COMMAND, "up", *arguments, *detach],
                    capture_output=True,
                    text=True,
                    timeout=60,
                    env=dict(os.environ),
                    check=False,
                    stdin=subprocess.DEVNULL,
                )
                assert done.returncode == 1
                assert problem in done.stderr
                assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in foreign.iterdir()] == ["thesis.txt"]
    assert [path.name for path in busy.root.iterdir()] == ["lock"]


def test_version_lists_the_distributions(cli: Any) -> None:
    printed = cli.json("version")
    assert printed["version"] == printed["packages"]["enginehouse-cli"]
    assert set(printed["packages"]) >= {"enginehouse-client", "enginehouse-local", "enginehouse-router"}
