"""Recordings that callers send, read into samples; whatever cannot be read is the caller's to mend."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from enginehouse.engines.voice.audio import DecoderPool, MediaError, MediaLimits
from enginehouse.engines.voice.backends.base import Samples
from enginehouse.engines.voice.workers import WorkerError
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.validation import invalid


class RecordingReader:
    """Reads recordings.

    Args:
        decoders: do the work.
        limits: what a recording may be.
    """

    def __init__(self, *, decoders: DecoderPool, limits: MediaLimits) -> None:
        self._decoders = decoders
        self._limits = limits

    async def read(self, data: bytes, *, rate: int, field: str) -> AsyncGenerator[Samples, None]:
        """Yield a recording's samples at a rate, as they are read.

        Raises:
            ServiceError: INVALID_REQUEST naming the field, for what is no recording or more than is taken.
        """
        try:
            async with aclosing(self._decoders.decode(data, rate=rate, limits=self._limits)) as pieces:
                async for samples in pieces:
                    yield samples
        except MediaError as error:
            raise invalid(field, str(error)) from None
        except WorkerError as error:
            raise ServiceError(Reason.BACKEND_FAILED, f"the decoder cannot run: {error}") from error
