"""What goes between the engine and a decoder process."""

from __future__ import annotations

import struct

SETTINGS = 1
"""To the child: `JOB`."""
DECODE = 2
"""To the child: the file, decoded by the settings before. Answered with SAMPLES, then ERROR or FATAL if it fails."""
PROBE = 3
"""To the child: the file. Answered with INFO, ERROR or FATAL."""
SAMPLES = 4
"""From the child: 16-bit little-endian PCM."""
INFO = 5
"""From the child: a MediaInfo's fields as JSON."""
ERROR = 6
"""From the child: why the file is refused, in UTF-8."""
FATAL = 7
"""The same, after which the child should not be used again."""

JOB = struct.Struct("<IQdI")
"""Samples a second, most bytes, most seconds, most seconds of processor time."""
