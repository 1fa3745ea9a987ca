"""Reading of a completion's JSON into one `GenerateRequest` for each of its prompts."""

from __future__ import annotations

from dataclasses import dataclass

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.kit.openai._document import parse
from enginehouse.kit.openai._fields import Fields, shown, unsupported
from enginehouse.kit.openai.text import _sampling

_KNOWN = _sampling.SHARED | {"best_of", "echo", "logprobs", "prompt", "suffix"}
_MAX_PROMPTS = 128
_MAX_TOKENS = 2**20
_INT32 = 2**31 - 1


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
    bound = _sampling.output_bound(fields, "max_tokens", low=0)
    request.max_output_tokens = bound or 0
    # The contract's 0 is the model's default, OpenAI's is nothing at all.
    request.prompt_only = bound == 0
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
        if isinstance(prompt, str):
            copy.prompt = prompt
        else:
            copy.prompt_token_ids.extend(prompt)
        prompts.append(copy)
    return CompletionRequest(tuple(prompts), choices, stream, include_usage, fields.text("user") or "")


def _prompts(fields: Fields) -> list[str | list[int]]:
    """Return the prompts, each a text or the tokens of one."""
    value = fields.raw("prompt")
    if value is None:
        raise fields.missing("prompt")
    if not isinstance(value, str | list):
        raise fields.invalid(
            "prompt", f"expected a string, an array of strings or an array of tokens, but got {shown(value)} instead"
        )
    if not value:
        raise fields.invalid("prompt", "it is empty")
    if isinstance(value, str):
        return [value]
    if _is_number(value[0]):
        return [_tokens(fields, value, "prompt")]
    if len(value) > _MAX_PROMPTS:
        raise fields.invalid("prompt", f"too many prompts: {len(value)}, over {_MAX_PROMPTS}")
    return [_prompt(fields, prompt, index) for index, prompt in enumerate(value)]


def _prompt(fields: Fields, prompt: object, index: int) -> str | list[int]:
    if isinstance(prompt, list) and prompt:
        return _tokens(fields, prompt, f"prompt[{index}]")
    if not isinstance(prompt, str) or not prompt:
        raise fields.invalid("prompt", f"entry {index} must be a non-empty string or a non-empty array of tokens")
    return prompt


def _tokens(fields: Fields, values: list[object], name: str) -> list[int]:
    if len(values) > _MAX_TOKENS:
        raise fields.invalid("prompt", f"'{name}' has {len(values)} tokens, over {_MAX_TOKENS}")
    tokens: list[int] = []
    for index, value in enumerate(values):
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _INT32:
            raise fields.invalid("prompt", f"entry {index} of '{name}' is {shown(value)}, which is no token")
        tokens.append(value)
    return tokens


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
