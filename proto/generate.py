"""Generates the Python stubs, their types and the descriptor set from the contracts in this folder.

Run by `make proto` with the interpreter of the generators' own environment, which holds the floor versions.
"""

from __future__ import annotations

import pathlib
import shutil
import sys

import grpc_tools
from google.api import annotations_pb2
from grpc_tools import protoc

CONTRACTS = pathlib.Path(__file__).resolve().parent
STUBS = CONTRACTS / "python" / "src"
DESCRIPTORS = STUBS / "enginehouse" / "api" / "descriptors.binpb"


def main() -> int:
    """Replaces every generated file; returns protoc's exit status."""
    protos = sorted(str(path) for path in (CONTRACTS / "enginehouse").rglob("*.proto"))
    third_party = pathlib.Path(annotations_pb2.__file__).parents[2]
    bundled = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    api = STUBS / "enginehouse" / "api"
    shutil.rmtree(api, ignore_errors=True)
    api.mkdir(parents=True)
    status = protoc.main(
        [
            "protoc",
            f"--proto_path={CONTRACTS}",
            f"--proto_path={third_party}",
            f"--proto_path={bundled}",
            f"--python_out={STUBS}",
            f"--grpc_python_out={STUBS}",
            f"--mypy_out=quiet:{STUBS}",
            f"--mypy_grpc_out=quiet:{STUBS}",
            f"--descriptor_set_out={DESCRIPTORS}",
            "--include_imports",
            *protos,
        ]
    )
    (api / "py.typed").touch()
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
