"""One answer over several attempts: its state, and how it is continued when its stream is cut.

A cut stream is continued under the same request id, with the next number in the attempt header, from the token ids
that have come. The next engine continues exactly as the first one would have done. So the caller reads one answer, with
no token twice and none missing.
"""

from __future__ import annotations

import grpc

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.client.errors import EnginehouseError, IncompleteError, RateLimited, Unavailable
from enginehouse.client.generation import Generation, GenerationBuilder
from enginehouse.client.retries import Attempts

# The codes of a proxy or of gRPC itself for a connection that broke or a process that died; no reason of ours comes
# with them.
_CUT_CODES = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED})


class GenerationCall:
    """The state of one answer over all its attempts.

    Args:
        request: the request.
        attempts: the retries that are left, and the deadline.
    """

    def __init__(self, request: generation_pb2.GenerateRequest, *, attempts: Attempts) -> None:
        self.request = request
        """The request to send in the next attempt."""
        self.attempt = 1
        """The number of the attempt that runs or comes next."""
        self._attempts = attempts
        self._builder = GenerationBuilder(request_id=request.request_id)
        self._token_ids: list[int] = []
        self._receipt = b""
        self._resumable = False
        self._begun = False
        self._progressed = False
        self._complete = False
        self._earlier = usage_pb2.Usage()
        self._current = usage_pb2.Usage()

    @property
    def generation(self) -> Generation:
        """The answer as far as it has come."""
        return self._builder.build()

    @property
    def complete(self) -> bool:
        """True once the summary has come. A connection that breaks after it has cut nothing off."""
        return self._complete

    @property
    def remaining_s(self) -> float | None:
        """Seconds left for the next attempt; None for no bound."""
        return self._attempts.remaining_s

    def add(self, message: generation_pb2.GenerateResponse) -> generation_pb2.GenerateResponse:
        """Add the next message of an attempt, and return it as a part of the one answer."""
        if message.model:
            self._resumable = message.resumable
            if self._begun:
                message.ClearField("request_id")
                message.ClearField("model")
                message.ClearField("resumable")
            else:
                # The model that "auto" was resolved to continues the answer.
                self.request.model = message.model
        self._begun = True
        for delta in message.deltas:
            self._token_ids.extend(delta.token_ids)
            self._receipt = delta.receipt or self._receipt
            self._progressed = True
        if message.HasField("usage_so_far"):
            self._current.CopyFrom(message.usage_so_far)
            message.usage_so_far.CopyFrom(_sum(self._earlier, self._current))
        if message.HasField("summary"):
            self._complete = True
            message.summary.usage.CopyFrom(_sum(self._earlier, message.summary.usage))
        self._builder.add(message)
        return message

    def delay_after(self, error: EnginehouseError, *, closed: bool) -> float:
        """Return the seconds to wait before the next attempt, after one that failed.

        Args:
            error: the failure.
            closed: whether the caller has closed the stream.

        Raises:
            IncompleteError: the answer had begun and cannot be continued.
            EnginehouseError: the error itself, if the answer had not begun or its request is at fault.
        """
        if closed:
            raise error
        if not self._begun:
            delay = self._attempts.delay_before_next(error)
            if delay is None:
                raise error
            self.attempt += 1
            return delay
        resuming = self.request.HasField("resume")
        if not resuming and not was_cut(error):
            raise error
        obstacle = self._obstacle(error)
        if obstacle:
            raise IncompleteError.of(error, received=self.generation, obstacle=obstacle) from error
        delay = self._attempts.delay_before_resuming(error, progressed=self._progressed)
        if delay is None:
            obstacle = "its attempts or its time are used up"
            raise IncompleteError.of(error, received=self.generation, obstacle=obstacle) from error
        self._progressed = False
        self._earlier = _sum(self._earlier, self._current)
        self._current = usage_pb2.Usage()
        self.request.resume.token_ids[:] = self._token_ids
        self.request.resume.receipt = self._receipt
        self.attempt += 1
        return delay

    def _obstacle(self, error: EnginehouseError) -> str:
        """Return the reason why the answer cannot be continued after this error; empty if it can."""
        if not self.request.resumable:
            return "resuming is switched off"
        if not self._resumable:
            return "its model or its output format does not support it"
        if not self._token_ids or not self._receipt:
            return "it was cut before anything had come to continue from"
        if was_cut(error) or (isinstance(error, RateLimited) and error.retry_after_s is not None):
            return ""
        return "the attempt to continue it was refused"


def was_cut(error: EnginehouseError) -> bool:
    """Return whether a call was broken off, by the network or by the end of its server, rather than refused."""
    if isinstance(error, Unavailable) or error.reason == "BACKEND_FAILED":
        return True
    return not error.reason and error.code in _CUT_CODES


def _sum(first: usage_pb2.Usage, second: usage_pb2.Usage) -> usage_pb2.Usage:
    amounts: dict[tuple[usage_pb2.Unit.ValueType, str], int] = {}
    for usage in (first, second):
        for entry in usage.units:
            amounts[entry.unit, entry.name] = amounts.get((entry.unit, entry.name), 0) + entry.amount
    total = usage_pb2.Usage(cost_nanos=first.cost_nanos + second.cost_nanos)
    for (unit, name), amount in sorted(amounts.items()):
        total.units.add(unit=unit, name=name, amount=amount)
    return total
