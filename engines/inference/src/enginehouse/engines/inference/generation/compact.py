"""Schemas of requests in the fewest tokens: as the values that they are, not as they were typed."""

from __future__ import annotations

import json

from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest


def compact_schemas(request: GenerateRequest) -> None:
    """Write the schemas of a valid request anew: without blanks between tokens, in UTF-8, in the order of their keys.

    A template puts them into the prompt as they are, where each blank and each escape is a token to pay.
    """
    for tool in request.tools:
        if tool.parameters_json_schema:
            tool.parameters_json_schema = compact_json(tool.parameters_json_schema)
    if request.format.WhichOneof("form") == "json_schema":
        request.format.json_schema = compact_json(request.format.json_schema)


def compact_json(text: str) -> str:
    """Return the shortest text of the same JSON value."""
    return json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False)
