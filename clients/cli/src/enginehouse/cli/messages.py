"""The contract's messages as a person writes and reads them."""

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
    """A message from a file that a person wrote."""
    try:
        fields = yaml.safe_load(file.read_text())
        return json_format.ParseDict(fields if isinstance(fields, dict) else {}, message)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, json_format.ParseError) as error:
        raise typer.BadParameter(f"{file}: {error}") from None


def describe(message: Any) -> Any:
    """A message as JSON prints it."""
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def word(enum: Any, value: int) -> str:
    """An enumeration's value without the prefix that it shares with the others."""
    name: str = enum.Name(value)
    prefix = "".join(f"_{letter}" if letter.isupper() else letter for letter in enum.DESCRIPTOR.name)[1:].upper() + "_"
    return name.removeprefix(prefix).lower().replace("_", " ")
