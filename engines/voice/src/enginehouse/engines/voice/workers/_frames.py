"""Frames: four bytes of length (little-endian, of the payload), one byte of kind, the payload."""

from __future__ import annotations

import struct

HEAD = struct.Struct("<IB")

DONE = 0
"""The child has done with one frame that it was sent. `serve` sends it; it has no payload."""
FIRST_RESERVED = 250
"""Kinds from here on are the pool's own."""
READY = 255
"""The child is up. `serve` sends it; it has no payload."""
MAX_FRAME_BYTES = 32 << 20
"""The most bytes of a payload unless the pool says otherwise: a file that may be uploaded, and some."""
