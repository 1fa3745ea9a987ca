"""The model catalog: which models exist, where they run, what they can do and what they cost.

The router reads prices, quality and capabilities; an engine reads backend, source and options. Neither knows the
other's part: the catalog is data, and `options` stays opaque to all but the backend it names.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from enginehouse.kit._documents import ConfigError, read_mapping
from enginehouse.kit.contracts import Contracts, load_contracts
from enginehouse.kit.nearest import did_you_mean
from enginehouse.kit.pricing import MAX_NAMED_UNITS, MAX_NANOS, PER_MILLION, UNITS, Unit, unit_named

CAPABILITIES = frozenset(
    {"chat", "completion", "embeddings", "tools", "json_schema", "grammar", "logprobs", "speech", "transcription",
     "translation", "voice_clone", "image", "video", "rerank"}
)  # fmt: skip
"""The words that catalogs may use for what a model can do, beside those of the installed contracts."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_CLUSTER = re.compile(r"[a-z][a-z0-9-]{0,62}")
_REGION = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
# A million million of a unit must still be priceable in 63 bits; anything dearer is a slip of the pen.
_MAX_PRICE = MAX_NANOS // PER_MILLION
_KEYS = ("name", "cluster", "backend", "source", "context_tokens", "max_output_tokens", "capabilities", "quality",
         "prices", "max_units", "region", "options")  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CatalogModel:
    """One model.

    Attributes:
        name: what requests call it.
        cluster: the kind of engine that serves it, such as "inference".
        backend: the runtime in that engine, such as "llama.cpp".
        source: where its weights are: `bundled:`, `file:`, `hf:ORG/REPO/FILE[@REVISION]`, `package:NAME`, or a URL.
        context_tokens: most tokens of prompt and answer together; 0 where tokens mean nothing.
        max_output_tokens: the bound on output where a request gives none; at most `context_tokens`.
        capabilities: what it can do, of `CAPABILITIES` and of what the installed contracts ask of models.
        quality: how good it is, 0 to 1.
        prices: nano-dollars for a million of each unit; a unit that is not listed is free.
        options: the backend's own settings, checked by it.
        max_units: how many of a unit one request may use at most, for tasks whose requests do not say.
        region: where it runs, such as "eu-west" or "us", in words of the operator's own; empty if that is not stated.
    """

    name: str
    cluster: str
    backend: str
    source: str
    context_tokens: int
    max_output_tokens: int
    capabilities: frozenset[str]
    quality: float
    prices: Mapping[Unit, int]
    options: Mapping[str, Any]
    max_units: Mapping[Unit, int] = dataclasses.field(default_factory=dict)
    region: str = ""


class Catalog:
    """The models by name."""

    def __init__(self, models: Iterable[CatalogModel]) -> None:
        self.models: tuple[CatalogModel, ...] = tuple(sorted(models, key=lambda model: model.name))
        self._by_name = {model.name: model for model in self.models}

    def get(self, name: str) -> CatalogModel | None:
        """The model of that name, or None."""
        return self._by_name.get(name)

    def for_cluster(self, cluster: str) -> tuple[CatalogModel, ...]:
        """The models that a cluster's engines serve, by name."""
        return tuple(model for model in self.models if model.cluster == cluster)


def load_catalog(path: Path, *, contracts: Contracts | None = None) -> Catalog:
    """Return the catalog that a YAML file holds under `models`.

    Args:
        path: the file.
        contracts: whose units and capabilities the catalog may name; the installed ones if left out.

    Raises:
        ConfigError: names the file, the model and the key: an unknown or missing key, a name given twice, a price that
            is negative or too large to charge in 63 bits, an unknown unit or capability.
    """
    document = read_mapping(path)
    if contracts is None:
        contracts = load_contracts()
    for key in document:
        if key != "models":
            raise ConfigError(f"{path}: unknown key {key!r}{did_you_mean(key, ['models'], list_known=True)}")
    entries = document.get("models")
    if entries is None:
        entries = []
    if not isinstance(entries, list):
        raise ConfigError(f"{path}: models: must be a list")
    models: dict[str, CatalogModel] = {}
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise ConfigError(f"{path}: models[{index}]: must be a mapping")
        where = f"{path}: models[{index}]"
        model = _parse_model(entry, where, contracts)
        if model.name in models:
            raise ConfigError(f"{where}.name: {model.name!r} is given twice; names are unique")
        models[model.name] = model
    return Catalog(models.values())


