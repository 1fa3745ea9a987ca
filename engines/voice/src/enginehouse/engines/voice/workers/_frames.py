"""Frames: four bytes of length (little-endian, of the payload), one byte of kind, the payload."""

from __future__ import annotations

import struct

HEAD = struct.Struct("<IB")

DONE = 0
"""From the child: one frame is done. `serve` sends it; it has no payload."""
FIRST_RESERVED = 250
"""Kinds from here on are reserved for the pool."""
READY = 255
"""From the child: it is ready. `serve` sends it; it has no payload."""
MAX_FRAME_BYTES = 32 << 20
"""The default maximum of a payload's bytes: more than the largest file that may be uploaded."""
