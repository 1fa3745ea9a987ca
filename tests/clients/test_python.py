"""Unmodified Python clients, each run by a script of its own in the environment that holds it."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.clients.conftest import FOLDER, MODEL, Runs

pytestmark = pytest.mark.clients

NEWEST = ".venv-clients/bin/python"
OLDER = ".venv-clients-older/bin/python"


@pytest.mark.parametrize(
    ("environment", "script"),
    [
        (NEWEST, "openai_client.py"),
        (NEWEST, "anthropic_client.py"),
        (NEWEST, "langchain_client.py"),
        (NEWEST, "openai_agents_client.py"),
        (NEWEST, "pydantic_ai_client.py"),
        (OLDER, "dspy_client.py"),
        (OLDER, "instructor_client.py"),
        (OLDER, "litellm_client.py"),
        (OLDER, "llama_index_client.py"),
    ],
)
def test_the_client_works_unmodified(run_client: Runs, environment: str, script: str) -> None:
    assert run_client(environment, "-W", "ignore", str(FOLDER / "python" / script)).splitlines()[-1] == "passed"


def test_llm_prompts_streams_and_keeps_a_conversation(run_client: Runs, tmp_path: pathlib.Path) -> None:
    home = tmp_path / "llm"
    home.mkdir()
    run = run_client
    models = run(NEWEST, "-W", "ignore", str(FOLDER / "python" / "llm_settings.py"), LLM_USER_PATH=str(home))
    assert models.splitlines()[-1] == "passed"
    command = ".venv-clients/bin/llm"
    said = run(command, "-m", "mesh", "Tell me a story", "-o", "max_tokens", "12", LLM_USER_PATH=str(home))
    assert said.strip()
    again = run(command, "-c", "Go on", "-o", "max_tokens", "12", "--no-stream", LLM_USER_PATH=str(home))
    assert again.strip()


def test_aider_answers_about_a_file_and_counts_its_tokens(run_client: Runs, tmp_path: pathlib.Path) -> None:
    project, caches = tmp_path / "project", tmp_path / ".aider" / "caches"
    project.mkdir()
    caches.mkdir(parents=True)
    name = f"openai/{MODEL}"
    # aider fetches this table from the internet if it is not there.
    known = {name: {"litellm_provider": "openai", "mode": "chat", "max_input_tokens": 1024, "max_tokens": 1024}}
    (caches / "model_prices_and_context_window.json").write_text(json.dumps(known))
    # It takes an answer that was cut for a fault, so that this one ends with its first sentence.
    (project / ".aider.model.settings.yml").write_text(
        json.dumps([{"name": name, "edit_format": "ask", "use_repo_map": False, "extra_params": {"stop": ["."]}}])
    )
    (project / "notes.txt").write_text("Bread.\n")
    said = run_client(
        ".venv-clients-aider/bin/aider",
        *("--model", name, "--no-git", "--yes-always", "--no-check-update", "--no-stream", "--no-detect-urls"),
        *("--no-show-model-warnings", "--no-analytics", "--no-pretty", "--chat-mode", "ask", "--map-tokens", "0"),
        *("--message", "What is in it?", "notes.txt"),
        folder=project,
    )
    assert "Tokens:" in said
    assert (project / "notes.txt").read_text() == "Bread.\n"
