"""Typed reading of the members of a request object; the error for a bad value names its parameter."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Set
from typing import Any

from enginehouse.kit.errors import FieldViolation, Reason, ServiceError
from enginehouse.kit.nearest import nearest_names

# How much a member's name is like a known one that it was meant for.
_MISSPELT = 0.8


def shown(value: object) -> str:
    """Return a value as errors show it: short, whatever the client sent."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and value.bit_length() > 256:
        return "an integer of more than 256 bits"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def refusal(param: str, message: str, *, code: str = "invalid_value") -> ServiceError:
    """Return an error about one parameter. `code` is OpenAI's code for the kind of mistake."""
    return ServiceError(
        Reason.INVALID_REQUEST, message, violations=[FieldViolation(param, message)], metadata={"code": code}
    )


def unsupported(param: str, message: str) -> ServiceError:
    """Return an error about a parameter that OpenAI supports and the mesh does not."""
    return refusal(param, message, code="unsupported_parameter")


class Fields:
    """The members of one JSON object of a request. A null member counts as absent, as in OpenAI's API."""

    def __init__(self, members: Mapping[str, Any], *, path: str = "") -> None:
        self._members = members
        self._path = path

    def __contains__(self, name: str) -> bool:
        return self._members.get(name) is not None

    def __len__(self) -> int:
        return len(self._members)

    def param(self, name: str) -> str:
        """Return the parameter's name as errors give it, such as `messages[0].content`."""
        return f"{self._path}.{name}" if self._path else name

    def names(self) -> list[str]:
        """Return the names of the members, in their order."""
        return list(self._members)

    def any_of(self, names: Set[str]) -> bool:
        """Return whether one of these members is there, if only as null."""
        return not self._members.keys().isdisjoint(names)

    def raw(self, name: str) -> Any:
        """Return the value as it came; None if it is absent."""
        return self._members.get(name)

    def refuse_unknown(self, known: Set[str]) -> None:
        """Raise an error for a member that is not in `known`, naming the nearest that is."""
        if not self._members.keys() <= known:
            raise self._unknown(next(key for key in self._members if key not in known), known)

    def refuse_misspelt(self, known: Set[str]) -> None:
        """Raise an error for a member that seems to be meant for one of `known`; let others and nulls be."""
        for name, value in self._members.items():
            if value is not None and name not in known and nearest_names(name, known, cutoff=_MISSPELT):
                raise self._unknown(name, known)

    def without_nulls(self) -> Fields:
        """Return these members without those that are null."""
        given = {name: value for name, value in self._members.items() if value is not None}
        return self if len(given) == len(self._members) else Fields(given, path=self._path)

    def _unknown(self, name: str, known: Set[str]) -> ServiceError:
        near = nearest_names(name, known)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        param = self.param(name[:80])
        return refusal(param, f"Unknown parameter: '{param}'.{hint}", code="unknown_parameter")

    def text(self, name: str) -> str | None:
        """Return a string; None if it is absent."""
        value = self._members.get(name)
        if value is None or isinstance(value, str):
            return value
        raise self._mistyped(name, "a string", value)

    def required_text(self, name: str) -> str:
        """Return a string that is required and must not be empty."""
        value = self.text(name)
        if not value:
            raise self.missing(name)
        return value

    def one_of(self, name: str, choices: tuple[str, ...]) -> str | None:
        """Return one of a few words."""
        value = self.text(name)
        if value is None or value in choices:
            return value
        expected = ", ".join(f"'{choice}'" for choice in choices)
        raise self.invalid(name, f"{shown(value)} is not one of {expected}")

    def flag(self, name: str) -> bool:
        """Return a boolean; false if it is absent."""
        value = self._members.get(name)
        if value is None:
            return False
        if isinstance(value, bool):
            return value
        raise self._mistyped(name, "a boolean", value)

    def integer(self, name: str, low: int, high: int) -> int | None:
        """Return a whole number from `low` to `high`."""
        value = self._members.get(name)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._mistyped(name, "an integer", value)
        if not low <= value <= high:
            raise self.invalid(name, f"{shown(value)} is not between {low} and {high}")
        return value

    def number(self, name: str, low: float, high: float, *, above_low: bool = False) -> float | None:
        """Return a number from `low` to `high`; `above_low` excludes `low` itself."""
        value = self._members.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._mistyped(name, "a number", value)
        if not low <= value <= high or (above_low and value == low) or not math.isfinite(value):
            bound = "above" if above_low else "at least"
            raise self.invalid(name, f"{shown(value)} is not {bound} {low:g} and at most {high:g}")
        return float(value)

    def nested(self, name: str) -> Fields | None:
        """Return a nested object; None if it is absent."""
        value = self._members.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self._mistyped(name, "an object", value)
        return Fields(value, path=self.param(name))

    def required_nested(self, name: str) -> Fields:
        """Return a nested object that is required."""
        value = self.nested(name)
        if value is None:
            raise self.missing(name)
        return value

    def items(self, name: str, *, most: int) -> list[Any]:
        """Return an array of at most `most` values; empty if it is absent."""
        value = self._members.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._mistyped(name, "an array", value)
        if len(value) > most:
            raise self.invalid(name, f"too many entries: {len(value)}, over {most}")
        return value

    def objects(self, name: str, *, most: int) -> Iterator[Fields]:
        """Return an array of objects."""
        for index, value in enumerate(self.items(name, most=most)):
            if not isinstance(value, dict):
                raise self._mistyped(f"{name}[{index}]", "an object", value)
            yield Fields(value, path=self.param(f"{name}[{index}]"))

    def missing(self, name: str) -> ServiceError:
        """Return the error for a required member that is absent."""
        param = self.param(name)
        return refusal(param, f"Missing required parameter: '{param}'.", code="missing_required_parameter")

    def invalid(self, name: str, why: str) -> ServiceError:
        """Return the error for an invalid value."""
        param = self.param(name)
        return refusal(param, f"Invalid value for '{param}': {why}.")

    def _mistyped(self, name: str, expected: str, value: object) -> ServiceError:
        param = self.param(name)
        message = f"Invalid type for '{param}': expected {expected}, but got {shown(value)} instead."
        return refusal(param, message, code="invalid_type")