def _parse_model(entry: Mapping[Any, Any], where: str, contracts: Contracts) -> CatalogModel:
    for key in entry:
        if key not in _KEYS:
            raise ConfigError(f"{where}: unknown key {key!r}{did_you_mean(str(key), _KEYS, list_known=True)}")
    for key in ("name", "cluster", "backend", "source", "capabilities"):
        if entry.get(key) is None:
            raise ConfigError(f"{where}: {key} is required")
    name = _text(entry, "name", where)
    if not _NAME.fullmatch(name) or name == "auto":
        raise ConfigError(f"{where}.name: {name!r} must be 1-128 of [A-Za-z0-9._:/-] and not 'auto'")
    where = f"{where} ({name})"
    cluster = _text(entry, "cluster", where)
    if not _CLUSTER.fullmatch(cluster):
        raise ConfigError(f"{where}.cluster: {cluster!r} must be 1-63 of [a-z0-9-] and begin with a letter")
    context = _whole(entry, "context_tokens", where, most=2**31 - 1)
    output = _whole(entry, "max_output_tokens", where, most=2**31 - 1)
    if output > context:
        raise ConfigError(f"{where}.max_output_tokens: {output} is over context_tokens, {context}")
    quality = entry.get("quality", 0.0)
    if isinstance(quality, bool) or not isinstance(quality, int | float) or not 0 <= quality <= 1:
        raise ConfigError(f"{where}.quality: {quality!r} must be a number from 0 to 1")
    region = entry.get("region", "")
    if region != "" and not (isinstance(region, str) and _REGION.fullmatch(region)):
        raise ConfigError(f"{where}.region: {region!r} must be 1-63 of [a-z0-9-]; leave it out if it is not known")
    options = entry.get("options") or {}
    if not isinstance(options, dict):
        raise ConfigError(f"{where}.options: must be a mapping")
    return CatalogModel(
        name=name,
        cluster=cluster,
        backend=_text(entry, "backend", where),
        source=_text(entry, "source", where),
        context_tokens=context,
        max_output_tokens=output,
        capabilities=_capabilities(entry["capabilities"], where, CAPABILITIES | contracts.capabilities),
        quality=float(quality),
        prices=_prices(entry.get("prices") or {}, where, contracts),
        max_units=_max_units(entry.get("max_units") or {}, where, contracts),
        options=MappingProxyType(options),
        region=region,
    )


def _text(entry: Mapping[Any, Any], key: str, where: str) -> str:
    value = entry[key]
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where}.{key}: {value!r} must be a non-empty string")
    return value


def _whole(entry: Mapping[Any, Any], key: str, where: str, *, most: int) -> int:
    value = entry.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ConfigError(f"{where}.{key}: {value!r} must be a whole number from 0 to {most}")
    return value


def _capabilities(value: Any, where: str, known: Iterable[str]) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ConfigError(f"{where}.capabilities: must be a list of words")
    for word in value:
        if word not in known:
            raise ConfigError(
                f"{where}.capabilities: unknown capability {word!r}{did_you_mean(word, known, list_known=True)}"
            )
    return frozenset(value)


def _prices(value: Any, where: str, contracts: Contracts) -> Mapping[Unit, int]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where}.prices: must be a mapping of units to nano-dollars for a million of them")
    prices: dict[Unit, int] = {}
    for name, price in value.items():
        _check_unit(name, f"{where}.prices", contracts)
        if isinstance(price, bool) or not isinstance(price, int):
            raise ConfigError(f"{where}.prices.{name}: {price!r} must be a whole number of nano-dollars for a million")
        if not 0 <= price <= _MAX_PRICE:
            raise ConfigError(
                f"{where}.prices.{name}: {price} must be from 0 to {_MAX_PRICE} nano-dollars for a million"
            )
        prices[unit_named(name)] = price
    if sum(isinstance(unit, str) for unit in prices) > MAX_NAMED_UNITS:
        raise ConfigError(f"{where}.prices: at most {MAX_NAMED_UNITS} units of contracts other than ours may be priced")
    return MappingProxyType(prices)


def _max_units(value: Any, where: str, contracts: Contracts) -> Mapping[Unit, int]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where}.max_units: must be a mapping of units to how many a request may use")
    for name, amount in value.items():
        _check_unit(name, f"{where}.max_units", contracts)
        if isinstance(amount, bool) or not isinstance(amount, int) or not 0 <= amount <= MAX_NANOS:
            raise ConfigError(f"{where}.max_units.{name}: {amount!r} must be a whole number of units")
    return MappingProxyType({unit_named(name): amount for name, amount in value.items()})


def _check_unit(name: Any, where: str, contracts: Contracts) -> None:
    if name not in UNITS and name not in contracts.units:
        known = {*UNITS, *contracts.units}
        raise ConfigError(f"{where}: unknown unit {name!r}{did_you_mean(str(name), known, list_known=True)}")
