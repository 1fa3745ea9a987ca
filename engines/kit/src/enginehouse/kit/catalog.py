"""The model catalog: which models exist, where they run, their capabilities and prices.

The router reads prices, quality and capabilities; an engine reads backend, source and options. Neither knows the
other's part: the catalog is data, and `options` stays opaque to all but the backend that the entry names.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pydantic

from enginehouse.kit._documents import ConfigError, read_mapping
from enginehouse.kit.contracts import Contracts, load_contracts
from enginehouse.kit.languages import language_tag
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
_MAX_TOKENS = 2**31 - 1
_KEYS = ("aliases", "models")
_AUTO = "auto"
_MAX_LANGUAGES = 256
_MAX_NAME = 128
_MAX_LISTED = 10
# Keys that may stand empty in the file: for those that are required that is an error, like their absence.
_MAY_BE_EMPTY = frozenset(
    {"name", "cluster", "backend", "source", "capabilities", "prices", "max_units", "options", "languages"}
)


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
        keep_alive_s: seconds without use after which an engine unloads it; 0 at once, -1 never, None as the engine's
            setting says.
        languages: those that it writes, speaks or hears, as BCP 47 tags; empty if that is not declared.
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
    languages: tuple[str, ...] = ()
    keep_alive_s: float | None = None


class Catalog:
    """The models by name, and other names for them.

    Args:
        models: the models.
        aliases: by other name, the model that it stands for, or "auto".
        written_at_s: when its file was last written, in seconds since 1970 UTC; 0 where it has none.
    """

    def __init__(
        self,
        models: Iterable[CatalogModel],
        aliases: Mapping[str, str] = MappingProxyType({}),
        *,
        written_at_s: int = 0,
    ) -> None:
        self.written_at_s = written_at_s
        self.models: tuple[CatalogModel, ...] = tuple(sorted(models, key=lambda model: model.name))
        self.aliases: Mapping[str, str] = MappingProxyType(dict(sorted(aliases.items())))
        self._by_name = {model.name: model for model in self.models}

    def get(self, name: str) -> CatalogModel | None:
        """Return the model of that name, or None. Aliases are no models; `resolve` them first."""
        return self._by_name.get(name)

    def resolve(self, name: str) -> str:
        """Return the model that an alias stands for, or "auto"; any other name as it is."""
        return self.aliases.get(name, name)

    def absence(self, name: str) -> str:
        """Return the reason why a name is not that of a model, in words: it is an alias, or unknown."""
        shown = repr(name[:_MAX_NAME])
        target = self.aliases.get(name)
        if target is not None:
            itself = "the models themselves" if target == _AUTO else f"{target!r} itself"
            return f"{shown} is an alias of {target!r}, not a model; name {itself}"
        few = len(self._by_name) <= _MAX_LISTED
        return f"{shown} is not in the catalog{did_you_mean(name, self._by_name, count=3, list_known=few)}"

    def for_cluster(self, cluster: str) -> tuple[CatalogModel, ...]:
        """Return the models that a cluster's engines serve, by name."""
        return tuple(model for model in self.models if model.cluster == cluster)


def load_catalog(path: Path, *, contracts: Contracts | None = None) -> Catalog:
    """Return the catalog that a YAML file holds under `models` and `aliases`.

    Args:
        path: the file.
        contracts: whose units and capabilities the catalog may name; the installed ones if left out.

    Raises:
        ConfigError: names the file, the model and the key: an unknown or missing key, a name given twice, a price that
            is negative or too large to charge in 63 bits, an unknown unit or capability, an alias of nothing.
    """
    document = read_mapping(path)
    if contracts is None:
        contracts = load_contracts()
    for key in document:
        if key not in _KEYS:
            raise ConfigError(f"{path}: unknown key {key!r}{did_you_mean(key, _KEYS, list_known=True)}")
    entries = document.get("models")
    if entries is None:
        entries = []
    if not isinstance(entries, list):
        raise ConfigError(f"{path}: models: must be a list")
    models: dict[str, CatalogModel] = {}
    for index, entry in enumerate(entries):
        model = _parse_model(entry, f"{path}: models[{index}]", contracts)
        if model.name in models:
            raise ConfigError(f"{path}: models[{index}].name: {model.name!r} is given twice; names are unique")
        models[model.name] = model
    aliases = _parse_aliases(document.get("aliases"), models, f"{path}: aliases")
    return Catalog(models.values(), aliases, written_at_s=int(path.stat().st_mtime))


