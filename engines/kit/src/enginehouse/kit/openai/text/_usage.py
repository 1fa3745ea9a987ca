"""Usage in the form of OpenAI's bodies, with the charge beside it."""

from __future__ import annotations

from typing import Any

from enginehouse.api.common.v1 import usage_pb2


def completion_usage(usage: usage_pb2.Usage) -> dict[str, Any]:
    """Return the `usage` of chat completions and completions. Cached prompt tokens are part of `prompt_tokens`."""
    amounts = {entry.unit: entry.amount for entry in usage.units}
    cached = amounts.get(usage_pb2.UNIT_CACHED_INPUT_TOKENS, 0)
    prompt = amounts.get(usage_pb2.UNIT_INPUT_TOKENS, 0) + cached
    completion = amounts.get(usage_pb2.UNIT_OUTPUT_TOKENS, 0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
        "cost_nanos": usage.cost_nanos,
    }


def embedding_usage(usage: usage_pb2.Usage) -> dict[str, Any]:
    """Return the `usage` object of embeddings."""
    amounts = {entry.unit: entry.amount for entry in usage.units}
    prompt = amounts.get(usage_pb2.UNIT_INPUT_TOKENS, 0) + amounts.get(usage_pb2.UNIT_CACHED_INPUT_TOKENS, 0)
    return {"prompt_tokens": prompt, "total_tokens": prompt, "cost_nanos": usage.cost_nanos}
