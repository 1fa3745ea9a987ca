"""The frame of every administrative method: who calls, and the error for PostgreSQL's absence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.api.access import Access, Administrator
from enginehouse.router.database import DatabaseUnavailable, translate_db_errors


@contextlib.contextmanager
def authorized_call(access: Access, context: Any, method: str, *, reads: bool = False) -> Iterator[Administrator]:
    """The caller of a method, for the length of its work.

    Raises:
        ServiceError: what `Access.of` raises, and LEDGER_UNAVAILABLE while PostgreSQL is away.
    """
    caller = access.of(context, method=method, reads=reads)
    with unavailable_without_database():
        yield caller


@contextlib.contextmanager
def unavailable_without_database() -> Iterator[None]:
    """Raise LEDGER_UNAVAILABLE while PostgreSQL is away."""
    try:
        with translate_db_errors():
            yield
    except DatabaseUnavailable:
        raise ServiceError(
            Reason.LEDGER_UNAVAILABLE, "the ledger's database does not answer; retry shortly", retry_after_s=1.0
        ) from None
