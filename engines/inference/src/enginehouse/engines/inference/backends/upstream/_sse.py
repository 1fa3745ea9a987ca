"""Server-sent events from bytes that arrive in pieces of any size.

Written by hand: the libraries for it decode lines of text and have no bound on an event's size.
"""

from __future__ import annotations

from enginehouse.kit.errors import Reason, ServiceError

_MAX_EVENT_BYTES = 16 * 2**20


class EventReader:
    """A splitter of a byte stream into the data of its events, without comments and fields other than `data`."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, received: bytes) -> list[bytes]:
        """Return the data of the events that `received` completes; raise UPSTREAM_FAILED for an endless event."""
        lines = (self._rest + received).replace(b"\r\n", b"\n").split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > _MAX_EVENT_BYTES:
            raise ServiceError(
                Reason.UPSTREAM_FAILED,
                f"invalid stream: the provider sent an event of more than {_MAX_EVENT_BYTES} bytes",
            )
        events = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                events.append(b"\n".join(self._data))
                self._data = []
        return events

    def end(self) -> list[bytes]:
        """Return the data of an event that the stream's end completes."""
        return self.feed(b"\n\n")
