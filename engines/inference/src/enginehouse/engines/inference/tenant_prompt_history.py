"""What each tenant has sent before, so that nobody learns from a bill what another has.

A runtime's prompt cache is shared by all tenants, and the count of cached tokens tells who asks what was in it. So a
tenant is told of, and granted the lower price for, no more of it than the tenant has itself sent to this engine before;
what others left there counts as read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest

# Prefixes are known in steps of so many characters.
_STEP = 32
# Tokens that a template puts around a message, and that a cut in the middle of a word makes more: what is granted stays
# under the truth by so much for each message of the rest.
_MARGIN = 8
_ENDS_MESSAGE = "\x1e"


@dataclasses.dataclass(frozen=True, slots=True)
class PromptMatch:
    """How much of a prompt its tenant has sent before.

    Attributes:
        known: whether any of it.
        rest: what is new; empty where all of it was sent before.
        prefixes: what is to be remembered of it.
    """

    known: bool
    rest: str
    prefixes: Sequence[int]

    @property
    def margin(self) -> int:
        """Tokens of the rest besides those of its text, at most."""
        return _MARGIN * (1 + self.rest.count(_ENDS_MESSAGE))


class TenantPromptHistory:
    """Remembers the beginnings of prompts, by tenant and model, as hashes; the longest unused go first.

    Args:
        most: how many are remembered, about a hundred bytes each. A prompt takes one for each 32 characters.
    """

    def __init__(self, *, most: int = 200_000) -> None:
        self._most = most
        self._seen: dict[int, None] = {}

    def match(self, request: GenerateRequest, *, tenant: str, model: str) -> PromptMatch:
        """Compare a prompt with what the tenant has sent to the model before. Remembers nothing yet."""
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
        """The prompt has been read."""
        for prefix in recognised.prefixes:
            # The oldest are the first of a dict.
            self._seen.pop(prefix, None)
            self._seen[prefix] = None
        while len(self._seen) > self._most:
            del self._seen[next(iter(self._seen))]


def _text_of(request: GenerateRequest) -> str:
    """What the model reads, in the order in which it reads it; not word for word, but nothing else reads the same."""
    if not request.messages:
        return request.prompt
    parts = [
        f"{tool.name}\x1f{tool.description}\x1f{tool.parameters_json_schema}{_ENDS_MESSAGE}" for tool in request.tools
    ]
    for message in request.messages:
        calls = "".join([f"\x1f{call.name}\x1f{call.arguments}" for call in message.tool_calls])
        parts.append(f"{message.role}\x1f{message.name}\x1f{message.content}{calls}{_ENDS_MESSAGE}")
    return "".join(parts)
