"""The installed engines, as the local mesh can run them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from enginehouse.kit.engine import EngineSpec, installed_engines
from enginehouse.local.errors import LocalError

RESERVED = ("gateway", "router", "local")
"""Names that no kind of engine may have: sections of the configuration, and processes of the mesh."""


def find_engines() -> Mapping[str, EngineSpec[Any]]:
    """Return the installed engines by kind.

    Raises:
        LocalError: an engine cannot be imported, or its kind is taken.
    """
    try:
        engines = installed_engines()
    except (RuntimeError, ImportError, AttributeError) as error:
        raise LocalError(f"broken engine: {error}; reinstall or uninstall its distribution") from error
    for kind in RESERVED:
        if kind in engines:
            raise LocalError(
                f"engine kind {kind!r} is reserved; uninstall {engines[kind].distribution}, or give it another kind"
            )
    return engines