def _parse_aliases(entries: Any, models: Mapping[str, CatalogModel], where: str) -> dict[str, str]:
    if entries is None:
        return {}
    if not isinstance(entries, dict):
        raise ConfigError(f"{where}: must be a mapping of other names to models")
    aliases: dict[str, str] = {}
    for alias, target in entries.items():
        if not isinstance(alias, str) or not _is_name(alias):
            raise ConfigError(f"{where}: {alias!r} must be 1-128 of [A-Za-z0-9._:/-] and not 'auto'")
        if alias in models:
            raise ConfigError(f"{where}: {alias!r} is the name of a model; choose another name, or remove the alias")
        if not isinstance(target, str) or not (target == _AUTO or target in models):
            why = "is an alias itself; name its model" if target in entries else "is no model of this catalog"
            near = "" if target in entries else did_you_mean(str(target), [*models, _AUTO], list_known=True)
            raise ConfigError(f"{where}: {alias}: {target!r} {why}{near}")
        aliases[alias] = target
    return aliases


def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and name != _AUTO


class _Entry(pydantic.BaseModel):
    """An entry as it stands in the file."""

    # Strict: a price of 1.5 or "12" is a slip of the pen, not a number to round or convert.
    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str
    cluster: str
    backend: str = pydantic.Field(min_length=1)
    source: str = pydantic.Field(min_length=1)
    context_tokens: int = pydantic.Field(default=0, ge=0, le=_MAX_TOKENS)
    max_output_tokens: int = pydantic.Field(default=0, ge=0, le=_MAX_TOKENS)
    capabilities: list[str]
    quality: float = pydantic.Field(default=0.0, ge=0, le=1, allow_inf_nan=False)
    prices: dict[str, int] = pydantic.Field(default_factory=dict)
    max_units: dict[str, int] = pydantic.Field(default_factory=dict)
    options: dict[Any, Any] = pydantic.Field(default_factory=dict)
    region: str = ""
    languages: list[str] = pydantic.Field(default_factory=list, max_length=_MAX_LANGUAGES)
    keep_alive_s: float | None = pydantic.Field(default=None, ge=-1, allow_inf_nan=False)

    @pydantic.field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not _is_name(name):
            raise ValueError("must be 1-128 of [A-Za-z0-9._:/-] and not 'auto'")
        return name

    @pydantic.field_validator("cluster")
    @classmethod
    def _check_cluster(cls, cluster: str) -> str:
        if not _CLUSTER.fullmatch(cluster):
            raise ValueError("must be 1-63 of [a-z0-9-] and begin with a letter")
        return cluster

    @pydantic.field_validator("max_output_tokens")
    @classmethod
    def _check_output(cls, tokens: int, info: pydantic.ValidationInfo) -> int:
        context = info.data.get("context_tokens")
        if context is not None and tokens > context:
            raise ValueError(f"is over context_tokens, {context}")
        return tokens

    @pydantic.field_validator("capabilities")
    @classmethod
    def _check_capabilities(cls, capabilities: list[str], info: pydantic.ValidationInfo[Contracts]) -> list[str]:
        known = CAPABILITIES | info.context.capabilities
        for word in capabilities:
            if word not in known:
                raise ValueError(f"unknown capability {word!r}{did_you_mean(word, known, list_known=True)}")
        return capabilities

    @pydantic.field_validator("prices", "max_units")
    @classmethod
    def _check_units(cls, amounts: dict[str, int], info: pydantic.ValidationInfo[Contracts]) -> dict[str, int]:
        known = {*UNITS, *info.context.units}
        prices = info.field_name == "prices"
        for unit, amount in amounts.items():
            if unit not in known:
                raise ValueError(f"unknown unit {unit!r}{did_you_mean(unit, known, list_known=True)}")
            if prices and not 0 <= amount <= _MAX_PRICE:
                raise ValueError(f"{unit}: {amount} must be from 0 to {_MAX_PRICE} nano-dollars for a million")
            if not 0 <= amount <= MAX_NANOS:
                raise ValueError(f"{unit}: {amount} must be from 0 to {MAX_NANOS} units a request")
        if prices and len(amounts.keys() - UNITS.keys()) > MAX_NAMED_UNITS:
            raise ValueError(f"at most {MAX_NAMED_UNITS} units of contracts other than ours may be priced")
        return amounts

    @pydantic.field_validator("region")
    @classmethod
    def _check_region(cls, region: str) -> str:
        if region and not _REGION.fullmatch(region):
            raise ValueError("must be 1-63 of [a-z0-9-]; leave it out if it is not known")
        return region

    @pydantic.field_validator("languages", mode="before")
    @classmethod
    def _check_languages(cls, languages: Any) -> Any:
        if not isinstance(languages, list):
            return languages
        if False in languages:
            raise ValueError("YAML reads no as false; quote it: 'no'")
        if not all(isinstance(entry, str) for entry in languages):
            return languages
        return list(dict.fromkeys(language_tag(entry) for entry in languages))

    @pydantic.field_validator("keep_alive_s")
    @classmethod
    def _check_keep_alive(cls, seconds: float | None) -> float | None:
        if seconds is not None and -1 < seconds < 0:
            raise ValueError("must be seconds, 0 to unload at once, or -1 to keep it loaded")
        return seconds


