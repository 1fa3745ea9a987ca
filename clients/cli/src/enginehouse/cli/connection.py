"""The mesh that a command calls, and the key that it calls with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from enginehouse.cli.values import MAX_TIMEOUT_S, decimal_option
from enginehouse.client import Enginehouse
from enginehouse.local.datadir import DEFAULT, DataDirectory
from enginehouse.local.errors import LocalError
from enginehouse.local.mesh import read_environment

DataOption = Annotated[
    Path, typer.Option("--data", envvar="ENGINEHOUSE_DATA", help="The data directory.", show_default=str(DEFAULT))
]
UrlOption = Annotated[
    str | None,
    typer.Option("--url", envvar="ENGINEHOUSE_URL", help="The mesh to call; default: that of the data directory."),
]
ApiKeyOption = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar="ENGINEHOUSE_API_KEY",
        help="The key to call with; default: that of the data directory.",
        show_envvar=True,
    ),
]
TimeoutOption = Annotated[
    float,
    decimal_option(
        "--timeout", least=0.001, most=MAX_TIMEOUT_S, help="The longest that the call may take, in seconds."
    ),
]


def data_directory(path: Path) -> DataDirectory:
    """Return the data directory at a path."""
    return DataDirectory(path)


def connect(*, url: str | None, api_key: str | None, data: Path, timeout_s: float = 60.0) -> Enginehouse:
    """Return a client for the mesh given on the command line or in the environment, by default for the local one.

    Raises:
        LocalError: no mesh or no key was given or found.
    """
    # The data directory's key is sent to the data directory's mesh only.
    local = read_environment(data_directory(data).environment_file)
    if url is None or url == local.get("ENGINEHOUSE_URL"):
        api_key = api_key or local.get("ENGINEHOUSE_API_KEY")
    url = url or local.get("ENGINEHOUSE_URL")
    if not url:
        raise LocalError(
            f"no mesh found: {data / 'dev.env'} does not exist; start one with `enginehouse up`, or give --url or "
            "ENGINEHOUSE_URL"
        )
    if not api_key:
        raise LocalError(f"no key for {url}: give --api-key or ENGINEHOUSE_API_KEY")
    return Enginehouse(url, api_key, timeout_s=timeout_s)
