"""The Python stubs, their types and the descriptor set, generated from the contracts in this folder.

    generate.py                  replaces the committed stubs
    generate.py --check          lists the committed stubs that differ from what the contracts give
    generate.py --image FILE     writes a descriptor set with comments, for lint, documents and comparison

Run by `make` with the interpreter of the generators' own environment, which holds the floor versions: code made by a
newer protoc does not import on an older runtime.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import pathlib
import shutil
import sys
import sysconfig
import tempfile

import grpc_tools
from google.api import annotations_pb2
from grpc_tools import protoc

CONTRACTS = pathlib.Path(__file__).resolve().parent
STUBS = CONTRACTS / "python" / "src"
PACKAGE = pathlib.Path("enginehouse", "api")
# Contracts of other distributions import these, so they lie beside the stubs, where `protoc --proto_path` finds them.
IMPORTED = ("common", "options")
# Errors carry these inside Any, which no contract imports; without their descriptors they print as base64.
IN_ERRORS = ("google/rpc/status.proto", "google/rpc/error_details.proto")


def run_protoc(contracts: pathlib.Path, *outputs: str, beside: tuple[str, ...] = ()) -> None:
    """Run protoc over every contract and the files beside them. Raise SystemExit with its status where it fails."""
    protos = sorted(str(path) for path in (contracts / "enginehouse").rglob("*.proto"))
    third_party = pathlib.Path(annotations_pb2.__file__).parents[2]
    bundled = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    # The plugins for types lie beside this interpreter, whoever calls it.
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    paths = [f"--proto_path={path}" for path in (contracts, third_party, bundled)]
    status = protoc.main(["protoc", *paths, *outputs, *protos, *beside])
    if status:
        raise SystemExit(int(status))


def write_stubs(contracts: pathlib.Path, target: pathlib.Path) -> None:
    """Replace every generated file under `target`."""
    api = target / PACKAGE
    shutil.rmtree(api, ignore_errors=True)
    api.mkdir(parents=True)
    run_protoc(
        contracts,
        f"--python_out={target}",
        f"--grpc_python_out={target}",
        f"--mypy_out=quiet:{target}",
        f"--mypy_grpc_out=quiet:{target}",
    )
    run_protoc(contracts, "--include_imports", f"--descriptor_set_out={api / 'descriptors.binpb'}", beside=IN_ERRORS)
    (api / "py.typed").touch()
    for area in IMPORTED:
        for path in sorted((contracts / PACKAGE / area).rglob("*.proto")):
            shutil.copyfile(path, target / path.relative_to(contracts))


def differences(committed: pathlib.Path, fresh: pathlib.Path) -> list[str]:
    """Return the files, relative to either folder, that are not the same bytes in both."""
    ours, theirs = (
        {path.relative_to(root) for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
        for root in (committed, fresh)
    )
    _, changed, unreadable = filecmp.cmpfiles(committed, fresh, [str(path) for path in ours & theirs], shallow=False)
    return sorted([*changed, *unreadable, *(str(path) for path in ours ^ theirs)])


def main() -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contracts", type=pathlib.Path, default=CONTRACTS, help="the folder of the .proto files")
    parser.add_argument("--stubs", type=pathlib.Path, default=STUBS, help="the folder that the stubs lie in")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true")
    what.add_argument("--image", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.image:
        output = f"--descriptor_set_out={arguments.image}"
        run_protoc(arguments.contracts, output, "--include_imports", "--include_source_info")
        return 0
    if not arguments.check:
        write_stubs(arguments.contracts, arguments.stubs)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        fresh = pathlib.Path(scratch)
        write_stubs(arguments.contracts, fresh)
        stale = differences(arguments.stubs / PACKAGE, fresh / PACKAGE)
    for name in stale:
        print(f"{PACKAGE / name} differs from what the contracts give: run `make proto`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
