"""Embeddings: reading the JSON request into an `EmbedRequest`, and writing the answer's JSON."""

from __future__ import annotations

import array
import base64
import sys
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.kit.openai._document import parse
from enginehouse.kit.openai._fields import Fields, shown
from enginehouse.kit.openai.text._usage import embedding_usage

_KNOWN = frozenset({"dimensions", "encoding_format", "input", "model", "user"})
_MAX_INPUTS = 2048


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """A request for embeddings."""

    embed: generation_pb2.EmbedRequest
    """The request to the engine."""
    base64: bool
    """True to answer each vector as the base64 of its little-endian 32-bit floats."""
    user: str
    """The end user that the request names, or empty."""


def read_embedding(body: bytes) -> EmbeddingRequest:
    """Read the body of POST /v1/embeddings; raise ServiceError naming the parameter at fault."""
    fields = Fields(parse(body).value)
    fields.refuse_unknown(_KNOWN)
    encoding = fields.one_of("encoding_format", ("float", "base64"))
    request = generation_pb2.EmbedRequest(
        model=fields.required_text("model"),
        inputs=_inputs(fields),
        dimensions=fields.integer("dimensions", 1, 65_536) or 0,
    )
    return EmbeddingRequest(request, encoding == "base64", fields.text("user") or "")


def embedding_body(response: generation_pb2.EmbedResponse, *, encode: bool) -> bytes:
    """Return the JSON of the answer; with `encode`, vectors are in base64."""
    data = []
    for index, embedding in enumerate(response.embeddings):
        vector: str | list[float] = _base64(embedding.values) if encode else list(embedding.values)
        data.append({"object": "embedding", "index": index, "embedding": vector})
    usage = embedding_usage(response.usage)
    return orjson.dumps({"object": "list", "data": data, "model": response.model, "usage": usage})


def _base64(values: Iterable[float]) -> str:
    floats = array.array("f", values)
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats.tobytes()).decode()


def _inputs(fields: Fields) -> list[str]:
    value = fields.raw("input")
    if value is None:
        raise fields.missing("input")
    if not isinstance(value, str | list):
        raise fields.invalid("input", f"expected a string or an array of strings, but got {shown(value)} instead")
    inputs = [value] if isinstance(value, str) else value
    if not 1 <= len(inputs) <= _MAX_INPUTS:
        raise fields.invalid("input", f"{len(inputs)} texts; must be 1 to {_MAX_INPUTS}")
    if isinstance(inputs[0], int | list):
        raise fields.invalid("input", "token arrays are not supported; send the text")
    for index, text in enumerate(inputs):
        if not isinstance(text, str) or not text:
            raise fields.invalid("input", f"entry {index} must be a non-empty string")
    return inputs
