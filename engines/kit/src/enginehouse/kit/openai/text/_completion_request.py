"""Reading of a completion's JSON into one `GenerateRequest` for each of its prompts."""

from __future__ import annotations

from dataclasses import dataclass

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.kit.openai._document import parse
from enginehouse.kit.openai._fields import Fields, shown, unsupported
from enginehouse.kit.openai.text import _sampling

_KNOWN = _sampling.SHARED | {"best_of", "echo", "logprobs", "prompt", "suffix"}
_MAX_PROMPTS = 128
_TOKENS = "token arrays are not supported; send the text"


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A request for a completion."""

    prompts: tuple[generation_pb2.GenerateRequest, ...]
    """The requests to the engine, one a prompt; equal except for the prompt."""
    choices: int
    """The number of choices for each prompt."""
    stream: bool
    """True to answer with server-sent events."""
    include_usage: bool
    """True to end the stream with an event that carries the usage."""
    user: str
    """The end user that the request names, or empty."""


def read_completion(body: bytes) -> CompletionRequest:
    """Read the body of POST /v1/completions; raise ServiceError naming the parameter at fault."""
    fields = Fields(parse(body).value)
    fields.refuse_unknown(_KNOWN)
    request = _sampling.begin(fields)
    request.max_output_tokens = _sampling.output_bound(fields, "max_tokens")
    request.echo = fields.flag("echo")
    # Completions count alternatives where chat has a flag: 0 asks for the chosen tokens only.
    logprobs = fields.integer("logprobs", 0, 20)
    request.logprobs = logprobs is not None
    request.top_logprobs = logprobs or 0
    choices = request.choices or 1
    best_of = fields.integer("best_of", 1, 20)
    if best_of not in (None, choices):
        raise unsupported("best_of", f"'best_of' {best_of} is not supported; leave it out or make it equal to 'n'.")
    if fields.text("suffix"):
        raise unsupported("suffix", "'suffix' (insertion) is not supported; leave it out.")
    stream, include_usage = _sampling.wants_stream(fields)
    prompts = []
    for prompt in _prompts(fields):
        copy = generation_pb2.GenerateRequest()
        copy.CopyFrom(request)
        copy.prompt = prompt
        prompts.append(copy)
    return CompletionRequest(tuple(prompts), choices, stream, include_usage, fields.text("user") or "")


def _prompts(fields: Fields) -> list[str]:
    value = fields.raw("prompt")
    if value is None:
        raise fields.missing("prompt")
    if not isinstance(value, str | list):
        raise fields.invalid("prompt", f"expected a string or an array of strings, but got {shown(value)} instead")
    prompts = [value] if isinstance(value, str) else value
    if not prompts:
        raise fields.invalid("prompt", "the array is empty")
    if not isinstance(prompts[0], str):
        raise fields.invalid("prompt", _TOKENS)
    if len(prompts) > _MAX_PROMPTS:
        raise fields.invalid("prompt", f"too many prompts: {len(prompts)}, over {_MAX_PROMPTS}")
    for index, prompt in enumerate(prompts):
        if not isinstance(prompt, str) or not prompt:
            raise fields.invalid("prompt", f"entry {index} must be a non-empty string")
    return prompts
