"""Requests of OpenAI's text endpoints, read as the engine reads them, and sized as typed requests are."""

from __future__ import annotations

from enginehouse.kit.errors import FieldViolation, Reason, ServiceError
from enginehouse.kit.openai import read_chat, read_completion, read_embedding
from enginehouse.kit.prompt_bound import prompt_tokens_bound
from enginehouse.kit.validation import is_printable
from enginehouse.router.request._call import IncomingCall
from enginehouse.router.request._request import InferenceRequest
from enginehouse.router.request._text import sized_embed, sized_generate

_MAX_USER_LENGTH = 128


def generate(call: IncomingCall) -> InferenceRequest:
    """Size a chat completion, or a completion where the method is for those."""
    if "chat" not in call.method.capabilities:
        return _completion(call)
    chat = read_chat(call.http_body())
    request = sized_generate(chat.generate)
    request.user_id = _checked_user(chat.user)
    return request


def _completion(call: IncomingCall) -> InferenceRequest:
    completion = read_completion(call.http_body())
    prompts = completion.prompts
    request = sized_generate(prompts[0])
    request.user_id = _checked_user(completion.user)
    if len(prompts) > 1:
        request.texts = [prompt.prompt for prompt in prompts]
        request.inputs = [prompt_tokens_bound(prompt) for prompt in prompts]
        request.input_bytes = sum(request.inputs)
        request.choices *= len(prompts)
    return request


def embed(call: IncomingCall) -> InferenceRequest:
    """Size a request for embeddings of a text or texts."""
    asked = read_embedding(call.http_body())
    request = sized_embed(asked.embed, capabilities=call.method.capabilities)
    request.user_id = _checked_user(asked.user)
    return request


def _checked_user(user: str) -> str:
    if len(user) > _MAX_USER_LENGTH or not is_printable(user):
        raise ServiceError(
            Reason.INVALID_REQUEST,
            f"user: must be at most {_MAX_USER_LENGTH} printable characters",
            violations=[FieldViolation("user", f"must be at most {_MAX_USER_LENGTH} printable characters")],
        )
    return user
