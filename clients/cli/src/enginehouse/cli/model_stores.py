"""Model stores of the installed engines, which fetch weights and add catalog entries."""

from __future__ import annotations

import importlib
from typing import Any, Protocol

from enginehouse.kit.nearest import did_you_mean
from enginehouse.local.engines import find_engines
from enginehouse.local.errors import LocalError


class TransferProgress(Protocol):
    """The progress of a transfer, as a model store reports it."""

    @property
    def file(self) -> str:
        """The file's name."""

    @property
    def done_bytes(self) -> int:
        """The number of bytes that have arrived."""

    @property
    def total_bytes(self) -> int:
        """The file's size."""


def find_store(kind: str) -> Any:
    """Return the model store's module for a kind of engine.

    Args:
        kind: the kind; empty, or one without a store, for the only store.

    Raises:
        LocalError: the kind is unknown, there is no store, or there are several to choose from.
    """
    engines = find_engines()
    if kind and kind not in engines:
        raise LocalError(f"unknown kind of engine {kind!r}{did_you_mean(kind, engines, list_known=True)}")
    stores = {name: spec.model_store for name, spec in engines.items() if spec.model_store is not None}
    if not stores:
        raise LocalError("no installed engine has a model store; install one that has, or edit the catalog by hand")
    if kind not in stores and len(stores) > 1:
        raise LocalError(f"several engines have a model store: give --engine with one of {', '.join(stores)}")
    return importlib.import_module(stores.get(kind) or next(iter(stores.values())))
