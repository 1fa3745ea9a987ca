"""The commands `models add`, `edit` and `remove`: changes of the catalog file, before the first start or after it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from enginehouse.cli.connection import DataOption, data_directory
from enginehouse.cli.model_stores import find_store
from enginehouse.cli.output import JsonFlag, print_json, print_text, reported
from enginehouse.cli.values import MAX_INT32, MAX_PRICE_NANOS, Number, decimal_option, shorten, whole_option
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.catalog_file import add_entry, edit_entry, remove_entry
from enginehouse.kit.pricing import unit_name
from enginehouse.local.datadir import DEFAULT
from enginehouse.local.errors import LocalError

CatalogOption = Annotated[
    Path | None, typer.Option("--catalog", dir_okay=False, help="The catalog file; default: the data directory's.")
]
EngineOption = Annotated[
    str, typer.Option("--engine", help="The kind of engine; default: the only one with a model store.")
]
_ContextOption = Annotated[
    int | None,
    whole_option("--context", least=1, most=MAX_INT32, help="Context length in tokens; default: as trained."),
]
_OutputOption = Annotated[
    int | None, whole_option("--max-output", least=1, most=MAX_INT32, help="Default output limit.")
]
_CapabilityOption = Annotated[
    list[str] | None, typer.Option("--capability", help="chat, tools...; repeatable; default: from the weights.")
]
_LanguageOption = Annotated[
    list[str] | None,
    typer.Option("--language", help="A language that it writes, such as te; repeatable; default: from the weights."),
]
_QualityOption = Annotated[
    float | None, decimal_option("--quality", least=0, most=1, help="Quality; default: a guess from its size.")
]
_PriceOption = Annotated[
    list[str] | None,
    typer.Option("--price", help="UNIT=NANOS per million, such as input_tokens=50000000; repeatable."),
]
_OptionOption = Annotated[
    list[str] | None, typer.Option("--option", help="KEY=VALUE, an option of the backend; repeatable.")
]
_PRICE = Number(least=0, most=MAX_PRICE_NANOS, whole=True)


@reported
def add(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    source: Annotated[
        str,
        typer.Argument(
            help="hf:ORG/REPO/FILE[@REVISION] once pulled, package:NAME, file:PATH, or a provider's https://HOST/v1."
        ),
    ],
    context_tokens: _ContextOption = None,
    max_output_tokens: _OutputOption = None,
    capability: _CapabilityOption = None,
    language: _LanguageOption = None,
    quality: _QualityOption = None,
    price: _PriceOption = None,
    option: _OptionOption = None,
    engine: EngineOption = "",
    catalog: CatalogOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Add a model to the catalog, and say what was guessed about it. It is served from the next start on."""
    directory = data_directory(data)
    file = catalog or directory.catalog
    store = find_store(engine)
    resolved, notes = _resolved(source)
    try:
        planned = store.plan_model(
            store.NewModel(
                name=name,
                source=resolved,
                context_tokens=context_tokens,
                max_output_tokens=max_output_tokens,
                capabilities=capability or (),
                languages=language or (),
                quality=quality,
                prices={unit: nanos for unit, nanos in _prices(price or ()).items() if nanos is not None},
                options=_options(option or ()),
            ),
            models_dir=directory.models,
        )
    except store.StoreError as error:
        raise LocalError(str(error)) from error
    if catalog is None:
        directory.prepare_catalog()
    added = add_entry(file, planned.entry)
    notes += planned.notes
    if json_:
        print_json({**_describe(added), "catalog": str(file), "notes": notes})
        return
    print_text(f"{added.name} added to {file}; {_WHEN}")
    _print_notes(notes)


