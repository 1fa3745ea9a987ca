"""The one piece of protobuf's encoding that is written by hand, to send messages that are serialised already."""

from __future__ import annotations

_LENGTH_DELIMITED = 2


def embedded(field: int, message: bytes) -> bytes:
    """Return a serialised message as the value of a field, 1 to 15, of the message around it."""
    length = len(message)
    head = bytearray((field << 3 | _LENGTH_DELIMITED,))
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + message
