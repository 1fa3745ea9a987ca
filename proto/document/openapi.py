"""The OpenAPI 3.1 document of everything that the contracts give an HTTP form.

The JSON is protobuf's, with field names as in the contracts: 64-bit integers are strings, enums are their names, bytes
are base64. Bodies of google.api.HttpBody are OpenAI's own, which `openai_schemas.py` describes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from . import openai_schemas
from .contracts import Enum, Field, Message, Method, Package, Service

Json = dict[str, object]

HTTP_BODY = "google.api.HttpBody"
INTEGERS_32 = {"int32", "sint32", "sfixed32", "uint32", "fixed32"}
INTEGERS_64 = {"int64", "sint64", "sfixed64", "uint64", "fixed64"}
PATH_PARAMETER = re.compile(r"{([\w.]+)(?:=[^}]*)?}")

STATUS_SCHEMA: Json = {
    "type": "object",
    "description": "A google.rpc.Status. Exactly one detail is a google.rpc.ErrorInfo whose domain is `enginehouse` "
    "and whose reason is a name of ErrorReason without its prefix.",
    "properties": {
        "code": {"type": "integer", "format": "int32", "description": "A google.rpc.Code."},
        "message": {"type": "string", "description": "What is wrong, and what would be right."},
        "details": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"@type": {"type": "string"}},
                "additionalProperties": True,
            },
        },
    },
}
OPENAI_ERROR_SCHEMA: Json = {
    "type": "object",
    "description": "An error in the form that OpenAI's clients read.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"], "description": "As `docs/openai.md` lists them."},
            },
        }
    },
}


def document(packages: Sequence[Package], *, version: str) -> Json:
    """The whole document; raises ValueError where two calls claim one path and verb."""
    messages = {message.name: message for package in packages for message in package.messages}
    enums = {enum.name: enum for package in packages for enum in package.enums}
    paths: dict[str, Json] = {}
    wanted: set[str] = set()
    tags = []
    for package in packages:
        for service in package.services:
            offered = [method for method in service.methods if method.verb]
            if offered:
                tags.append({"name": service.name, "description": service.comment})
            for method in offered:
                verbs = paths.setdefault(PATH_PARAMETER.sub(_path_parameter, method.path), {})
                if method.verb in verbs:
                    raise ValueError(f"{service.name}.{method.name}: {method.path} is another call's already")
                verbs[method.verb] = _operation(service, method, messages)
                wanted.update((method.request, method.response))
    schemas = {_short(name): _schema_of(name, messages, enums) for name in sorted(_closure(wanted, messages, enums))}
    schemas |= {"Status": STATUS_SCHEMA, "OpenAIError": OPENAI_ERROR_SCHEMA} | openai_schemas.SCHEMAS
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Enginehouse",
            "version": version,
            "summary": "Generative-AI engines behind one door, over HTTP.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:8080", "description": "`enginehouse up` on this machine."}],
        "security": [{"bearer": []}, {"apiKey": []}],
        "tags": tags,
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, `eh_...`."},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same key."},
            },
        },
    }


def _operation(service: Service, method: Method, messages: dict[str, Message]) -> Json:
    request = messages.get(method.request)
    in_path = PATH_PARAMETER.findall(method.path)
    fields = list(request.fields) if request else []
    parameters = [
        _parameter(_field_at(path, request, messages), "path", name=path.rpartition(".")[2]) for path in in_path
    ]
    if method.verb in ("get", "delete"):
        parameters += [_parameter(field, "query") for field in fields if field.name not in in_path]
    summary, _, rest = method.comment.partition(". ")
    operation: Json = {
        "operationId": f"{service.name.rpartition('.')[2]}_{method.name}",
        "tags": [service.name],
        "summary": summary.rstrip("."),
    }
    if rest:
        operation["description"] = rest
    if parameters:
        operation["parameters"] = parameters
    if method.body:
        operation["requestBody"] = {"required": True, "content": _request_content(service, method)}
    error = "OpenAIError" if ".openai." in service.name else "Status"
    operation["responses"] = {
        "200": {
            "description": "The answer.",
            "content": _response_content(service, method),
        },
        "default": {
            "description": "Why there is no answer.",
            "content": {"application/json": {"schema": _reference(error)}},
        },
    }
    return operation


def _path_parameter(match: re.Match[str]) -> str:
    """Return the parameter under its last name: generators drop one with a dot, as `{policy.name}` has."""
    return "{" + match[1].rpartition(".")[2] + "}"


def _request_content(service: Service, method: Method) -> Json:
    if method.request == HTTP_BODY:
        return _bodies(service, method)[0]
    return {"application/json": {"schema": _reference(_short(method.request))}}


def _response_content(service: Service, method: Method) -> Json:
    if method.response == HTTP_BODY:
        return _bodies(service, method)[1]
    schema = _reference(_short(method.response))
    if method.server_streaming:
        described = {"description": "One event a message; its data is the message in JSON."}
        return {"text/event-stream": {"schema": {**schema, **described}}}
    return {"application/json": {"schema": schema}}


def _bodies(service: Service, method: Method) -> tuple[Json, Json]:
    name = f"{service.name.rpartition('.')[2]}.{method.name}"
    if name not in openai_schemas.BODIES:
        raise ValueError(f"{name}: its body is bytes; describe it in openai_schemas.py")
    return openai_schemas.BODIES[name]


def _field_at(path: str, message: Message | None, messages: dict[str, Message]) -> Field:
    """The field that a path such as `policy.name` leads to."""
    first, _, rest = path.partition(".")
    fields = {field.name: field for field in message.fields} if message else {}
    if first not in fields:
        raise ValueError(f"the path parameter {path!r} is not a field of the request")
    field = fields[first]
    return _field_at(rest, messages.get(field.type_name), messages) if rest else field


def _parameter(field: Field, place: str, *, name: str = "") -> Json:
    return {
        "name": name or field.name,
        "in": place,
        "required": place == "path",
        "description": field.comment,
        "schema": _field_schema(field, described=False),
    }


def _closure(names: Iterable[str], messages: dict[str, Message], enums: dict[str, Enum]) -> set[str]:
    """The names, and all that their fields name in turn."""
    found: set[str] = set()
    todo = [name for name in names if name in messages or name in enums]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        if name in messages:
            todo += [field.type_name for field in messages[name].fields if field.type_name]
    return found


def _schema_of(name: str, messages: dict[str, Message], enums: dict[str, Enum]) -> Json:
    if name in enums:
        enum = enums[name]
        values = "\n".join(f"- `{value.name}`: {value.comment}" for value in enum.values)
        return {
            "type": "string",
            "enum": [value.name for value in enum.values],
            "description": f"{enum.comment}\n\n{values}",
        }
    message = messages[name]
    schema: Json = {"type": "object", "description": message.comment}
    if message.fields:
        schema["properties"] = {field.name: _field_schema(field, described=True) for field in message.fields}
    return schema


def _field_schema(field: Field, *, described: bool) -> Json:
    one = _scalar(field)
    schema: Json = {"type": "array", "items": one} if field.repeated else dict(one)
    if described:
        also = f" At most one of the `{field.oneof}` fields is set." if field.oneof else ""
        schema["description"] = field.comment + also
    return schema


def _scalar(field: Field) -> Json:
    if field.type_name:
        return _reference(_short(field.type_name))
    if field.kind in INTEGERS_32:
        return {"type": "integer", "format": "int32"} | ({"minimum": 0} if field.kind.startswith(("u", "f")) else {})
    if field.kind in INTEGERS_64:
        return {"type": "string", "format": "int64"}
    others: dict[str, Json] = {
        "bool": {"type": "boolean"},
        "float": {"type": "number", "format": "float"},
        "double": {"type": "number", "format": "double"},
        "string": {"type": "string"},
        "bytes": {"type": "string", "contentEncoding": "base64"},
    }
    return others[field.kind]


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _short(name: str) -> str:
    """`enginehouse.api.router.v1.Key` as `router.v1.Key`: unique and readable."""
    return name.removeprefix("enginehouse.api.")
