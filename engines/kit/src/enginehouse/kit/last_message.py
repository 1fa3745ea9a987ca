"""Streams that always end with a message that is known as the last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

_IS_LAST = "enginehouse_is_last"

HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])


def ends_with(is_last: Callable[[Any], bool]) -> Callable[[HandlerT], HandlerT]:
    """Declare that a servicer's stream ends with a message of which `is_last` is true, unless it fails.

    An `EngineServer` sends that message in one step with the status, once the handler has ended.
    """

    def mark(handler: HandlerT) -> HandlerT:
        setattr(handler, _IS_LAST, is_last)
        return handler

    return mark


def last_test(handler: Callable[..., Any]) -> Callable[[Any], bool] | None:
    """Return what tells a handler's last message, if that was declared."""
    found: Callable[[Any], bool] | None = getattr(handler, _IS_LAST, None)
    return found
