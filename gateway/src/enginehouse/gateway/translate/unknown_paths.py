"""The answers to paths and methods that are not here, in the form that whoever asks for them reads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any as Json

from google.protobuf import json_format

from enginehouse.gateway.translate.names import REQUEST_ID_FORMAT
from enginehouse.kit.errors import Reason, ServiceError, to_status
from enginehouse.kit.openai.errors import openai_error

_PARAMETER = re.compile(r"(\{[^}]*\})")
_VERSION = "/v1"
# Envoy fills these in.
_ASKED = "%REQ(:METHOD)% %PATH(NQ:ORIG_OR_PATH)%"
_UNKNOWN = f"No such path or method here: {_ASKED}; the API reference lists what there is."
_NO_RESPONSES = (
    "The Responses API (/v1/responses) is not served here; use the Chat Completions API instead: "
    "POST /v1/chat/completions, in OpenAI's clients `client.chat.completions.create`."
)
_NO_MESSAGES = (
    "Anthropic's API is not served here; use OpenAI's Chat Completions API instead: POST /v1/chat/completions with an "
    "OpenAI client."
)
_NO_VERSION = f"No such path here: {_ASKED}; paths begin with /v1, so end the client's base URL in /v1."


@dataclass(frozen=True, kw_only=True)
class UnknownPath:
    """The answer to a path that is not here, or not by this method.

    Attributes:
        pattern: a regular expression (RE2) of the whole path without its query.
        status: the HTTP status.
        body: the JSON body, with Envoy's commands in its texts.
        allow: the verbs that the path takes, for the header `allow`; empty where there are none.
    """

    pattern: str
    status: int
    body: Mapping[str, Json]
    allow: str = ""


def path_pattern(template: str) -> str:
    """Return a path template such as `/v1/models/{model}` as a regular expression."""
    pieces = _PARAMETER.split(template)
    return "".join("[^/]+" if piece.startswith("{") else re.escape(piece) for piece in pieces)


def unknown_paths(openai: Iterable[tuple[str, str]], ours: Iterable[tuple[str, str]]) -> list[UnknownPath]:
    """Return the answers in the order in which they are tried. Of what none matches nothing is known.

    Args:
        openai: verb and path template of each HTTP form of a call whose errors have OpenAI's form.
        ours: the same of the other calls.
    """
    theirs = _by_template(openai)
    return [
        *(_wrong_method(template, verbs, _openai) for template, verbs in theirs.items()),
        *(_wrong_method(template, verbs, _plain) for template, verbs in _by_template(ours).items()),
        UnknownPath(pattern=f"({_VERSION})?/(messages|complete)(/.*)?", status=404, body=_anthropic(_NO_MESSAGES)),
        UnknownPath(pattern=f"({_VERSION})?/responses(/.*)?", status=404, body=_openai(_NO_RESPONSES)),
        *(
            UnknownPath(pattern=path_pattern(template.removeprefix(_VERSION)), status=404, body=_openai(_NO_VERSION))
            for template in theirs
        ),
        # Administration is ours alone.
        UnknownPath(pattern=f"{_VERSION}/admin(/.*)?", status=404, body=_plain(_UNKNOWN)),
        UnknownPath(pattern=f"{_VERSION}(/.*)?", status=404, body=_openai(_UNKNOWN)),
    ]


def _by_template(methods: Iterable[tuple[str, str]]) -> dict[str, Sequence[str]]:
    verbs: dict[str, list[str]] = {}
    for verb, template in methods:
        # Templates that differ only in their parameters' names are one path.
        verbs.setdefault(_PARAMETER.sub("{}", template), []).append(verb.upper())
    return {template: sorted(taken) for template, taken in sorted(verbs.items())}


def _wrong_method(template: str, verbs: Sequence[str], form: Callable[..., Mapping[str, Json]]) -> UnknownPath:
    message = f"Not allowed: {_ASKED}; this path takes {' and '.join(verbs)}."
    return UnknownPath(
        pattern=path_pattern(template),
        status=405,
        body=form(message, code="method_not_supported"),
        allow=", ".join((*verbs, "OPTIONS")),
    )


def _openai(message: str, *, code: str = "") -> Mapping[str, Json]:
    body: Mapping[str, Json] = json.loads(openai_error(_error(message, code))[1])
    return body


def _plain(message: str, *, code: str = "") -> Mapping[str, Json]:
    body: Mapping[str, Json] = json_format.MessageToDict(
        to_status(_error(message, code)), preserving_proto_field_name=True
    )
    return body


def _error(message: str, code: str) -> ServiceError:
    return ServiceError(Reason.UNKNOWN_METHOD, message, metadata={"code": code} if code else None)


def _anthropic(message: str) -> Mapping[str, Json]:
    return {
        "type": "error",
        "error": {"type": "not_found_error", "message": message},
        "request_id": REQUEST_ID_FORMAT,
    }
