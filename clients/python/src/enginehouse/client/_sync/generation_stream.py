# Generated from _async/generation_stream.py by clients/python/unasync.py (`make client`). Do not edit.
"""A generated answer as the caller iterates over it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import grpc

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.client.errors import from_rpc_error
from enginehouse.client.generation import Generation
from enginehouse.client.resumption import GenerationCall


class GenerationStream:
    """An answer as it is generated: iterate over its texts, and find all of it in `result`.

    Leaving the `with` block or calling `close()` before the end cancels the request, which frees the model at
    once. Output sent until then is billed.
    """

    def __init__(self, state: GenerationCall, *, send: Callable[[], Any], request_id: str) -> None:
        self.request_id = request_id
        self._state = state
        self._send = send
        self._call: Any = None
        self._closed = False

    @property
    def result(self) -> Generation:
        """The answer as far as it has come; complete once the iteration has ended."""
        return self._state.generation

    @property
    def attempts(self) -> int:
        """The number of times the request was sent: more than 1 after a retry, or after a cut was continued."""
        return self._state.attempt

    def messages(self) -> Iterator[generation_pb2.GenerateResponse]:
        """Yield the contract's messages, for callers who want more than text. Use it instead of iterating.

        They are the messages of one answer, however many attempts it took: the first one names the request and the
        model, the last one has the usage and cost of all attempts.
        """
        while True:
            self._call = self._send()
            try:
                for message in self._call:
                    yield self._state.add(message)
                return
            except grpc.RpcError as raised:
                error = from_rpc_error(raised, request_id=self.request_id)
                error.__cause__ = raised
                if self._state.complete:
                    return
            time.sleep(self._state.delay_after(error, closed=self._closed))

    def __iter__(self) -> Iterator[str]:
        for message in self.messages():
            text = "".join(delta.text for delta in message.deltas if delta.index == 0)
            if text:
                yield text

    def close(self) -> None:
        """End the request, if it has not ended."""
        self._closed = True
        if self._call is not None:
            self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
