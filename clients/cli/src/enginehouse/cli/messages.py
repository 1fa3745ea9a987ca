"""Protobuf messages as people write and read them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from google.protobuf import json_format

FileArgument = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, help="A YAML or JSON file with the contract's field names.")
]


def read_message(file: Path, message: Any) -> Any:
    """Read a message from a YAML or JSON file."""
    try:
        fields = yaml.safe_load(file.read_text())
        return json_format.ParseDict(fields if isinstance(fields, dict) else {}, message)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, json_format.ParseError) as error:
        raise typer.BadParameter(f"{file}: {error}") from None


def describe(message: Any) -> Any:
    """Return a message as a JSON document."""
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def word(enum: Any, value: int) -> str:
    """Return the name of an enum value in lower case, without the enum's prefix."""
    name: str = enum.Name(value)
    prefix = "".join(f"_{letter}" if letter.isupper() else letter for letter in enum.DESCRIPTOR.name)[1:].upper() + "_"
    return name.removeprefix(prefix).lower().replace("_", " ")
