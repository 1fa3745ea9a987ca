"""Requests as they would be made for a prompt, to explain decisions by."""

from __future__ import annotations

from enginehouse.api.common.v1.usage_pb2 import UNIT_CHARACTERS
from enginehouse.kit.contracts import Method
from enginehouse.kit.pricing import Unit, unit_named
from enginehouse.kit.prompt_bound import CONVERSATION_OVERHEAD, MESSAGE_OVERHEAD
from enginehouse.router.request._call import checked_language
from enginehouse.router.request._parse import has_estimator
from enginehouse.router.request._request import MAX_DETECTED, InferenceRequest, Task

# A conversation of one message, and what a template adds to it.
_OVERHEAD = CONVERSATION_OVERHEAD + MESSAGE_OVERHEAD


def sample_request(
    method: Method,
    *,
    model: str,
    prompt: str,
    max_output_tokens: int,
    policy_task: str,
    subject: str,
    language: str = "",
    voice: str = "",
) -> InferenceRequest:
    """Return the request that a call of a method makes for a prompt, as far as the prompt alone tells.

    Raises:
        ServiceError: INVALID_REQUEST for a language that is not a tag.
    """
    size = len(prompt.encode()) + _OVERHEAD
    sized = has_estimator(method)
    units: dict[Unit, int] = {unit_named(unit.name): unit.default_max for unit in method.units if unit.default_max}
    if method.task == Task.SPEAK and sized:
        units[UNIT_CHARACTERS] = len(prompt)
    return InferenceRequest(
        task=method.task,
        model=model or "auto",
        texts=[prompt],
        input_bytes=size,
        inputs=[size] if method.task == Task.EMBED else (),
        max_output_tokens=max_output_tokens,
        capabilities=method.capabilities,
        units=units,
        any_unit=not sized,
        free=method.free,
        policy_task=policy_task,
        subject=subject,
        language=checked_language(language, "language") if language else "",
        voice=voice,
        spoken_text=prompt[:MAX_DETECTED] if method.task == Task.SPEAK else "",
    )
