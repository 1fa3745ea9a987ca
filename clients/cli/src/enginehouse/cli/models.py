"""The command `models`: the catalog, and the weights on this machine."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as ProgressBar

from enginehouse.cli.connection import ApiKeyOption, DataOption, UrlOption, connect, data_directory
from enginehouse.cli.model_stores import TransferProgress, find_store
from enginehouse.cli.output import JsonFlag, mebibytes, print_json, print_text, reported
from enginehouse.cli.tables import WideFlag, print_table
from enginehouse.cli.values import MAX_INT32, decimal_option, whole_option
from enginehouse.client.usage import price_by_unit
from enginehouse.kit.catalog import Catalog, load_catalog
from enginehouse.local.datadir import DEFAULT, DataDirectory
from enginehouse.local.default_catalog import default_catalog
from enginehouse.local.engines import find_engines
from enginehouse.local.errors import LocalError

app = typer.Typer(no_args_is_help=True, help="List the catalog, pull weights, add models.")

CatalogOption = Annotated[
    Path | None, typer.Option("--catalog", dir_okay=False, help="The catalog file; default: the data directory's.")
]
EngineOption = Annotated[
    str, typer.Option("--engine", help="The kind of engine; default: the only one with a model store.")
]


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
        ["model", "backend", "context", "capabilities", "price per million", "endpoints", "health"],
        rows,
        empty="the catalog is empty",
        wide=wide,
        folding=["capabilities", "price per million", "endpoints", "health"],
    )


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
        directory.models.mkdir(mode=0o700, parents=True, exist_ok=True)
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


@app.command()
@reported
def add(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    source: Annotated[
        str,
        typer.Argument(
            help="hf:ORG/REPO/FILE[@REVISION] once pulled, package:NAME, file:PATH, or a provider's https://HOST/v1."
        ),
    ],
    context_tokens: Annotated[
        int | None,
        whole_option("--context", least=1, most=MAX_INT32, help="Context length in tokens; default: as trained."),
    ] = None,
    max_output_tokens: Annotated[
        int | None, whole_option("--max-output", least=1, most=MAX_INT32, help="Default output limit.")
    ] = None,
    capability: Annotated[
        list[str] | None,
        typer.Option("--capability", help="chat, tools...; repeatable; default: from the weights."),
    ] = None,
    quality: Annotated[float, decimal_option("--quality", least=0, most=1, help="Quality.")] = 0.5,
    price: Annotated[
        list[str] | None,
        typer.Option("--price", help="UNIT=NANOS per million, such as input_tokens=50000000; repeatable."),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="KEY=VALUE, an option of the backend; repeatable.")
    ] = None,
    engine: EngineOption = "",
    catalog: CatalogOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Add a model to the catalog. It is served from the next start on."""
    directory = data_directory(data)
    file = catalog or directory.catalog
    if catalog is None and not directory.exists:
        raise LocalError(f"no data directory: {directory.root}; create it with `enginehouse up`, or give --catalog")
    store = find_store(engine)
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
    print_text(f"{added.name} added to {file}; a running mesh serves it after `enginehouse down` and `enginehouse up`")


def _catalog(file: Path | None, directory: DataDirectory) -> Catalog:
    if file is not None or directory.catalog.exists():
        return load_catalog(file or directory.catalog)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as default:
        default.write(default_catalog(find_engines().values()))
        default.flush()
        return load_catalog(Path(default.name))


def _pairs(option: str, given: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for text in given:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise LocalError(f"{option} {text!r}: must be KEY=VALUE")
        pairs.append((key, value))
    return pairs


def _whole(unit: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise LocalError(f"--price {unit}={value}: must be a whole number of nano-dollars per million") from None


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
