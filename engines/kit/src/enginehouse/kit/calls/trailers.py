"""Trailing metadata that several layers add to."""

from __future__ import annotations

from typing import Any

COST_TRAILER = "x-enginehouse-cost-nanos"


def add_trailer(context: Any, key: str, value: str | bytes) -> None:
    """Add one pair to a call's trailing metadata and keep what is there; `set_trailing_metadata` alone replaces it.

    Args:
        context: the handler's `grpc.aio.ServicerContext`.
        key: lower case; binary values need a key that ends in `-bin`.
        value: the value.
    """
    context.set_trailing_metadata((*(context.trailing_metadata() or ()), (key, value)))
