"""A request as the decision sees it."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence

from enginehouse.kit.pricing import Unit


class Purpose(enum.Enum):
    """What a method needs of the router."""

    # A model works, and its tokens cost.
    GENERATE = "generate"
    EMBED = "embed"
    # A model speaks or listens, and characters and audio cost.
    SPEAK = "speak"
    LISTEN = "transcribe"
    # A model's engine answers for nothing.
    TOKENIZE = "tokenize"
    # No model: administration, listings, and services that the router does not know.
    OTHER = "other"


@dataclasses.dataclass(slots=True)
class InferenceRequest:
    """Sizes are upper bounds: a model's tokens are never more than the bytes that they stand for.

    Attributes:
        model: the name asked for; "auto" lets the policy choose.
        texts: what a predictor may look at, oldest first.
        input_bytes: bytes of text that the model will read, with room for a chat template.
        inputs: for embeddings, the bytes of each input; empty otherwise.
        max_output_tokens: for each choice; 0 means the model's default.
        choices: how many answers.
        capabilities: what the model must be able to do, in the catalog's words.
        request_id: as the body gives it, or empty.
        user_id: the end user that the request names, or empty.
        units: the most of each unit that the request asks for besides text: characters to speak, milliseconds of
            audio, images, milliseconds of video or of an accelerator.
        task: what it is for, in the words of policies; empty for what its purpose says.
        subject: what it is about, as a header says; empty where none does.
    """

    purpose: Purpose
    model: str = "auto"
    texts: Sequence[str] = ()
    input_bytes: int = 0
    inputs: Sequence[int] = ()
    max_output_tokens: int = 0
    choices: int = 1
    capabilities: frozenset[str] = frozenset()
    request_id: str = ""
    user_id: str = ""
    units: Mapping[Unit, int] | None = None
    task: str = ""
    subject: str = ""


# The most that a chat template adds to a conversation and to each message, in tokens.
CONVERSATION_OVERHEAD = 64
MESSAGE_OVERHEAD = 16
# Engines refuse more; a larger number must not inflate the reservation.
MOST_CHOICES = 8


def utf8_length(text: str) -> int:
    """How many bytes the text takes as UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


_SETS: dict[tuple[str, ...], frozenset[str]] = {}


def needs(*capabilities: str) -> frozenset[str]:
    """The set of those that are not empty."""
    found = _SETS.get(capabilities)
    if found is None:
        found = frozenset(word for word in capabilities if word)
        # The words are ours and few, so this stays small.
        _SETS[capabilities] = found
    return found
