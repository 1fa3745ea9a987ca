"""The metadata of a GGUF file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gguf import GGUFReader

from enginehouse.engines.inference.store.errors import StoreError

# Encoders, whose only output is vectors.
_EMBEDDING_ARCHITECTURES = frozenset(
    {"bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "modern-bert", "neo-bert",
     "gemma-embedding", "llama-embed"}
)  # fmt: skip
# Parts that llama.cpp loads beside a model, never alone.
_PARTS = frozenset({"clip", "adapter", "mmproj", "imatrix"})


@dataclass(frozen=True, slots=True)
class GgufMetadata:
    """A model's metadata."""

    architecture: str
    """Such as "llama"."""
    name: str
    """Its makers' name for it; may be empty."""
    context_tokens: int
    """The context that it was trained for."""
    chat_template: str
    """A Jinja template; empty if it was not trained to chat."""
    embeds: bool
    """True if its output is vectors."""
    parameters: int = 0
    """The number of its weights."""
    languages: tuple[str, ...] = ()
    """Its languages, as its makers name them."""


def read_gguf_metadata(path: Path) -> GgufMetadata:
    """Read the metadata of a GGUF file; raise StoreError if it is not one, or cannot be served alone."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from None
    if magic != b"GGUF":
        raise StoreError(f"{path} is not a GGUF file: it begins with {magic!r}. Convert it, or pull one from the hub")
    try:
        reader = GGUFReader(path)
        values = {
            key: field.contents()
            for key, field in reader.fields.items()
            if key.startswith(("general.", "split.")) or key.endswith((".context_length", ".pooling_type"))
        }
        template = reader.get_field("tokenizer.chat_template")
        chat_template = "" if template is None else str(template.contents())
        parameters = sum(int(tensor.n_elements) for tensor in reader.tensors)
    except Exception as error:
        # A damaged file may make the reader raise anything.
        raise StoreError(f"{path} is a damaged GGUF file, or not whole: {type(error).__name__}: {error}") from None
    architecture = str(values.get("general.architecture", ""))
    kind = str(values.get("general.type", "model"))
    if not architecture or not parameters:
        raise StoreError(f"{path} has no architecture or no tensors: it holds no model")
    if architecture in _PARTS or kind != "model":
        raise StoreError(f"{path} is not a model: it holds a {kind} ({architecture}), which goes with one")
    if int(values.get("split.count", 1) or 1) > 1:
        raise StoreError(f"{path} is one part of several; merge them with llama.cpp's llama-gguf-split --merge")
    return GgufMetadata(
        architecture=architecture,
        name=str(values.get("general.name", "")),
        context_tokens=int(values.get(f"{architecture}.context_length", 0)),
        chat_template=chat_template,
        parameters=parameters,
        languages=tuple(str(tag) for tag in _as_list(values.get("general.languages"))),
        embeds=architecture in _EMBEDDING_ARCHITECTURES or bool(values.get(f"{architecture}.pooling_type", 0)),
    )


def _as_list(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []
