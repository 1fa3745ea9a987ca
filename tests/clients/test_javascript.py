"""Unmodified JavaScript clients, and the generators and compilers that read the mesh's documents."""

from __future__ import annotations

import pathlib
import re
import shutil

import pytest

from tests.clients.conftest import FOLDER, ROOT, Runs

pytestmark = pytest.mark.clients

JAVASCRIPT = FOLDER / "javascript"
BIN = (JAVASCRIPT / "node_modules" / ".bin").relative_to(ROOT)
OPENAPI = ROOT / "docs" / "openapi.json"


@pytest.mark.parametrize("script", ["openai_client.mjs", "vercel_ai_client.mjs"])
def test_the_client_works_unmodified(run_client: Runs, script: str) -> None:
    node = shutil.which("node")
    assert node is not None, "node is not installed: install Node.js 20 or newer (Debian: nodejs)"
    assert run_client(node, str(JAVASCRIPT / script)).splitlines()[-1] == "passed"


def test_typescript_knows_what_the_openapi_document_answers(run_client: Runs, tmp_path: pathlib.Path) -> None:
    run_client(str(BIN / "openapi-typescript"), str(OPENAPI), "-o", str(tmp_path / "schema.ts"))
    source = (tmp_path / "schema.ts").read_text()
    assert not re.findall(r'"[^"\n]*\{[^}\n]*\.[^}\n]*\}[^"\n]*":', source), "a path parameter's name has a dot"
    shutil.copy(JAVASCRIPT / "typed_client.ts", tmp_path)
    run_client(str(BIN / "tsc"), "--noEmit", "--strict", "--skipLibCheck", str(tmp_path / "typed_client.ts"))


def test_a_generator_makes_a_client_of_every_path(run_client: Runs, tmp_path: pathlib.Path) -> None:
    run_client(str(BIN / "openapi-ts"), "-i", str(OPENAPI), "-o", str(tmp_path / "sdk"), folder=tmp_path)
    assert (tmp_path / "sdk" / "sdk.gen.ts").exists()


def test_buf_reads_the_descriptors_and_calls_a_method(run_client: Runs, descriptors: pathlib.Path) -> None:
    method = "enginehouse.api.router.v1.ModelService/ListModels"
    listed = run_client(str(BIN / "buf"), "build", str(descriptors), "-o", "-#format=json")
    assert '"google.rpc"' in listed
    assert method.split("/")[1] in listed