@reported
def edit(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    source: Annotated[str, typer.Option("--source", help="Where its weights are, or its provider.")] = "",
    context_tokens: _ContextOption = None,
    max_output_tokens: _OutputOption = None,
    capability: _CapabilityOption = None,
    language: _LanguageOption = None,
    quality: _QualityOption = None,
    price: Annotated[
        list[str] | None,
        typer.Option("--price", help="UNIT=NANOS per million; UNIT= removes a price; repeatable. Others stay."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option", help="KEY=VALUE, an option of the backend; KEY= removes one; repeatable. Others stay."
        ),
    ] = None,
    region: Annotated[str | None, typer.Option("--region", help="Where it runs; empty to leave it out.")] = None,
    keep_alive_s: Annotated[
        float | None,
        decimal_option(
            "--keep-alive",
            least=-1,
            most=MAX_INT32,
            help="Seconds without use after which it is unloaded; 0 at once, -1 never.",
        ),
    ] = None,
    catalog: CatalogOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Change a model of the catalog. What is not given stays as it is, and so do the other lines of the file."""
    file = _existing(catalog, data)
    changes: dict[str, Any] = {}
    notes: list[str] = []
    if source:
        changes["source"], notes = _resolved(source)
    given = {
        "context_tokens": context_tokens,
        "max_output_tokens": max_output_tokens,
        "capabilities": capability,
        "languages": language,
        "quality": quality,
        "keep_alive_s": None if keep_alive_s is None else _short(keep_alive_s),
    }
    changes |= {key: value for key, value in given.items() if value is not None}
    if region is not None:
        changes["region"] = region or None
    if price:
        changes["prices"] = _merged(_entry_of(file, name).get("prices"), _prices(price))
    if option:
        changes["options"] = _merged(_entry_of(file, name).get("options"), _options(option)) or None
    if not changes:
        raise ValueError(f"nothing to change: give a flag such as --quality, or edit {file}")
    before, after = edit_entry(file, name, changes)
    if json_:
        print_json({**_describe(after), "catalog": str(file), "notes": notes})
        return
    changed = "" if before != after else " (as it was)"
    print_text(f"{name} changed in {file}{changed}; {_WHEN}")
    _print_notes(notes)


@reported
def remove(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    with_aliases: Annotated[bool, typer.Option("--with-aliases", help="Remove its aliases too.")] = False,
    catalog: CatalogOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Remove a model from the catalog. Its weights and its spend stay."""
    file = _existing(catalog, data)
    removed = remove_entry(file, name, with_aliases=with_aliases)
    if json_:
        print_json({"name": removed.name, "catalog": str(file), "removed": True})
    else:
        print_text(f"{removed.name} removed from {file}; {_WHEN}")


_WHEN = "a running mesh serves it so after `enginehouse down` and `enginehouse up`"


def _existing(catalog: Path | None, data: Path) -> Path:
    directory = data_directory(data)
    if catalog is None:
        directory.prepare_catalog()
    return catalog or directory.catalog


def _entry_of(file: Path, name: str) -> dict[str, Any]:
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        # Whoever changes the file says what is wrong with it.
        return {}
    entries = document.get("models") if isinstance(document, dict) else None
    found = (entry for entry in entries or () if isinstance(entry, dict) and entry.get("name") == name)
    return dict(next(found, {}))


def _merged(old: Any, new: dict[str, Any]) -> dict[str, Any]:
    merged = {**(old if isinstance(old, dict) else {}), **new}
    return {key: value for key, value in merged.items() if value is not None}


def _resolved(source: str) -> tuple[str, list[str]]:
    """Return a source whose file is named by its whole path, as this shell finds it, and a note if that differs."""
    scheme, separator, rest = source.partition(":")
    if separator and scheme != "file":
        return source, []
    path = rest if separator else source
    if not path or (not separator and not os.path.exists(path)):
        return source, []
    whole = f"file:{os.path.abspath(os.path.expanduser(path))}"
    return whole, [] if whole == source else [f"source {whole}: {source}, from the folder of this shell"]


def _prices(given: Sequence[str]) -> dict[str, int | None]:
    prices: dict[str, int | None] = {}
    for unit, value in _pairs("--price", given):
        try:
            prices[unit] = _PRICE(value) if value else None
        except typer.BadParameter:
            raise LocalError(
                f"--price {unit}={shorten(value)}: must be a whole number of nano-dollars per million {_PRICE.range}"
            ) from None
    return prices


def _options(given: Sequence[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for key, value in _pairs("--option", given):
        try:
            options[key] = yaml.safe_load(value) if value else None
        except yaml.YAMLError:
            raise LocalError(f"--option {key}={shorten(value)}: must be a value as YAML writes it") from None
    return options


def _pairs(option: str, given: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for text in given:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise LocalError(f"{option} {shorten(text)}: must be KEY=VALUE")
        pairs.append((key, value))
    return pairs


def _short(number: float) -> float:
    return int(number) if number == int(number) else number


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        print_text(f"note: {note}")


def _describe(model: CatalogModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "cluster": model.cluster,
        "backend": model.backend,
        "source": model.source,
        "context_tokens": model.context_tokens,
        "max_output_tokens": model.max_output_tokens,
        "capabilities": sorted(model.capabilities),
        "languages": list(model.languages),
        "quality": model.quality,
        "prices": {unit_name(unit): price for unit, price in model.prices.items()},
    }
