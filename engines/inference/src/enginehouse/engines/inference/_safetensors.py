"""Reads weights in the safetensors format: a length, a JSON header, raw tensors. Maps the file, copies nothing."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

_TYPES: Mapping[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "I64": np.dtype("<i8")}
_MAX_HEADER_BYTES = 100 * 2**20


def read_tensors(path: Path) -> Mapping[str, np.ndarray[Any, Any]]:
    """The file's tensors by name; raises ValueError naming the file if it is not of this format."""
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else _MAX_HEADER_BYTES + 1
        if length > _MAX_HEADER_BYTES:
            raise ValueError(f"{path} is not a safetensors file")
        header = json.loads(file.read(length))
    data = np.memmap(path, dtype=np.uint8, mode="r", offset=8 + length)
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        kind = _TYPES.get(entry["dtype"])
        if kind is None:
            raise ValueError(f"{path}: tensor {name!r} has the type {entry['dtype']}, which is not read here")
        tensors[name] = data[begin:end].view(kind).reshape(entry["shape"])
    return tensors
