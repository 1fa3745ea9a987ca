"""Decode the recordings in requests; a recording that cannot be decoded is the caller's error."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from enginehouse.engines.voice.audio import DecoderPool, MediaError, MediaLimits
from enginehouse.engines.voice.backends.base import Samples
from enginehouse.engines.voice.workers import WorkerError
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.validation import invalid


class RecordingReader:
    """Reader of recordings in requests.

    Args:
        decoders: the decoder processes.
        limits: the limits of a recording.
    """

    def __init__(self, *, decoders: DecoderPool, limits: MediaLimits) -> None:
        self._decoders = decoders
        self._limits = limits

    async def read(self, data: bytes, *, rate: int, field: str) -> AsyncGenerator[Samples, None]:
        """Yield a recording's samples at a rate, as they are decoded.

        Raises:
            ServiceError: INVALID_REQUEST naming the field, for an invalid recording or one over the limits.
        """
        try:
            async with aclosing(self._decoders.decode(data, rate=rate, limits=self._limits)) as pieces:
                async for samples in pieces:
                    yield samples
        except MediaError as error:
            raise invalid(field, str(error)) from None
        except WorkerError as error:
            raise ServiceError(Reason.BACKEND_FAILED, f"the decoder failed: {error}") from error
