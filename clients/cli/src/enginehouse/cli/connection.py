"""Which mesh a command speaks to, and with which key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from enginehouse.client import Enginehouse
from enginehouse.local.datadir import DEFAULT, DataDirectory, default_catalog
from enginehouse.local.errors import LocalError
from enginehouse.local.mesh import read_environment

DataOption = Annotated[
    Path, typer.Option("--data", envvar="ENGINEHOUSE_DATA", help="The data directory.", show_default=str(DEFAULT))
]
UrlOption = Annotated[
    str | None, typer.Option("--url", envvar="ENGINEHOUSE_URL", help="The mesh; else that of the data directory.")
]
ApiKeyOption = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar="ENGINEHOUSE_API_KEY",
        help="The key to call with; else that of the data directory.",
        show_envvar=True,
    ),
]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=0.001, help="Seconds that the call may take.")]


def data_directory(path: Path) -> DataDirectory:
    """The data directory of that path."""
    return DataDirectory(path, catalog=default_catalog())


def connect(*, url: str | None, api_key: str | None, data: Path, timeout_s: float = 60.0) -> Enginehouse:
    """A client for the mesh named on the command line or in the environment, or else for the one on this machine.

    Raises:
        LocalError: it is not known where the mesh is, or with which key to call it.
    """
    # A key is sent only where it belongs: the data directory's own, to the data directory's own mesh.
    local = read_environment(data_directory(data).environment_file)
    if url is None or url == local.get("ENGINEHOUSE_URL"):
        api_key = api_key or local.get("ENGINEHOUSE_API_KEY")
    url = url or local.get("ENGINEHOUSE_URL")
    if not url:
        raise LocalError(
            f"no mesh is known: {data / 'dev.env'} is not there; `enginehouse up` starts one, --url or ENGINEHOUSE_URL "
            "names another"
        )
    if not api_key:
        raise LocalError(f"no key for {url}: give --api-key or ENGINEHOUSE_API_KEY")
    return Enginehouse(url, api_key, timeout_s=timeout_s)
