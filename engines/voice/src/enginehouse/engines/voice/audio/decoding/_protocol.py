"""The frames between the engine and a decoder process."""

from __future__ import annotations

import struct

SETTINGS = 1
"""To the child: `JOB`."""
DECODE = 2
"""To the child: the file, decoded by the preceding settings. Answered with SAMPLES, then ERROR or FATAL on failure."""
PROBE = 3
"""To the child: the file. Answered with INFO, ERROR or FATAL."""
SAMPLES = 4
"""From the child: 16-bit little-endian PCM."""
INFO = 5
"""From the child: a MediaInfo's fields as JSON."""
ERROR = 6
"""From the child: the reason why the file is refused, in UTF-8."""
FATAL = 7
"""The same, after which the child should not be used again."""

JOB = struct.Struct("<IQdI")
"""The sample rate, and the maxima of bytes, seconds of audio and seconds of processor time."""
