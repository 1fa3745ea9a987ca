"""The prompts that each tenant has sent before, so that a bill reveals nothing about other tenants' prompts.

A runtime's prompt cache is shared by all tenants, and the number of cached tokens reveals its content. So only those
cached tokens that the tenant itself has sent to this engine before are reported, and billed, as cached; the others
count as read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest

# Prefixes are remembered in steps of so many characters.
_STEP = 32
# Tokens that a template puts around a message, and that a cut in the middle of a word makes more: what is granted stays
# under the truth by so much for each message of the rest.
_MARGIN = 8
_ENDS_MESSAGE = "\x1e"


@dataclasses.dataclass(frozen=True, slots=True)
class PromptMatch:
    """The part of a prompt that its tenant has sent before.

    Attributes:
        known: true if there is one.
        rest: the new text after it; empty if all was sent before.
        prefixes: the hashes to remember of the prompt.
    """

    known: bool
    rest: str
    prefixes: Sequence[int]

    @property
    def margin(self) -> int:
        """An upper bound on the tokens of the rest besides those of its text."""
        return _MARGIN * (1 + self.rest.count(_ENDS_MESSAGE))


class TenantPromptHistory:
    """The prefixes of prompts by tenant and model, as hashes; the least recently used are evicted.

    Args:
        max_prefixes: how many are remembered, about a hundred bytes each. A prompt takes one for each 32 characters.
    """

    def __init__(self, *, max_prefixes: int = 200_000) -> None:
        self._max_prefixes = max_prefixes
        self._seen: dict[int, None] = {}

    def match(self, request: GenerateRequest, *, tenant: str, model: str) -> PromptMatch:
        """Compare a prompt with those that the tenant has sent to the model before; remember nothing yet."""
        text = _text_of(request)
        value = hash((tenant, model))
        prefixes: list[int] = []
        known = 0
        for start in range(0, len(text), _STEP):
            part = text[start : start + _STEP]
            value = hash((value, part))
            if known == len(prefixes) and value in self._seen:
                known += 1
            prefixes.append(value)
        return PromptMatch(known > 0, text[known * _STEP :], prefixes)

    def remember(self, recognised: PromptMatch) -> None:
        """Remember a prompt that the model has read."""
        for prefix in recognised.prefixes:
            # A dict's first entries are the least recently used.
            self._seen.pop(prefix, None)
            self._seen[prefix] = None
        while len(self._seen) > self._max_prefixes:
            del self._seen[next(iter(self._seen))]


def _text_of(request: GenerateRequest) -> str:
    """Return the text that the model reads, in its order: not verbatim, but different for different prompts."""
    if not request.messages:
        return request.prompt or " ".join(map(str, request.prompt_token_ids))
    parts = [
        f"{tool.name}\x1f{tool.description}\x1f{tool.parameters_json_schema}{_ENDS_MESSAGE}" for tool in request.tools
    ]
    for message in request.messages:
        calls = "".join([f"\x1f{call.name}\x1f{call.arguments}" for call in message.tool_calls])
        parts.append(f"{message.role}\x1f{message.name}\x1f{message.content}{calls}{_ENDS_MESSAGE}")
    return "".join(parts)
