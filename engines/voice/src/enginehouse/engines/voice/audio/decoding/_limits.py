"""What a file may cost, and what is said of one that is refused."""

from __future__ import annotations

from dataclasses import dataclass


class MediaError(ValueError):
    """A file that cannot be used; the message says why, in words that its sender understands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    """Bounds for one file. What a file's header says of itself is never trusted."""

    max_bytes: int = 25 << 20
    """Bytes of the file."""
    max_seconds: float = 4 * 3600
    """Seconds of audio."""
    max_cpu_s: int = 240
    """Seconds of processor time for decoding all of it, in a pool."""
    max_wait_s: float = 400
    """Seconds that anybody waits for the decoder in all, in a pool; time in which nobody reads does not count."""

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_seconds", "max_cpu_s", "max_wait_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; must be positive")

    def check_size(self, data: bytes) -> None:
        """Raises MediaError for a file that is empty or too large."""
        if not data:
            raise MediaError("the file is empty: 0 bytes")
        if len(data) > self.max_bytes:
            raise MediaError(f"the file has {len(data):,} bytes; at most {self.max_bytes:,} are taken")


def too_long(limits: MediaLimits) -> MediaError:
    """The error for audio that goes on after the limit."""
    return MediaError(f"the audio is longer than {limits.max_seconds:g} seconds; send it in shorter parts")
