"""The section `voice` of the configuration."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pydantic

from enginehouse.kit.engine import EngineSection

CLUSTER = "voice"
"""The section, and the kind of engine that this is in catalogs and in the registry."""


class VoiceConfig(EngineSection):
    """One voice engine."""

    renamed: typing.ClassVar[Mapping[str, str]] = MappingProxyType({"most_audio_s": "max_audio_s"})

    listen: str = "127.0.0.1:18030"
    """The gRPC address."""
    http_listen: str = "127.0.0.1:18031"
    """The address of /metrics, /healthz and /readyz."""
    voices_dir: Path
    """The folder of cloned voices; engines of one cluster share it."""
    max_message_bytes: int = pydantic.Field(default=27 * 2**20, ge=64 * 1024, le=2**30)
    """The maximum size of a request; above the gateway's `max_media_bytes`."""
    decoders: int = pydantic.Field(default=2, ge=1, le=64)
    """The number of recordings that are decoded at once, each in a process of its own."""
    max_audio_s: int = pydantic.Field(default=4 * 3600, ge=1, le=24 * 3600)
    """The maximum length of a recording, in seconds."""
    stall_s: float = pydantic.Field(default=30.0, ge=1, le=3600)
    """Seconds that a streaming caller may send nothing before the call ends."""
    idle_s: float = pydantic.Field(default=240.0, ge=1, le=3600)
    """Seconds that the caller of a conversation may write nothing before the call ends."""
    pace_ahead_s: float = pydantic.Field(default=3.0, ge=0.5, le=600)
    """Seconds of a conversation's audio that are sent ahead of playback; little, so that interruptions can drop the
    rest."""
