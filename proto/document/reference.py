"""The reference page: every service, message and enum with its comments, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .contracts import Enum, Extension, Field, Message, Package, Service


def page(packages: Sequence[Package]) -> str:
    """The whole page, ending in a newline."""
    lines = [
        "# Reference",
        "",
        "Made from the contracts in `proto/` by `make proto`; do not edit. Over HTTP the JSON is protobuf's, with",
        "field names as below: 64-bit integers are strings, enums are their names. `docs/openapi.json` says the same",
        "for tools.",
        "",
        *[f"- [{package.name}](#{_anchor(package.name)})" for package in packages],
        "",
    ]
    for package in packages:
        lines += [f"## {package.name}", ""]
        if package.comment:
            lines += [package.comment, ""]
        if package.extensions:
            lines += _extensions(package)
        for service in package.services:
            lines += _service(package, service)
        for message in package.messages:
            lines += _message(package, message)
        for enum in package.enums:
            lines += _enum(package, enum)
    return "\n".join(lines).rstrip("\n") + "\n"


def _extensions(package: Package) -> Iterator[str]:
    yield from ("| option | of | type | |", "|---|---|---|---|")
    for extension in package.extensions:
        yield _extension(package, extension)
    yield ""


def _extension(package: Package, extension: Extension) -> str:
    kind = _type(package, extension.type_name)
    return f"| `{extension.name}` = {extension.number} | {extension.extends} | {kind} | {_cell(extension.comment)} |"


def _service(package: Package, service: Service) -> Iterator[str]:
    yield from (f"### {_heading(service.name)}", "", service.comment, "")
    yield from ("| call | HTTP | takes | gives | |", "|---|---|---|---|---|")
    for method in service.methods:
        http = f"`{method.verb.upper()} {method.path}`" if method.verb else ""
        takes = _streamed(_type(package, method.request), method.client_streaming)
        gives = _streamed(_type(package, method.response), method.server_streaming)
        yield f"| **{method.name}** | {http} | {takes} | {gives} | {_cell(method.comment)} |"
    yield ""


def _message(package: Package, message: Message) -> Iterator[str]:
    yield from (f"### {_heading(message.name)}", "", message.comment, "")
    if message.fields:
        yield from ("| field | type | |", "|---|---|---|")
        for field in message.fields:
            yield f"| `{field.name}` = {field.number} | {_field_type(package, field)} | {_cell(field.comment)} |"
        yield ""


def _enum(package: Package, enum: Enum) -> Iterator[str]:
    yield from (f"### {_heading(enum.name)}", "", enum.comment, "", "| value | |", "|---|---|")
    for value in enum.values:
        yield f"| `{value.name}` = {value.number} | {_cell(value.comment)} |"
    yield ""


def _field_type(package: Package, field: Field) -> str:
    kind = _type(package, field.type_name) if field.type_name else field.kind
    if field.repeated:
        return f"repeated {kind}"
    if field.optional:
        return f"optional {kind}"
    return f"{kind}, one of `{field.oneof}`" if field.oneof else kind


def _type(package: Package, name: str) -> str:
    if not name.startswith("enginehouse."):
        return name
    return f"[{_local(package, name)}](#{_anchor(_heading(name))})"


def _heading(name: str) -> str:
    """The name with its area and version, which makes it and its anchor unique on the page."""
    return name.removeprefix("enginehouse.api.")


def _local(package: Package, name: str) -> str:
    """The name as seen from inside the package; other packages' names keep theirs."""
    return _heading(name.removeprefix(package.name + "."))


def _anchor(name: str) -> str:
    """GitHub's anchor for a heading."""
    return "".join(letter for letter in name.lower() if letter.isalnum() or letter in "-_ ").replace(" ", "-")


def _streamed(name: str, streaming: bool) -> str:
    return f"stream of {name}" if streaming else name


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
