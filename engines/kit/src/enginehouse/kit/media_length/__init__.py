"""A bound on the length of a recording, from a few of its bytes: for reservations, never for bills.

Headers may lie: of a stream they were written before its end, of joined files they tell of the first. So a header is
believed only where the bytes of the file agree. A recording is billed for what an engine decodes.
"""

from enginehouse.kit.media_length._measure import MIN_BYTES_PER_SECOND, length_bound_ms, measured_ms

__all__ = ["MIN_BYTES_PER_SECOND", "length_bound_ms", "measured_ms"]
