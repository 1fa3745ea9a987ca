"""Request examples: what the suite asks of each method, from a file or found by trying what the descriptors allow."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor

from enginehouse.kit.config import ConfigError
from enginehouse.kit.conformance._reflection import ServedMethod

_KEYS = ("models", "request", "long_request", "invalid_request")
_TEXT = "Tell me a story"


@dataclasses.dataclass(frozen=True, slots=True)
class RequestExample:
    """A request that the engine should answer.

    Attributes:
        method: the method.
        models: the models that the grant names; empty for a method that no model serves.
        messages: the request's messages, serialised.
        long_messages: a request whose answer takes longer, for rules that interrupt it.
        invalid_messages: a request that the engine must refuse; None where the file gives none.
        given: whether it is from the file.
    """

    method: ServedMethod
    models: tuple[str, ...]
    messages: tuple[bytes, ...]
    long_messages: tuple[bytes, ...]
    invalid_messages: tuple[bytes, ...] | None = None
    given: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class GivenExample:
    """An entry of the request file: the example, whose models may have been left out."""

    example: RequestExample
    names_models: bool


def read_examples(path: Path, methods: Sequence[ServedMethod]) -> list[GivenExample]:
    """The examples of a request file, in its order.

    The file is a JSON object. Its keys are methods ("Generate", or "/package.Service/Generate" where several services
    have one of that name); each value is an object with `request` (the request as protobuf's JSON, or a list of them
    where the client streams) and, if wanted, `long_request`, `invalid_request` and `models`. A request of
    `google.api.HttpBody` may be written as `{"json": ...}`.

    Raises:
        ConfigError: names the file, the method and the fault.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: the request examples cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: must be an object of examples by method")
    return [_read(path, name, entry, methods) for name, entry in document.items()]


def _read(path: Path, name: str, entry: Any, methods: Sequence[ServedMethod]) -> GivenExample:
    where = f"{path}: {name}"
    found = [method for method in methods if name in (method.name, method.path)]
    if len(found) != 1:
        known = ", ".join(method.path for method in found or methods)
        raise ConfigError(f"{where}: {'several methods have that name' if found else 'no such method'}; known: {known}")
    if not isinstance(entry, dict) or "request" not in entry:
        raise ConfigError(f"{where}: must be an object with the key 'request'")
    unknown = [key for key in entry if key not in _KEYS]
    if unknown:
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(_KEYS)}")
    models = entry.get("models", [])
    if not isinstance(models, list) or not all(isinstance(model, str) for model in models):
        raise ConfigError(f"{where}: models must be a list of names")
    method = found[0]
    messages = _messages(where, method, entry["request"])
    example = RequestExample(
        method=method,
        models=tuple(models),
        messages=messages,
        long_messages=_messages(where, method, entry["long_request"]) if "long_request" in entry else messages,
        invalid_messages=_messages(where, method, entry["invalid_request"]) if "invalid_request" in entry else None,
        given=True,
    )
    return GivenExample(example, names_models="models" in entry)


def _messages(where: str, method: ServedMethod, value: Any) -> tuple[bytes, ...]:
    documents = value if isinstance(value, list) else [value]
    if len(documents) != 1 and not method.streams_requests:
        raise ConfigError(f"{where}: a list of {len(documents)} requests, but the method takes one")
    return tuple(_message(where, method, document) for document in documents)


def _message(where: str, method: ServedMethod, document: Any) -> bytes:
    request = method.new_request()
    if method.takes_http_body and isinstance(document, dict) and set(document) == {"json"}:
        request.content_type = "application/json"
        request.data = json.dumps(document["json"]).encode()
    else:
        try:
            json_format.ParseDict(document, request)
        except (json_format.ParseError, TypeError, AttributeError) as error:
            raise ConfigError(f"{where}: not a valid {method.request.full_name}: {error}") from None
    data: bytes = request.SerializeToString(deterministic=True)
    return data


def guesses(method: ServedMethod, *, models: Sequence[str]) -> Iterator[RequestExample]:
    """Requests that the method may answer, to be tried in order: without a model, then with each; with texts, then
    without."""
    if method.takes_http_body:
        return
    pairs: list[tuple[str, tuple[str, ...]]] = [("", ())]
    for name in models:
        pairs += [(name, ()), (name, (name,))]
    for model, granted in pairs:
        tried: set[bytes] = set()
        for text in (_TEXT, ""):
            data = _filled(method, model=model, text=text)
            if data not in tried:
                tried.add(data)
                yield RequestExample(method=method, models=granted, messages=(data,), long_messages=(data,))


def _filled(method: ServedMethod, *, model: str, text: str) -> bytes:
    request = method.new_request()
    for field in method.request.fields:
        if field.type != FieldDescriptor.TYPE_STRING or field.name.endswith(("_id", "_token")):
            continue
        if field.name == "model":
            request.model = model
        elif text and (field.containing_oneof is None or not request.WhichOneof(field.containing_oneof.name)):
            if field.is_repeated:
                getattr(request, field.name).append(text)
            else:
                setattr(request, field.name, text)
    data: bytes = request.SerializeToString(deterministic=True)
    return data


def invalid_request(example: RequestExample) -> tuple[bytes, ...]:
    """A request that the method should refuse: the file's, or a body that is no JSON, or an empty message."""
    if example.invalid_messages is not None:
        return example.invalid_messages
    request = example.method.new_request()
    if example.method.takes_http_body:
        request.content_type = "application/json"
        request.data = b"{"
    return (request.SerializeToString(),)


def by_method(examples: Sequence[RequestExample]) -> Mapping[str, RequestExample]:
    """The examples by their method's path."""
    return {example.method.path: example for example in examples}
