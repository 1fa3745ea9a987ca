"""A request as the decision sees it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final

from enginehouse.kit.pricing import Unit


class Task:
    """The work that a model does for a request, as the method's options name it.

    The set is open: a contract of another distribution has words of its own. These are the tasks whose requests the
    router knows how to size; `_default.py` bounds every other one.
    """

    GENERATE: Final = "generate"
    EMBED: Final = "embed"
    SPEAK: Final = "speak"
    TRANSCRIBE: Final = "transcribe"
    TOKENIZE: Final = "tokenize"
    NONE: Final = ""
    """No model: administration, listings, and methods that no installed contract describes."""


@dataclasses.dataclass(slots=True)
class InferenceRequest:
    """The sizes, names and needs of a request, never its meaning.

    Sizes are upper bounds: a model's tokens are never more than the bytes that they stand for.

    Attributes:
        task: what a model does for it.
        model: the name asked for; "auto" lets the policy choose.
        texts: what a predictor may look at, oldest first.
        input_bytes: bytes of text that the model will read, with room for a chat template.
        inputs: the bytes of each input, for embeddings and where a request for text has several prompts.
        max_output_tokens: for each choice; 0 means the model's default.
        choices: how many answers.
        capabilities: what the model must be able to do, in the catalog's words.
        request_id: as the body gives it, or empty.
        user_id: the end user that the request names, or empty.
        units: the most of each unit that the request asks for besides text: characters to speak, milliseconds of
            audio, images, milliseconds of video or of an accelerator, and units of the method's own contract.
        any_unit: whether it may use any other unit that the model has a price for, up to the model's `max_units`.
        bounded: whether the caller has named the most of its units, which the cap then holds it to.
        free: whether it costs nothing.
        policy_task: what it is for, in the words of policies; empty for what follows from the task.
        subject: what it is about, as a header says; empty where none does.
        language: the language asked for, as a BCP 47 tag in its canonical case; empty where none is.
        voice: the voice asked for; empty where none is.
        spoken_text: the beginning of what is to be spoken, whose language may be detected; never a prompt.
        alias: the alias that it names, once `model` is what that stands for; empty where it names none.
    """

    task: str
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
    any_unit: bool = False
    bounded: bool = False
    free: bool = False
    policy_task: str = ""
    subject: str = ""
    language: str = ""
    voice: str = ""
    spoken_text: str = ""
    alias: str = ""

    def follow_alias(self, aliases: Mapping[str, str]) -> None:
        """Ask for the model that an alias stands for, if it is an alias that the request names."""
        target = aliases.get(self.model)
        if target is not None:
            self.alias, self.model = self.model, target


MAX_DETECTED = 300
"""The most characters of a text by which its language is detected."""

# Engines refuse more; a larger number must not inflate the reservation.
MAX_CHOICES = 128


_SETS: dict[tuple[str, ...], frozenset[str]] = {}


def needs(*capabilities: str) -> frozenset[str]:
    """Return the set of those that are not empty."""
    found = _SETS.get(capabilities)
    if found is None:
        found = frozenset(word for word in capabilities if word)
        # The words are ours and few, so this stays small.
        _SETS[capabilities] = found
    return found
