"""`models`: the catalog, and the weights on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as ProgressBar

from enginehouse.cli.connection import ApiKeyOption, DataOption, UrlOption, connect, data_directory
from enginehouse.cli.output import JsonFlag, mebibytes, print_json, print_table, print_text, reported
from enginehouse.client.usage import price_by_unit
from enginehouse.kit.catalog import Catalog, load_catalog
from enginehouse.local.datadir import DEFAULT, DataDirectory, default_catalog
from enginehouse.local.errors import LocalError

if TYPE_CHECKING:
    from enginehouse.engines.inference.store import PullProgress

app = typer.Typer(no_args_is_help=True, help="List the catalog, fetch weights, add models.")

CatalogOption = Annotated[
    Path | None, typer.Option("--catalog", dir_okay=False, help="The catalog file; else the data directory's.")
]


@app.command("list")
@reported
def list_(
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """List the catalog with the engines that serve each model now."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        models = list(mesh.admin.list_models())
    if json_:
        described = [
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
            }
            for model in models
        ]
        print_json({"models": described})
        return
    rows = [
        [
            model.name,
            model.backend,
            str(model.context_tokens),
            ", ".join(model.capabilities),
            ", ".join(f"{unit} ${nanos / 10**9:g}" for unit, nanos in price_by_unit(model.prices).items()),
            ", ".join(model.endpoints) or "none",
            model.health,
        ]
        for model in models
    ]
    print_table(
        ["model", "backend", "context", "capabilities", "price a million", "live at", "health"],
        rows,
        empty="the catalog is empty",
    )


@app.command()
@reported
def pull(
    model: Annotated[str, typer.Argument(help="A model of the catalog, or hf:ORG/REPO[/FILE][@REVISION].")],
    catalog: CatalogOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Fetch weights from the Hugging Face hub (HF_ENDPOINT, HF_TOKEN), checked by their checksum."""
    # Imported here: the store brings its own network stack, which no other command needs.
    from enginehouse.engines.inference import store

    directory = data_directory(data)
    try:
        source = store.source_to_pull(model, _catalog(catalog, directory))
        directory.models.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _Bar(shown=not json_ and sys.stderr.isatty()) as bar:
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
    what = "fetched" if pulled.fetched else "is here already"
    print_text(
        f"{pulled.source} {what}: {pulled.path} ({mebibytes(pulled.size_bytes)}, checksum {pulled.checksum[:16]})"
    )


@app.command()
@reported
def add(
    name: Annotated[str, typer.Argument(help="What requests will call it.")],
    source: Annotated[
        str, typer.Argument(help="hf:ORG/REPO/FILE[@REVISION] once pulled, file:PATH, or a provider's https://HOST/v1.")
    ],
    context_tokens: Annotated[
        int | None,
        typer.Option("--context", min=1, help="Most tokens of prompt and answer; else as trained."),
    ] = None,
    max_output_tokens: Annotated[int | None, typer.Option("--max-output", min=1, help="The default bound.")] = None,
    capability: Annotated[
        list[str] | None, typer.Option("--capability", help="chat, tools...; may be given again; else read from them.")
    ] = None,
    quality: Annotated[float, typer.Option("--quality", min=0, max=1, help="How good it is.")] = 0.5,
    price: Annotated[
        list[str] | None,
        typer.Option("--price", help="UNIT=NANOS a million, such as input_tokens=50000000; may be given again."),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="KEY=VALUE, the backend's own; may be given again.")
    ] = None,
    catalog: CatalogOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Add a model to the catalog; it is served from the next start on."""
    from enginehouse.engines.inference import store

    directory = data_directory(data)
    file = catalog or directory.catalog
    if catalog is None and not directory.exists:
        raise LocalError(f"{directory.root} is no data directory yet; `enginehouse up` makes it, or give --catalog")
    try:
        new = store.NewModel(
            name=name,
            source=source,
            context_tokens=context_tokens,
            max_output_tokens=max_output_tokens,
            capabilities=capability or (),
            quality=quality,
            prices={unit: _whole(unit, value) for unit, value in _pairs("--price", price or ())},
            options={key: yaml.safe_load(value) for key, value in _pairs("--option", option or ())},
        )
        added = store.add_model(new, catalog_file=file, models_dir=directory.models)
    except store.StoreError as error:
        raise LocalError(str(error)) from error
    if json_:
        print_json(
            {
                "name": added.name,
                "cluster": added.cluster,
                "backend": added.backend,
                "source": added.source,
                "context_tokens": added.context_tokens,
                "max_output_tokens": added.max_output_tokens,
                "capabilities": sorted(added.capabilities),
                "quality": added.quality,
                "catalog": str(file),
            }
        )
        return
    print_text(f"{added.name} is in {file}; a running mesh serves it after `enginehouse down` and `enginehouse up`")


def _catalog(file: Path | None, directory: DataDirectory) -> Catalog:
    if file is not None:
        return load_catalog(file)
    return load_catalog(directory.catalog if directory.catalog.exists() else default_catalog())


def _pairs(option: str, given: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for text in given:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise LocalError(f"{option} {text!r} must be KEY=VALUE")
        pairs.append((key, value))
    return pairs


def _whole(unit: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise LocalError(f"--price {unit}={value}: must be a whole number of nano-dollars for a million") from None


class _Bar:
    """A transfer's progress on stderr."""

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

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, progress: PullProgress) -> None:
        """Shows how far it has come."""
        if self._task is None:
            self._task = self._bar.add_task(progress.file, total=progress.total_bytes)
        self._bar.update(self._task, completed=progress.done_bytes)
