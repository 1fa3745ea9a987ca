"""`models pull` and `models add`: the command line over the model store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


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
    done = cli("models", "add", "x", "https://p.example/v1")
    assert "no data directory" in done.stderr


def test_a_model_that_needs_no_pull_is_refused(cli: Any) -> None:
    done = cli("models", "pull", "enginehouse-tiny")
    assert done.exit_code == 1
    assert "needs no pull" in done.stderr