def _parse_model(entry: Any, where: str, contracts: Contracts) -> CatalogModel:
    if not isinstance(entry, dict):
        raise ConfigError(f"{where}: must be a mapping")
    given = {key: value for key, value in entry.items() if value is not None or key not in _MAY_BE_EMPTY}
    for key in given:
        if not isinstance(key, str):
            raise ConfigError(f"{where}: unknown key {key!r}{did_you_mean(str(key), _Entry.model_fields)}")
    try:
        read = _Entry.model_validate(given, context=contracts)
    except pydantic.ValidationError as error:
        name = given.get("name")
        origin = f"{where} ({name})" if isinstance(name, str) and name else where
        raise ConfigError("\n".join(_explain(origin, detail) for detail in error.errors())) from None
    return CatalogModel(
        name=read.name,
        cluster=read.cluster,
        backend=read.backend,
        source=read.source,
        context_tokens=read.context_tokens,
        max_output_tokens=read.max_output_tokens,
        capabilities=frozenset(read.capabilities),
        quality=read.quality,
        prices=MappingProxyType({unit_named(unit): price for unit, price in read.prices.items()}),
        max_units=MappingProxyType({unit_named(unit): amount for unit, amount in read.max_units.items()}),
        options=MappingProxyType(read.options),
        region=read.region,
        keep_alive_s=read.keep_alive_s,
        languages=tuple(read.languages),
    )


def _explain(where: str, detail: Any) -> str:
    """Return the line about one fault of an entry: where it is, what is wrong, and the value or the nearest key."""
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"{where}: unknown key {key!r}{did_you_mean(key, _Entry.model_fields, list_known=True)}"
    if detail["type"] == "missing":
        return f"{where}: {key} is required"
    value = detail["input"]
    shown = "" if isinstance(value, dict | list) else f" (got {value!r})"
    return f"{where}: {key}: {detail['msg'].removeprefix('Value error, ')}{shown}"
