"""The table of weights that come as Python packages: an engine's `weights.yaml`.

```yaml
weights:
  some-voice:                          # what a catalog writes as package:some-voice
    licence: Apache-2.0                # of the weights
    origin: hf:ORG/REPO                # where they come from
    description: A voice.
    files:                             # the first is the one that a backend of single files loads
      - name: voice.onnx
        sha256: ...                    # of the whole file
        parts:                         # one package, or several whose files are joined in this order
          - {package: some-voice, version: 1.0.0, path: some_voice/voice.onnx, sha256: ...}
```

A part's hash may be left out where it is the whole file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Annotated

import pydantic

from enginehouse.kit._documents import ConfigError, parse_mapping

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")

Sha256 = Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{64}$")]


class _Entry(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class WeightsPart(_Entry):
    """A file of an installed package that is a file of weights, or a part of one."""

    package: str = pydantic.Field(min_length=1)
    """The distribution's name."""
    version: str = pydantic.Field(min_length=1)
    """The version that it must have."""
    path: str = pydantic.Field(min_length=1)
    """The file's path from the folder that packages are installed in."""
    sha256: Sha256 | None = None
    """The file's hash; None where it is the whole file's."""

    @property
    def requirement(self) -> str:
        """The package as an installer's command line names it."""
        return f"{self.package}=={self.version}"

    @pydantic.field_validator("path")
    @classmethod
    def _check_path(cls, path: str) -> str:
        parts = PurePosixPath(path).parts
        if PurePosixPath(path).is_absolute() or ".." in parts:
            raise ValueError("must stay within the folder that packages are installed in")
        return path


class WeightsFile(_Entry):
    """One file of weights, as a backend reads it."""

    name: str = pydantic.Field(min_length=1)
    """Its name in the folder of weights."""
    sha256: Sha256
    """The hash of the whole file."""
    parts: tuple[WeightsPart, ...] = pydantic.Field(min_length=1)
    """The files of packages that it consists of, in order."""

    @pydantic.field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if "/" in name or "\\" in name or name.startswith("."):
            raise ValueError("must be a plain file name that does not begin with a dot")
        return name

    @pydantic.field_validator("parts")
    @classmethod
    def _check_parts(cls, parts: tuple[WeightsPart, ...]) -> tuple[WeightsPart, ...]:
        if len(parts) > 1 and any(part.sha256 is None for part in parts):
            raise ValueError("each of several parts needs its sha256")
        return parts


class WeightsEntry(_Entry):
    """The weights of one model."""

    licence: str = pydantic.Field(min_length=1)
    """The licence of the weights, which need not be that of the packages."""
    origin: str = pydantic.Field(min_length=1)
    """The repository that the packages took them from."""
    description: str = pydantic.Field(min_length=1)
    """The model, in a sentence."""
    files: tuple[WeightsFile, ...] = pydantic.Field(min_length=1)
    """The files that a backend reads; the first is the one that a backend of single files loads."""

    @property
    def parts(self) -> tuple[WeightsPart, ...]:
        """The files of packages that all files consist of."""
        return tuple(part for file in self.files for part in file.parts)

    @pydantic.field_validator("files")
    @classmethod
    def _check_files(cls, files: tuple[WeightsFile, ...]) -> tuple[WeightsFile, ...]:
        names = [file.name for file in files]
        if len(set(names)) < len(names):
            raise ValueError("names a file twice")
        return files


class _Table(_Entry):
    weights: dict[str, WeightsEntry]

    @pydantic.field_validator("weights")
    @classmethod
    def _check_names(cls, weights: dict[str, WeightsEntry]) -> dict[str, WeightsEntry]:
        for name in weights:
            # It becomes a folder.
            if not _NAME.fullmatch(name):
                raise ValueError(f"name {name!r} must be 1-64 of [a-z0-9._-], with a letter or digit at both ends")
        return weights


def read_package_table(text: str, *, origin: str) -> Mapping[str, WeightsEntry]:
    """Return the weights by name.

    Args:
        text: the YAML.
        origin: names it in errors.

    Raises:
        ConfigError: the text is not such a table; the message names each fault.
    """
    try:
        return MappingProxyType(_Table.model_validate(parse_mapping(text, origin=origin)).weights)
    except pydantic.ValidationError as error:
        lines = (f"{origin}: {'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors())
        raise ConfigError("\n".join(lines)) from None
