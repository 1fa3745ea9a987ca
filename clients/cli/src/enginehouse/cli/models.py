"""The command `models`: the catalog, and the weights on this machine."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as ProgressBar

from enginehouse.cli import catalog_changes
from enginehouse.cli.catalog_changes import CatalogOption, EngineOption
from enginehouse.cli.connection import ApiKeyOption, DataOption, UrlOption, connect, data_directory
from enginehouse.cli.model_stores import TransferProgress, find_store
from enginehouse.cli.output import JsonFlag, dollars, mebibytes, print_json, print_text, reported
from enginehouse.cli.tables import WideFlag, print_table
from enginehouse.client.usage import price_by_unit
from enginehouse.kit.catalog import Catalog, CatalogModel, load_catalog
from enginehouse.kit.pricing import unit_name
from enginehouse.local.datadir import DEFAULT, DataDirectory
from enginehouse.local.default_catalog import default_catalog
from enginehouse.local.engines import find_engines
from enginehouse.local.errors import LocalError
from enginehouse.local.mesh import read_environment
from enginehouse.local.pending_catalog import PendingCatalog, pending_catalog

app = typer.Typer(no_args_is_help=True, help="List the catalog; add, edit and remove models; pull weights.")
app.command()(catalog_changes.add)
app.command()(catalog_changes.edit)
app.command()(catalog_changes.remove)


@app.command("list")
@reported
def list_(
    wide: WideFlag = False,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """List the catalog with the live endpoints of each model."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        models = list(mesh.admin.list_models())
    pending = _pending(url, data)
    changes = pending.changes if pending is not None else {}
    if json_:
        described: list[dict[str, Any]] = [
            {
                "name": model.name,
                "cluster": model.cluster,
                "backend": model.backend,
                "context_tokens": model.context_tokens,
                "capabilities": list(model.capabilities),
                "quality": round(model.quality, 6),
                "prices": price_by_unit(model.prices),
                "endpoints": list(model.endpoints),
                "health": model.health,
                "waits_for_restart": changes.get(model.name, ""),
            }
            for model in models
        ]
        print_json({"models": described + [_waiting(model) for model in _added(pending)]})
        return
    rows = [
        [
            model.name,
            model.backend,
            str(model.context_tokens),
            ", ".join(model.capabilities),
            ", ".join(f"{unit} {dollars(nanos)}" for unit, nanos in price_by_unit(model.prices).items()),
            ", ".join(model.endpoints) or "none",
            f"{model.health}; {_WAITS[changes[model.name]]}" if model.name in changes else model.health,
        ]
        for model in models
    ]
    rows += [
        [
            model.name,
            model.backend,
            str(model.context_tokens),
            ", ".join(sorted(model.capabilities)),
            ", ".join(f"{unit_name(unit)} {dollars(nanos)}" for unit, nanos in model.prices.items()),
            "none",
            _WAITS["added"],
        ]
        for model in _added(pending)
    ]
    print_table(
        ["model", "backend", "context", "capabilities", "price per million", "endpoints", "health"],
        rows,
        empty="the catalog is empty",
        wide=wide,
        folding=["capabilities", "price per million", "endpoints", "health"],
    )
    if pending is not None:
        print_text(pending.describe())


@app.command()
@reported
def pull(
    model: Annotated[str, typer.Argument(help="A model of the catalog, or hf:ORG/REPO[/FILE][@REVISION].")],
    engine: EngineOption = "",
    catalog: CatalogOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Fetch weights from the Hugging Face hub (HF_ENDPOINT, HF_TOKEN) and verify their checksum."""
    directory = data_directory(data)
    models = _catalog(catalog, directory)
    listed = models.get(model)
    store = find_store(engine or (listed.cluster if listed is not None else ""))
    try:
        source = store.source_to_pull(model, models)
        # Marked as a data directory, or the first start would take it for somebody else's.
        directory.prepare_catalog()
        directory.models.mkdir(mode=0o700, exist_ok=True)
        with _TransferProgressBar(shown=not json_ and sys.stderr.isatty()) as bar:
            pulled = store.pull(source, models_dir=directory.models, environ=os.environ, progress=bar.update)
    except store.StoreError as error:
        raise LocalError(str(error)) from error
    if json_:
        print_json(
            {
                "source": pulled.source,
                "path": str(pulled.path),
                "size_bytes": pulled.size_bytes,
                "checksum": pulled.checksum,
                "commit": pulled.commit,
                "fetched": pulled.fetched,
            }
        )
        return
    result = "fetched" if pulled.fetched else "was up to date"
    print_text(
        f"{pulled.source} {result}: {pulled.path} ({mebibytes(pulled.size_bytes)}, checksum {pulled.checksum[:16]})"
    )


_WAITS = MappingProxyType(
    {
        "added": "waits for a restart",
        "changed": "its change waits for a restart",
        "removed": "removed, and served until a restart",
    }
)


def _pending(url: str | None, data: Path) -> PendingCatalog | None:
    """Return what waits for a restart of the data directory's mesh, if that is the one that is called."""
    directory = data_directory(data)
    local = read_environment(directory.environment_file).get("ENGINEHOUSE_URL")
    return pending_catalog(directory) if url is None or url == local else None


def _added(pending: PendingCatalog | None) -> Iterable[CatalogModel]:
    return pending.added.values() if pending is not None else ()


def _waiting(model: CatalogModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "cluster": model.cluster,
        "backend": model.backend,
        "context_tokens": model.context_tokens,
        "capabilities": sorted(model.capabilities),
        "quality": round(model.quality, 6),
        "prices": {unit_name(unit): nanos for unit, nanos in model.prices.items()},
        "endpoints": [],
        "health": "",
        "waits_for_restart": "added",
    }


def _catalog(file: Path | None, directory: DataDirectory) -> Catalog:
    if file is not None or directory.catalog.exists():
        return load_catalog(file or directory.catalog)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as default:
        default.write(default_catalog(find_engines().values()))
        default.flush()
        return load_catalog(Path(default.name))


class _TransferProgressBar:
    """Progress bar of a transfer, on stderr."""

    def __init__(self, *, shown: bool) -> None:
        self._bar = ProgressBar(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not shown,
        )
        self._task: Any = None

    def __enter__(self) -> _TransferProgressBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, progress: TransferProgress) -> None:
        """Show the progress."""
        if self._task is None:
            self._task = self._bar.add_task(progress.file, total=progress.total_bytes)
        self._bar.update(self._task, completed=progress.done_bytes)
