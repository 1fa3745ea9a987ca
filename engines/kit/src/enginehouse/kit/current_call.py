"""The call that the running task serves, as logs and grant checks need it.

A context variable, because a handler's log lines come from anywhere below it.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

REQUEST_ID_HEADER = "x-enginehouse-request-id"
MODEL_HEADER = "x-enginehouse-model"
LOAD_MS_HEADER = "x-enginehouse-load-ms"


class CurrentCall:
    """One call of a handler.

    Attributes:
        method: the full method, as "/package.Service/Method".
        metadata: the invocation metadata as pairs.
        request_id: the request's id, once known.
        tenant: the tenant's id, once a grant was accepted.
        leading: metadata to send with the first message. It is not sent before: until then the call may still fail in
            a way that lets the gateway carry it elsewhere.
    """

    __slots__ = ("_trace_id", "leading", "metadata", "method", "request_id", "tenant")

    def __init__(self, method: str, metadata: Any) -> None:
        self.method = method
        self.metadata = metadata
        self.request_id: str = ""
        self.tenant: str = ""
        self.leading: tuple[tuple[str, str], ...] = ()
        self._trace_id: str | None = None

    def header(self, name: str) -> str:
        """Return the first value of a metadata key, or the empty string."""
        for key, value in self.metadata or ():
            if key == name:
                return value if isinstance(value, str) else value.decode("utf-8", "replace")
        return ""

    def lead(self, key: str, value: str) -> None:
        """Send a pair with the first message, in place of an earlier one of that key."""
        self.leading = (*(pair for pair in self.leading if pair[0] != key), (key, value))

    @property
    def trace_id(self) -> str:
        """Return the W3C trace id that the caller sent, or the empty string."""
        if self._trace_id is None:
            parts = self.header("traceparent").split("-")
            self._trace_id = parts[1] if len(parts) >= 4 else ""
        return self._trace_id


current_call: ContextVar[CurrentCall | None] = ContextVar("enginehouse_current_call", default=None)
