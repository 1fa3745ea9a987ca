"""A mesh started by the command that a user would type, and its endpoints."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from enginehouse.kit.testing import ReservedPort
from enginehouse.local.default_catalog import default_catalog
from enginehouse.local.engines import find_engines

# Models that take seconds to load or to answer: tests are about the mesh, and the small ones show it as well.
_LARGE = frozenset({"smollm2-135m", "piper-joe", "whisper-base"})
COMMAND = str(pathlib.Path(sys.executable).parent / "enginehouse")
START_TIMEOUT_S = 120.0


def default_models(*, small: bool = False) -> dict[str, Any]:
    """The catalog of a fresh mesh as a document; `small` leaves out the models that take seconds."""
    document: dict[str, Any] = yaml.safe_load(default_catalog(find_engines().values()))
    if small:
        document["models"] = [model for model in document["models"] if model["name"] not in _LARGE]
        kept = {"auto", *(model["name"] for model in document["models"])}
        aliases = document.get("aliases") or {}
        document["aliases"] = {alias: name for alias, name in aliases.items() if name in kept}
    return {key: value for key, value in document.items() if value}


@dataclass(frozen=True)
class Mesh:
    """A running mesh: where it is, and the administrator's key."""

    data: pathlib.Path
    port: int
    key: str

    @property
    def url(self) -> str:
        """The base URL of the public listener."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def target(self) -> str:
        """The target of gRPC channels."""
        return f"127.0.0.1:{self.port}"

    @classmethod
    @contextlib.contextmanager
    def started(cls, *, config: dict[str, Any] | None = None, small: bool = True) -> Iterator[Mesh]:
        """Run `enginehouse up --detach` on a fresh data directory; run `down` at the end.

        Args:
            config: the user's settings.
            small: whether the mesh has only the small models of the default catalog; the settings may name another.
        """
        # A short path: PostgreSQL's socket lies below it, and socket paths end at 107 bytes.
        data = pathlib.Path(tempfile.mkdtemp(prefix="eh-", dir="/tmp"))
        overlay, catalog = data.with_suffix(".yaml"), data.with_suffix(".catalog.yaml")
        port = ReservedPort()
        arguments = ["up", "--data", str(data), "--port", str(port.number), "--detach"]
        if small:
            catalog.write_text(yaml.safe_dump(default_models(small=True), sort_keys=False))
            config = {**(config or {}), "local": {"catalog_file": str(catalog), **(config or {}).get("local", {})}}
        if config is not None:
            overlay.write_text(yaml.safe_dump(config))
            arguments += ["--config", str(overlay)]
        try:
            started = run(*arguments, timeout_s=START_TIMEOUT_S)
            assert started.returncode == 0, f"up failed:\n{started.stdout}\n{started.stderr}\n{cls._logs(data)}"
            environment = dict(
                line.removeprefix("export ").split("=", 1)
                for line in (data / "dev.env").read_text().splitlines()
                if "=" in line and not line.startswith("#")
            )
            yield cls(data=data, port=port.number, key=environment["ENGINEHOUSE_API_KEY"].strip("'\""))
        finally:
            run("down", "--data", str(data), timeout_s=60)
            port.close()
            if not os.environ.get("ENGINEHOUSE_KEEP_TEST_DATA"):
                shutil.rmtree(data, ignore_errors=True)
            overlay.unlink(missing_ok=True)
            catalog.unlink(missing_ok=True)

    def command(self, *arguments: str) -> Any:
        """Run an `enginehouse` command with `--json` against this mesh; return the parsed answer."""
        environment = {"ENGINEHOUSE_URL": self.url, "ENGINEHOUSE_API_KEY": self.key}
        done = run(*arguments, "--json", timeout_s=60, environment=environment)
        assert done.returncode == 0, f"{arguments} failed: {done.stdout} {done.stderr}"
        return json.loads(done.stdout)

    def create_key(self, name: str, *, budget_nanos: int | None = None) -> tuple[str, str]:
        """Create a key; return its id and its secret."""
        arguments = ["keys", "create", "--name", name]
        if budget_nanos is not None:
            arguments += ["--budget-nanos", str(budget_nanos)]
        made = self.command(*arguments)
        return made["id"], made["key"]

    def spend(self, key_id: str) -> int:
        """The key's spend in nano-dollars."""
        return int(self.command("spend", "--key", key_id)["total_nanos"])

    def processes(self) -> dict[str, int]:
        """Process ids by the names that `enginehouse status` gives."""
        status = json.loads(run("status", "--data", str(self.data), "--json", timeout_s=60).stdout)
        return {process["name"]: int(process["pid"]) for process in status["processes"] if process["pid"]}

    @staticmethod
    def _logs(data: pathlib.Path) -> str:
        tails = []
        for path in sorted(data.glob("logs/*")):
            tails.append(f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-15:]))
        return "\n".join(tails)


def run(
    *arguments: str, timeout_s: float, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the `enginehouse` command to its end and return its output."""
    return subprocess.run(
        [COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**os.environ, **(environment or {})},
        check=False,
        stdin=subprocess.DEVNULL,
    )
