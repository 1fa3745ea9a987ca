"""Limits of a file's size, length and decoding time, and the error of a file that is refused."""

from __future__ import annotations

from dataclasses import dataclass


class MediaError(ValueError):
    """A file that cannot be used; the message gives the reason, in words that its sender understands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    """Limits for one file. A file's header is never trusted."""

    max_bytes: int = 25 << 20
    """The maximum size of the file, in bytes."""
    max_seconds: float = 4 * 3600
    """The maximum length of the audio, in seconds."""
    max_cpu_s: int = 240
    """The maximum processor time for decoding the file in a pool, in seconds."""
    max_wait_s: float = 400
    """The maximum time spent waiting for the decoder in a pool, in seconds; time in which nobody reads is not
    counted."""

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_seconds", "max_cpu_s", "max_wait_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; must be positive")

    def check_size(self, data: bytes) -> None:
        """Raise MediaError for a file that is empty or too large."""
        if not data:
            raise MediaError("the file is empty: 0 bytes")
        if len(data) > self.max_bytes:
            raise MediaError(f"the file has {len(data):,} bytes; at most {self.max_bytes:,} are accepted")


def too_long(limits: MediaLimits) -> MediaError:
    """Return the error for audio that exceeds the limit."""
    return MediaError(f"the audio is longer than {limits.max_seconds:g} seconds; send it in shorter parts")
