"""Text engines beside a mesh: real processes with models of their own, which tests may kill."""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import yaml

from enginehouse.kit.testing import ReservedPort
from tests.mesh import Mesh, default_models

READY_S = 90.0


class EngineProcess:
    """One engine that joins a mesh; its spool survives it, so that it can be restarted."""

    def __init__(self, mesh: Mesh, name: str, *, models: tuple[str, ...], environ: dict[str, str]) -> None:
        router = yaml.safe_load(next(mesh.data.glob("run/router*.yaml")).read_text())["router"]
        self.name = name
        self._environ = environ
        self._grpc, self._http = ReservedPort(), ReservedPort()
        self._folder = mesh.data / "engines" / name
        self._folder.mkdir(parents=True)
        section: dict[str, Any] = {
            "engine_id": name,
            "listen": self._grpc.address,
            "http_listen": self._http.address,
            "gateway_address": router["gateway_address"],
            "router_address": router["grpc_listen"],
            "spool_dir": str(self._folder / "spool"),
            "grant_keys_file": router["grant_keys_file"],
            "catalog_file": router["catalog_file"],
            "models_dir": str(mesh.data / "models"),
            "models": list(models),
            "drain_s": 5,
        }
        self._config = self._folder / "config.yaml"
        self._config.write_text(yaml.safe_dump({"inference": section}))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the engine and wait until it is ready."""
        command = [sys.executable, "-m", "enginehouse.engines.inference", "serve", "--config", str(self._config)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=self._environ)
        deadline = time.monotonic() + READY_S
        while not self._ready():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, f"{self.name} is not ready: {self.log()}"
            time.sleep(0.1)

    def kill(self) -> None:
        """Kill the engine, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def end(self) -> None:
        """Stop the engine with SIGTERM, as an operator would."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """Kill the engine and give its ports back."""
        self.kill()
        self._grpc.close()
        self._http.close()

    def log(self) -> str:
        """The last lines of the engine's log."""
        return "\n".join((self._folder / "log").read_text(errors="replace").splitlines()[-20:])

    def _ready(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://{self._http.address}/readyz", timeout=5).status_code == 200
        return False


@contextlib.contextmanager
def engine(mesh: Mesh, name: str, *, models: tuple[str, ...], environ: dict[str, str]) -> Iterator[EngineProcess]:
    """A running engine."""
    process = EngineProcess(mesh, name, models=models, environ=environ)
    try:
        process.start()
        yield process
    finally:
        process.close()


def catalog_with(folder: pathlib.Path, *entries: dict[str, Any]) -> str:
    """A catalog of variants of the bundled model; each entry says what differs. Returns the file's path."""
    bundled = next(model for model in default_models()["models"] if model["name"] == "enginehouse-tiny")
    path = folder / "catalog.yaml"
    path.write_text(yaml.safe_dump({"models": [bundled | entry for entry in entries]}))
    return str(path)
