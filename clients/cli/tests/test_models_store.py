"""`models pull` and `models add`: the command line over the model store."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from enginehouse.api.router.v1 import admin_pb2
from enginehouse.engines import inference
from enginehouse.local.datadir import DataDirectory
from enginehouse.local.pids import process_start_id
from enginehouse.local.state import MeshState, Phase


def test_a_providers_model_is_added_to_the_given_catalog(cli: Any, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text("# mine\nmodels: []\n")
    added = cli.json(
        *("models", "add", "far", "https://provider.example/v1", "--context", "8192", "--catalog", str(catalog)),
        *("--price", "input_tokens=50000000", "--option", "key_variable=PROVIDER_KEY", "--quality", "0.75"),
    )
    assert (added["name"], added["backend"], added["context_tokens"]) == ("far", "upstream", 8192)
    entry = yaml.safe_load(catalog.read_text())["models"][0]
    assert entry["prices"] == {"input_tokens": 50_000_000}
    assert entry["options"]["key_variable"] == "PROVIDER_KEY"
    assert catalog.read_text().startswith("# mine\n")


def test_an_invalid_model_is_refused_in_one_line(cli: Any, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text("models: []\n")
    done = cli("models", "add", "x", "file:/no/such.gguf", "--catalog", str(catalog))
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1
    assert "/no/such.gguf is missing" in done.stderr
    done = cli("models", "add", "x", "https://p.example/v1", "--catalog", str(catalog), "--price", "input_tokens=a")
    assert "must be a whole number" in done.stderr
    done = cli("models", "add", "x", "https://p.example/v1", "--context", "9", "--option", "a=[")
    assert "--option a='['" in done.stderr
    assert "models: []" in catalog.read_text()


def test_a_model_is_added_before_the_first_start(cli: Any, tmp_path: Path) -> None:
    added = cli.json("models", "add", "far", "https://provider.example/v1", "--context", "9")
    catalog = tmp_path / "data" / "catalog.yaml"
    assert added["catalog"] == str(catalog)
    names = [entry["name"] for entry in yaml.safe_load(catalog.read_text())["models"]]
    assert "smollm2-135m" in names
    assert names[-1] == "far" or "far" in names
    data = DataDirectory(tmp_path / "data")
    data.inspect()
    data.prepare()
    assert "far" in catalog.read_text()


def test_a_refused_model_leaves_no_data_directory(cli: Any, tmp_path: Path) -> None:
    assert cli("models", "add", "x", "file:/no/such.gguf").exit_code == 1
    assert not (tmp_path / "data").exists()


def test_what_was_guessed_is_told(cli: Any, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.yaml"
    done = cli("models", "add", "far-8b", "https://p.example/v1", "--context", "9", "--catalog", str(catalog))
    assert done.exit_code == 0, done.output
    for told in ("quality", "--quality", "free for every caller", "--price input_tokens=NANOS"):
        assert told in done.stdout
    told = cli.json(
        *(
            "models",
            "add",
            "b",
            "https://p.example/v1",
            "--context",
            "9",
            "--catalog",
            str(catalog),
            "--quality",
            "0.5",
        ),
        *("--price", "input_tokens=0", "--price", "output_tokens=1", "--capability", "chat"),
    )
    assert told["notes"] == []


def test_a_file_is_found_from_the_folder_of_the_shell(cli: Any, tmp_path: Path, monkeypatch: Any) -> None:
    bundled = Path(inference.__file__).parent / "bundled"
    monkeypatch.chdir(bundled)
    for number, given in enumerate(("file:enginehouse-tiny.gguf", "./enginehouse-tiny.gguf")):
        told = cli.json("models", "add", f"m{number}", given, "--catalog", str(tmp_path / "c.yaml"))
        assert told["source"] == f"file:{bundled}/enginehouse-tiny.gguf"
        assert any(given in note and "the folder of this shell" in note for note in told["notes"])
        assert told["languages"] == ["en", "te"]
        assert "tools" in told["capabilities"]
        assert told["quality"] < 0.15


def test_a_model_is_edited_and_removed(cli: Any, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.yaml"
    cli.json("models", "add", "far", "https://p.example/v1", "--context", "9", "--catalog", str(catalog))
    at = ("--catalog", str(catalog))
    edited = cli.json(
        "models", "edit", "far", "--quality", "0.25", "--price", "output_tokens=7", "--language", "te", *at
    )
    assert (edited["quality"], edited["prices"], edited["languages"]) == (0.25, {"output_tokens": 7}, ["te"])
    edited = cli.json("models", "edit", "far", "--price", "output_tokens=", "--option", "key_variable=K", *at)
    assert edited["prices"] == {}
    assert yaml.safe_load(catalog.read_text())["models"][0]["options"] == {"key_variable": "K"}
    assert "nothing to change" in cli("models", "edit", "far", *at).stderr
    assert "did you mean 'far'?" in cli("models", "edit", "fra", "--quality", "1", *at).stderr
    assert cli("models", "edit", "far", "--price", "output_tokens=1e9", *at).exit_code == 1
    refused = cli("models", "remove", "fra", *at)
    assert refused.exit_code == 1
    assert "did you mean 'far'?" in refused.stderr
    assert cli.json("models", "remove", "far", *at)["removed"] is True
    assert yaml.safe_load(catalog.read_text())["models"] == []


def test_a_model_that_needs_no_pull_is_refused(cli: Any) -> None:
    done = cli("models", "pull", "enginehouse-tiny")
    assert done.exit_code == 1
    assert "needs no pull" in done.stderr


def test_models_that_wait_for_a_restart_are_listed(cli: Any, service: Any, tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    model = {"cluster": "inference", "backend": "llama.cpp", "source": "file:x", "capabilities": ["chat"]}
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(yaml.safe_dump({"models": [{"name": name, **model} for name in ("kept", "gone")]}))
    service.answers["ListModels"] = admin_pb2.ListModelsResponse(
        models=[{"name": name, "health": "1 live", "endpoints": ["127.0.0.1:1"]} for name in ("gone", "kept")]
    )
    with data.lock():
        data.prepare()
        shutil.copy(catalog, data.served_catalog)
        MeshState(
            phase=Phase.READY,
            data=str(data.root),
            url="",
            pid=os.getpid(),
            start_id=process_start_id(os.getpid()),
            started_at=0.0,
            catalog=str(catalog),
        ).write(data.state)
        data.environment_file.write_text(f"ENGINEHOUSE_URL={cli.environment['ENGINEHOUSE_URL']}\n")
        assert {found["waits_for_restart"] for found in cli.json("models", "list")["models"]} == {""}
        assert "restart" not in cli("models", "list").stdout
        catalog.write_text(yaml.safe_dump({"models": [{"name": name, **model} for name in ("kept", "new")]}))
        waiting = {found["name"]: found["waits_for_restart"] for found in cli.json("models", "list")["models"]}
        assert waiting == {"gone": "removed", "kept": "", "new": "added"}
        lines = cli("models", "list").stdout.splitlines()
        assert any(line.startswith("new") and line.endswith("waits for a restart") for line in lines)
        assert "waits for a restart: gone (removed), new (added)" in lines[-1]
        catalog.write_text("models: [")
        assert "the catalog file is broken" in cli("models", "list").stdout.splitlines()[-1]
        # Another mesh has another catalog.
        data.environment_file.write_text("ENGINEHOUSE_URL=http://127.0.0.1:9\n")
        assert "broken" not in cli("models", "list").stdout
