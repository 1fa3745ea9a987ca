"""Adding a model to the user's catalog, after a check of its weights or provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from enginehouse.engines.inference.backends.upstream._options import UpstreamOptions, find_provider
from enginehouse.engines.inference.spec import SPEC
from enginehouse.engines.inference.store._gguf import GgufMetadata, read_gguf_metadata
from enginehouse.engines.inference.store._quality import guess_quality, shown_size, size_in_names
from enginehouse.engines.inference.store.errors import StoreError
from enginehouse.engines.inference.weights import weights_path
from enginehouse.kit.backends.options import read_options
from enginehouse.kit.backends.packages import PackagedWeights, PackagedWeightsError
from enginehouse.kit.backends.sources import SourceError
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.catalog_file import add_entry
from enginehouse.kit.config import ConfigError
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.languages import language_tag

CLUSTER = "inference"
_USUAL_CONTEXT = 8192
_USUAL_OUTPUT = 1024
_UNKNOWN_QUALITY = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class NewModel:
    """A model to add. Values that are left out are read from the weights."""

    name: str
    source: str
    """`hf:ORG/REPO/FILE[@REVISION]` once pulled, `package:NAME` once installed, `file:PATH`, or a provider's `https://HOST/v1`."""
    context_tokens: int | None = None
    """The bound on the tokens of prompt and answer together. Left out: the context of the model's training, up to
    8,192,
    since every slot holds memory for all of it."""
    max_output_tokens: int | None = None
    """The bound on output where a request gives none. Left out: 1,024, or half the context if that is less."""
    capabilities: Sequence[str] = ()
    quality: float | None = None
    """How good it is, 0 to 1. Left out: a guess from its size."""
    languages: Sequence[str] = ()
    """Those that it writes, as BCP 47 tags. Left out: those that the weights tell."""
    prices: Mapping[str, int] = field(default_factory=dict)
    """Nano-dollars for a million of each unit, such as `input_tokens`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The backend's own settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedModel:
    """A catalog entry, before it is written.

    Attributes:
        entry: the entry.
        notes: what was guessed or is unusual, and how it is set, for people.
    """

    entry: Mapping[str, Any]
    notes: Sequence[str]


def plan_model(new: NewModel, *, models_dir: Path) -> PlannedModel:
    """Return the catalog entry of a model, complete by its weights or provider. Nothing is written.

    Raises:
        StoreError: the weights are not here, not GGUF, not a model or not whole; the context is unknown or over the
            model's; a chat model has no template; the provider's address or options are wrong.
    """
    upstream = new.source.startswith(("http://", "https://"))
    notes: list[str] = []
    entry = _upstream_entry(new, notes) if upstream else _llamacpp_entry(new, models_dir, notes)
    return PlannedModel(entry=entry, notes=[*notes, *_price_notes(new, entry)])


def add_model(new: NewModel, *, catalog_file: Path, models_dir: Path) -> CatalogModel:
    """Write the model into the catalog file and return it as the catalog now has it.

    Raises:
        StoreError: as `plan_model` does; the entry is invalid.
    """
    try:
        return add_entry(catalog_file, plan_model(new, models_dir=models_dir).entry)
    except ConfigError as error:
        raise StoreError(str(error)) from None


def _llamacpp_entry(new: NewModel, models_dir: Path, notes: list[str]) -> dict[str, Any]:
    path = _packaged(new.source, models_dir) if new.source.startswith("package:") else _path(new.source, models_dir)
    if not path.is_file():
        if new.source.startswith("hf:"):
            raise StoreError(f"{path} is missing; fetch it with: enginehouse models pull {new.source}")
        raise StoreError(f"{path} is missing, or not a file; give the path of a GGUF file")
    weights = read_gguf_metadata(path)
    context = _context(new, weights, path)
    capabilities = list(new.capabilities) or _capabilities(weights)
    if "chat" in capabilities and not weights.chat_template and not new.options.get("chat_template"):
        raise StoreError(f"{path} cannot chat: it has no chat template; leave chat out, or give options.chat_template")
    if weights.embeds != ("embeddings" in capabilities):
        kind = "an embedding model" if weights.embeds else "a model that writes text"
        raise StoreError(f"{path} is {kind} ({weights.architecture}); it cannot have the capabilities {capabilities}")
    quality = new.quality
    if quality is None:
        quality = guess_quality(weights.parameters, embeds=weights.embeds)
        notes.append(_quality_note(quality, f"its {shown_size(weights.parameters)} parameters"))
    if not new.context_tokens and context < weights.context_tokens:
        notes.append(
            f"context {context}: the model was trained for {weights.context_tokens}, but every slot holds memory for "
            "all of it; set it with --context"
        )
    if not new.capabilities:
        notes.append(f"capabilities {', '.join(capabilities)}: from the weights; set them with --capability")
    languages = list(new.languages) or _languages(weights)
    if languages and not new.languages:
        notes.append(f"languages {', '.join(languages)}: from the weights; set them with --language")
    output = 0 if weights.embeds else _output(new, context)
    return _entry(new, "llama.cpp", context, output, capabilities, quality, languages)


def _path(source: str, models_dir: Path) -> Path:
    try:
        return weights_path(source, models_dir)
    except SourceError as error:
        raise StoreError(f"{error}; a provider's source is its URL, such as https://HOST/v1") from None


def _packaged(source: str, models_dir: Path) -> Path:
    packages = PackagedWeights(table=SPEC.read_weights(), models_dir=models_dir)
    try:
        return packages.file(source.removeprefix("package:"))
    except (SourceError, PackagedWeightsError) as error:
        raise StoreError(str(error)) from None


def _upstream_entry(new: NewModel, notes: list[str]) -> dict[str, Any]:
    if not new.context_tokens:
        raise StoreError(f"the context of {new.name} is unknown; give context_tokens as its provider states it")
    capabilities = list(new.capabilities) or ["chat", "json_schema", "tools"]
    if not new.capabilities:
        notes.append(f"capabilities {', '.join(capabilities)}: as most providers have; set them with --capability")
    quality = new.quality
    if quality is None:
        parameters = size_in_names([str(new.options.get("model", "")), new.name])
        quality = guess_quality(parameters, embeds="embeddings" in capabilities) if parameters else _UNKNOWN_QUALITY
        why = f"the {shown_size(parameters)} in its name" if parameters else "nothing: its name tells no size"
        notes.append(_quality_note(quality, why))
    model = CatalogModel(
        name=new.name,
        cluster=CLUSTER,
        backend="upstream",
        source=new.source,
        context_tokens=new.context_tokens,
        max_output_tokens=_output(new, new.context_tokens),
        capabilities=frozenset(capabilities),
        quality=quality,
        prices=MappingProxyType({}),
        options=new.options,
    )
    try:
        options = read_options(UpstreamOptions, model)
        find_provider(model, options, environ={options.key_variable: "-"})
    except ServiceError as error:
        if error.reason is not Reason.FAILED_PRECONDITION:
            raise StoreError(error.message) from None
    if "embeddings" in capabilities and not new.options.get("embedding_dimensions"):
        raise StoreError(f"{new.name} makes embeddings: give options.embedding_dimensions, their length")
    return _entry(new, "upstream", model.context_tokens, model.max_output_tokens, capabilities, quality, new.languages)


def _entry(
    new: NewModel,
    backend: str,
    context: int,
    output: int,
    capabilities: Sequence[str],
    quality: float,
    languages: Sequence[str],
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": new.name,
        "cluster": CLUSTER,
        "backend": backend,
        "source": new.source,
        "context_tokens": context,
        "max_output_tokens": output,
        "capabilities": list(capabilities),
        "quality": quality,
        "prices": dict(new.prices),
    }
    if languages:
        entry["languages"] = list(languages)
    if new.options:
        entry["options"] = dict(new.options)
    return entry


def _context(new: NewModel, weights: GgufMetadata, path: Path) -> int:
    trained = weights.context_tokens
    if not trained and not new.context_tokens:
        raise StoreError(f"{path} does not say for what context it was trained; give context_tokens")
    if new.context_tokens and trained and new.context_tokens > trained:
        raise StoreError(f"context_tokens {new.context_tokens} is over the {trained} that {path} was trained for")
    return new.context_tokens or min(trained, _USUAL_CONTEXT)


def _output(new: NewModel, context: int) -> int:
    return new.max_output_tokens or min(_USUAL_OUTPUT, max(1, context // 2))


def _capabilities(weights: GgufMetadata) -> list[str]:
    if weights.embeds:
        return ["embeddings"]
    capabilities = ["completion", "grammar", "json_schema", "logprobs"]
    # A template that does not know tools is no obstacle: they are then put into the prompt, and a grammar bounds calls.
    return ["chat", *capabilities, "tools"] if weights.chat_template else capabilities


def _languages(weights: GgufMetadata) -> list[str]:
    found = []
    for tag in weights.languages:
        try:
            found.append(language_tag(tag))
        except ValueError:
            continue
    return list(dict.fromkeys(found))


def _quality_note(quality: float, why: str) -> str:
    return f"quality {quality:g}: a guess from {why}, by which `auto` chooses; set it with --quality"


def _price_notes(new: NewModel, entry: Mapping[str, Any]) -> list[str]:
    """Return a note where units that calls use have no price. A price of 0 that was given is meant."""
    units = ["input_tokens"] if "embeddings" in entry["capabilities"] else ["input_tokens", "output_tokens"]
    free = [unit for unit in units if unit not in new.prices]
    if not free:
        return []
    return [
        f"{' and '.join(free)} without a price: free for every caller, and `auto` prefers what costs less; set "
        f"{'it' if len(free) == 1 else 'them'} with {' '.join(f'--price {unit}=NANOS' for unit in free)}"
    ]
