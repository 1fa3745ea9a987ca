"""Adding a model to the user's catalog, after a check of its weights or provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from enginehouse.engines.inference.backends.upstream._options import UpstreamOptions, find_provider
from enginehouse.engines.inference.spec import SPEC
from enginehouse.engines.inference.store._catalog_file import add_entry
from enginehouse.engines.inference.store._gguf import GgufMetadata, read_gguf_metadata
from enginehouse.engines.inference.store.errors import StoreError
from enginehouse.engines.inference.weights import weights_path
from enginehouse.kit.backends.options import read_options
from enginehouse.kit.backends.packages import PackagedWeights, PackagedWeightsError
from enginehouse.kit.backends.sources import SourceError
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason, ServiceError

CLUSTER = "inference"
_USUAL_CONTEXT = 8192
_USUAL_OUTPUT = 1024


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
    quality: float = 0.5
    prices: Mapping[str, int] = field(default_factory=dict)
    """Nano-dollars for a million of each unit, such as `input_tokens`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The backend's own settings."""


def add_model(new: NewModel, *, catalog_file: Path, models_dir: Path) -> CatalogModel:
    """Write the model into the catalog file and return it as the catalog now has it.

    Raises:
        StoreError: the weights are not here, not GGUF, not a model or not whole; the context is unknown or over the
            model's; a chat model has no template; the provider's address or options are wrong; the entry is invalid.
    """
    upstream = new.source.startswith(("http://", "https://"))
    entry = _upstream_entry(new) if upstream else _llamacpp_entry(new, models_dir)
    return add_entry(catalog_file, entry)


def _llamacpp_entry(new: NewModel, models_dir: Path) -> dict[str, Any]:
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
    return _entry(new, "llama.cpp", context, 0 if weights.embeds else _output(new, context), capabilities)


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


def _upstream_entry(new: NewModel) -> dict[str, Any]:
    if not new.context_tokens:
        raise StoreError(f"the context of {new.name} is unknown; give context_tokens as its provider states it")
    capabilities = list(new.capabilities) or ["chat", "json_schema", "tools"]
    model = CatalogModel(
        name=new.name,
        cluster=CLUSTER,
        backend="upstream",
        source=new.source,
        context_tokens=new.context_tokens,
        max_output_tokens=_output(new, new.context_tokens),
        capabilities=frozenset(capabilities),
        quality=new.quality,
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
    return _entry(new, "upstream", model.context_tokens, model.max_output_tokens, capabilities)


def _entry(new: NewModel, backend: str, context: int, output: int, capabilities: Sequence[str]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": new.name,
        "cluster": CLUSTER,
        "backend": backend,
        "source": new.source,
        "context_tokens": context,
        "max_output_tokens": output,
        "capabilities": list(capabilities),
        "quality": new.quality,
        "prices": dict(new.prices),
    }
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
    if weights.chat_template:
        capabilities.insert(0, "chat")
        if "tools" in weights.chat_template:
            capabilities.append("tools")
    return capabilities
