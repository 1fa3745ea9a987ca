from __future__ import annotations

import pathlib

import pytest

from bench.tools import ToolMissing, find_ghz, find_litellm, find_wrk


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> pathlib.Path:
    """A clean folder, on a machine that has no programs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_a_load_generator_that_cannot_be_had_names_the_fix(bare: pathlib.Path) -> None:
    with pytest.raises(ToolMissing, match="ghz cannot be built without make: install make"):
        find_ghz(bare)
    with pytest.raises(ToolMissing, match=r"wrk is not installed: install it .*Debian: wrk"):
        find_wrk(bare)


def test_a_build_that_fails_says_how_to_see_why(bare: pathlib.Path) -> None:
    for program in ("make", "go"):
        (bare / program).write_text("#!/bin/sh\necho no network >&2\nexit 2\n")
        (bare / program).chmod(0o755)
    with pytest.raises(ToolMissing, match=r"no network; `make tests/clients/ghz/bin/ghz` shows"):
        find_ghz(bare)


def test_a_proxy_that_cannot_be_installed_is_an_error(bare: pathlib.Path) -> None:
    (bare / "requirements").mkdir()
    (bare / "requirements" / "litellm.txt").write_text("litellm==0.0.0 --hash=sha256:00\n")
    with pytest.raises(ToolMissing, match="LiteLLM could not be installed"):
        find_litellm(bare)
    assert not (bare / ".venv-litellm" / ".stamp").exists()
