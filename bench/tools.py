"""The load generators and LiteLLM's proxy, installed into this folder only."""

from __future__ import annotations

import pathlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

GHZ = "tests/clients/ghz/bin/ghz"
WRK_PACKAGES = ("wrk", "libluajit-5.1-2", "libluajit-5.1-common")


class ToolMissing(Exception):
    """A tool is absent and cannot be installed; the message says the fix."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A program and the environment that it needs."""

    path: str
    environment: Mapping[str, str] = field(default_factory=dict)


def find_ghz(root: pathlib.Path) -> Tool:
    """Find ghz as `make test-clients` builds it, from the hashes in its go.sum; build it if it is not there."""
    here = root / GHZ
    if not here.exists():
        for needed, fix in (("make", "install make"), ("go", "install Go 1.25 or newer")):
            if shutil.which(needed) is None:
                raise ToolMissing(f"ghz cannot be built without {needed}: {fix}")
        print("building ghz (once, minutes)", file=sys.stderr, flush=True)
        built = subprocess.run(["make", "--silent", GHZ], cwd=root, check=False, capture_output=True, text=True)
        if built.returncode:
            raise ToolMissing(f"ghz could not be built: {built.stderr.strip()[-400:]}; `make {GHZ}` shows all of it")
    return Tool(path=str(here))


def find_wrk(tools: pathlib.Path) -> Tool:
    """Find wrk on PATH, or unpack it into `tools` from Debian's packages."""
    if found := shutil.which("wrk"):
        return Tool(path=found)
    unpacked = tools / "debian"
    program = unpacked / "usr" / "bin" / "wrk"
    if not program.exists():
        if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
            raise ToolMissing("wrk is not installed: install it with the system's package manager (Debian: wrk)")
        unpacked.mkdir(parents=True, exist_ok=True)
        fetched = subprocess.run(
            ["apt-get", "download", *WRK_PACKAGES], cwd=unpacked, check=False, capture_output=True, text=True
        )
        if fetched.returncode:
            raise ToolMissing(
                f"wrk is not installed and apt-get could not fetch it: {fetched.stderr.strip()[-300:]}. Install it "
                "(`apt-get install wrk`), or let apt-get know its packages (`apt-get update`) and try again"
            )
        for package in unpacked.glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", str(package), str(unpacked)], check=True)
            package.unlink()
    libraries = unpacked / "usr" / "lib" / f"{platform.machine()}-linux-gnu"
    return Tool(path=str(program), environment={"LD_LIBRARY_PATH": str(libraries)})


def find_litellm(root: pathlib.Path) -> Tool:
    """Find LiteLLM's proxy in `.venv-litellm`, or install it from requirements/litellm.txt."""
    environment = root / ".venv-litellm"
    stamp = environment / ".stamp"
    wanted = root / "requirements" / "litellm.txt"
    if not stamp.exists() or stamp.read_text() != wanted.read_text():
        uv = pathlib.Path(sys.executable).with_name("uv")
        if not uv.exists():
            raise ToolMissing("uv is not in this environment: run `make install`")
        python = environment / "bin" / "python"
        steps = (
            [uv, "venv", "--quiet", "--clear", "--python", sys.executable, environment],
            [uv, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", wanted],
        )
        print("installing LiteLLM into .venv-litellm (once)", file=sys.stderr, flush=True)
        for step in steps:
            ran = subprocess.run([str(part) for part in step], check=False, capture_output=True, text=True)
            if ran.returncode:
                raise ToolMissing(f"LiteLLM could not be installed: {ran.stderr.strip()[-400:]}")
        stamp.write_text(wanted.read_text())
    return Tool(path=str(environment / "bin" / "litellm"))
