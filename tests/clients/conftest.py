"""One mesh for all the clients, and the environments that hold them."""

from __future__ import annotations

import os
import pathlib
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.mesh import Mesh

FOLDER = pathlib.Path(__file__).parent
ROOT = FOLDER.parents[1]
MODEL = "enginehouse-tiny"
CLIENT_TIMEOUT_S = 240.0

Runs = Callable[..., str]


@pytest.fixture(scope="session")
def mesh() -> Iterator[Mesh]:
    with Mesh.started() as running:
        yield running


@pytest.fixture
def run_client(mesh: Mesh, tmp_path: pathlib.Path) -> Runs:
    """Return a function that runs a client's command against the mesh and returns what it printed."""

    def run(*command: str, folder: pathlib.Path = FOLDER, **environment: str) -> str:
        assert (ROOT / command[0]).exists(), f"{command[0]} is not installed: run `make test-clients`"
        done = subprocess.run(
            [str(ROOT / command[0]), *command[1:]],
            cwd=folder,
            env={
                # A client finds no settings, caches or keys of whoever runs the tests.
                **{name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "XDG_"))},
                "HOME": str(tmp_path),
                "HF_HUB_OFFLINE": "1",
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
                "DO_NOT_TRACK": "1",
                "NO_COLOR": "1",
                "ENGINEHOUSE_URL": mesh.url,
                "OPENAI_BASE_URL": f"{mesh.url}/v1",
                "OPENAI_API_KEY": mesh.key,
                "MODEL": MODEL,
                **environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CLIENT_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def descriptors() -> pathlib.Path:
    """Return the path of the contracts' descriptors, as the clients' package ships them."""
    return ROOT / "proto" / "python" / "src" / "enginehouse" / "api" / "descriptors.binpb"
