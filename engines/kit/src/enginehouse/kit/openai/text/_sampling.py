"""Reading of the parameters that chat completions and completions share into a `GenerateRequest`."""

from __future__ import annotations

from collections.abc import Iterator

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.kit.openai._fields import Fields, refusal, shown

SHARED = frozenset(
    {"model", "frequency_penalty", "presence_penalty", "logit_bias", "max_tokens", "n", "seed", "stop", "stream",
     "stream_options", "temperature", "top_p", "user", "top_k", "min_p", "repeat_penalty", "grammar"}
)  # fmt: skip
"""The shared parameters by name; top_k, min_p, repeat_penalty and grammar are llama.cpp's and vLLM's, not OpenAI's."""

# What says how to sample; most requests say nothing of it.
_SAMPLED_BY = frozenset(
    {"seed", "temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty", "repeat_penalty"}
)
_MAX_STOPS = 16
_MAX_STOP_BYTES = 256
_INT64 = 2**63
_INT32 = 2**31 - 1
_MAX_BIASES = 1024
_MAX_BIAS = 100


def begin(fields: Fields) -> generation_pb2.GenerateRequest:
    """Return a request with the model, the sampling, the bounds and the stop texts of `fields`."""
    request = generation_pb2.GenerateRequest(
        model=fields.required_text("model"),
        sampling=_sampling(fields),
        stop=_stops(fields),
        choices=fields.integer("n", 1, 128) or 0,
    )
    fields.text("user")
    if "logit_bias" in fields:
        for token, bias in _logit_bias(fields):
            request.sampling.logit_bias.add(token_id=token, bias=bias)
    grammar = fields.text("grammar")
    if grammar:
        request.format.grammar = grammar
    return request


def output_bound(fields: Fields, name: str, *, low: int = 1) -> int | None:
    """Return the bound on output tokens under `name`, `low` at least; None if it is absent."""
    return fields.integer(name, low, _INT32)


def wants_stream(fields: Fields) -> tuple[bool, bool]:
    """Return whether to stream, and whether the stream ends with its usage."""
    stream = fields.flag("stream")
    options = fields.nested("stream_options")
    if options is None:
        return stream, False
    if not stream:
        raise refusal("stream_options", "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
    options.refuse_unknown({"include_usage", "include_obfuscation"})
    options.flag("include_obfuscation")
    return True, options.flag("include_usage")


def _sampling(fields: Fields) -> generation_pb2.Sampling:
    if not fields.any_of(_SAMPLED_BY):
        return generation_pb2.Sampling()
    seed = fields.integer("seed", -_INT64, _INT64 - 1)
    return generation_pb2.Sampling(
        temperature=fields.number("temperature", 0, 2),
        top_p=fields.number("top_p", 0, 1),
        top_k=fields.integer("top_k", 0, _INT32),
        min_p=fields.number("min_p", 0, 1),
        frequency_penalty=fields.number("frequency_penalty", -2, 2),
        presence_penalty=fields.number("presence_penalty", -2, 2),
        repeat_penalty=fields.number("repeat_penalty", 0, 2, above_low=True),
        # OpenAI's seeds have 64 bits, ours 32; the remainder keeps equal seeds equal, and never gives the value with
        # all bits set, which runtimes take as "draw one yourself".
        seed=None if seed is None else seed % (2**32 - 1),
    )


def _logit_bias(fields: Fields) -> Iterator[tuple[int, float]]:
    biases = fields.nested("logit_bias")
    if biases is None:
        return
    names = biases.names()
    if len(names) > _MAX_BIASES:
        raise fields.invalid("logit_bias", f"too many tokens: {len(names)}, over {_MAX_BIASES}")
    for name in names:
        if not (name.isascii() and name.isdigit()) or int(name[:20]) > _INT32:
            raise fields.invalid("logit_bias", f"{shown(name)} is not a token id, such as '50256'")
        bias = biases.number(name, -_MAX_BIAS, _MAX_BIAS)
        if bias is None:
            raise biases.missing(name)
        yield int(name), bias


def _stops(fields: Fields) -> list[str]:
    value = fields.raw("stop")
    if value is None:
        return []
    stops = [value] if isinstance(value, str) else fields.items("stop", most=_MAX_STOPS)
    for index, stop in enumerate(stops):
        if not isinstance(stop, str):
            raise fields.invalid("stop", f"entry {index} is not a string")
        if len(stop.encode()) > _MAX_STOP_BYTES:
            raise fields.invalid("stop", f"entry {index} must have at most {_MAX_STOP_BYTES} bytes")
    # OpenAI's API takes an empty text for none.
    return [stop for stop in stops if stop]
