"""The numbers in a GGUF file's header, and the estimate of a model's memory from them.

The file is read only as far as the numbers go, and its long lists (the vocabulary) are skipped.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_FORMATS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_MAX_STRING_BYTES = 2**26
# Per element of the KV cache, whose default type is f16.
_KV_BYTES = 2
# The graph, the logits and the threads' scratch, which grow little with the model.
_COMPUTE_BYTES = 48 * 2**20


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """The numbers of a model's header."""

    architecture: str
    """Such as "llama"."""
    numbers: Mapping[str, int]
    """The architecture's numbers, such as "block_count"; the largest one where layers differ."""
    file_bytes: int
    """The size of the file."""

    @property
    def embedding_dimensions(self) -> int:
        """The length of its vectors; 0 if the file does not say."""
        return self.numbers.get("embedding_length_out", 0) or self.numbers.get("embedding_length", 0)

    def memory_bytes(self, *, context_tokens: int, slots: int) -> int:
        """Return an estimate of what the model takes once loaded: weights, KV cache and compute buffers."""
        heads = self.numbers.get("attention.head_count", 1)
        kv_heads = self.numbers.get("attention.head_count_kv", heads)
        per_head = self.numbers.get("embedding_length", 0) // max(1, heads)
        key = self.numbers.get("attention.key_length", per_head)
        value = self.numbers.get("attention.value_length", per_head)
        per_token = self.numbers.get("block_count", 0) * kv_heads * (key + value) * _KV_BYTES
        return self.file_bytes + per_token * context_tokens * slots + _COMPUTE_BYTES


def read_gguf_header(path: Path) -> GgufHeader:
    """Return the numbers of a GGUF file's header; raise ValueError if it is none, OSError if it cannot be read."""
    with path.open("rb") as file:
        if (magic := file.read(4)) != b"GGUF":
            raise ValueError(f"it begins with {magic!r}, not with b'GGUF'")
        reader = _Reader(file)
        _version, _tensors, pairs = reader.number("<I"), reader.number("<Q"), reader.number("<Q")
        found: dict[str, int] = {}
        architecture = ""
        for _ in range(pairs):
            key = reader.string()
            if key.startswith("tokenizer."):
                # The last part of the header, and nearly all of it.
                break
            value = reader.value(reader.number("<I"))
            if key == "general.architecture" and isinstance(value, str):
                architecture = value
            elif isinstance(value, int):
                found[key] = value
        file_bytes = path.stat().st_size
    prefix = f"{architecture}."
    numbers = {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
    return GgufHeader(architecture=architecture, numbers=numbers, file_bytes=file_bytes)


class _Reader:
    """Reader of a header's values."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def number(self, form: str) -> int:
        size = struct.calcsize(form)
        read = self._file.read(size)
        if len(read) < size:
            raise ValueError("it ends within its header")
        return int(struct.unpack(form, read)[0])

    def string(self) -> str:
        size = self.number("<Q")
        if size > _MAX_STRING_BYTES:
            raise ValueError(f"its header has a string of {size} bytes")
        return self._file.read(size).decode("utf-8", "replace")

    def value(self, kind: int) -> int | str:
        """Read a value: of a list its largest number, if it has numbers."""
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            kind, count = self.number("<I"), self.number("<Q")
            values = [self.value(kind) for _ in range(count)]
            return max((value for value in values if isinstance(value, int)), default=0)
        if kind not in _FORMATS:
            raise ValueError(f"its header has a value of the unknown kind {kind}")
        return self.number(_FORMATS[kind])
