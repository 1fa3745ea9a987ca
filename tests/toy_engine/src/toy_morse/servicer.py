"""`toy.morse.v1.MorseService`: accepts each call's grant, and counts what it sends."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

from enginehouse.kit.calls import Calls
from enginehouse.kit.loading import ServedModels
from enginehouse.kit.validation import Checks
from toy_morse.api import morse_pb2, morse_pb2_grpc
from toy_morse.backend import LoadedMorse, MorseInfo

_TEXT = re.compile(r"[A-Za-z0-9 ]{1,1000}")
_DEFAULT_SIGNALS = 1000


class MorseServicer(morse_pb2_grpc.MorseServiceServicer):
    """Serves Morse code.

    Args:
        calls: accepts grants and settles what calls used.
        models: the models that are served.
    """

    def __init__(self, *, calls: Calls, models: ServedModels[MorseInfo, LoadedMorse]) -> None:
        self._calls = calls
        self._models = models

    async def Transmit(
        self, request: morse_pb2.TransmitRequest, context: Any
    ) -> AsyncIterator[morse_pb2.TransmitResponse]:
        """Send a text as dots and dashes; see the contract."""
        async with self._calls.accept(context, served_models=self._models.names) as call:
            checks = Checks()
            checks.matches("text", request.text, _TEXT, "1-1000 letters, digits and spaces")
            checks.in_range("max_signals", request.max_signals, 0, 100_000)
            checks.done()
            left = request.max_signals or _DEFAULT_SIGNALS
            _, model = self._models.granted(call)
            async with model.hold() as loaded:
                async for code in loaded.letters(request.text):
                    # Counted before it is sent: then it is on record even if the process is killed.
                    sent = call.meter.take("signals", min(len(code), left))
                    left -= sent
                    if sent:
                        call.mark_first_output()
                        yield morse_pb2.TransmitResponse(signals=code[:sent])
                    if sent < len(code):
                        break
            yield morse_pb2.TransmitResponse(usage=call.meter.usage())
