"""One answer over any number of attempts: what has come of it, and how to go on when its stream is cut.

A cut stream is continued under the same request id, with the next number in the attempt header, from the token ids
that have come. Whoever serves it then goes on exactly as the first engine would have; so what the caller reads is one
answer, with nothing twice and nothing left out.
"""

from __future__ import annotations

import grpc

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.client.errors import EnginehouseError, IncompleteError, RateLimited, Unavailable
from enginehouse.client.generation import Generation, GenerationBuilder
from enginehouse.client.retries import Attempts

# Broken on the way, or by a process that died: what a proxy or gRPC itself says then carries no reason of ours.
_CUT_CODES = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED})


class GenerationCall:
    """Follows one answer through its attempts.

    Args:
        request: what is asked for.
        attempts: how often it may be sent, and until when.
    """

    def __init__(self, request: generation_pb2.GenerateRequest, *, attempts: Attempts) -> None:
        self.request = request
        """What to send in the next attempt."""
        self.attempt = 1
        """The number of the attempt that runs, or is about to."""
        self._attempts = attempts
        self._collector = GenerationBuilder(request_id=request.request_id)
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
        """What has come so far."""
        return self._collector.generation()

    @property
    def complete(self) -> bool:
        """Whether the summary has come: what breaks after it has cut nothing off."""
        return self._complete

    @property
    def remaining_s(self) -> float | None:
        """Seconds left for the next attempt; None for no bound."""
        return self._attempts.remaining_s

    def take(self, message: generation_pb2.GenerateResponse) -> generation_pb2.GenerateResponse:
        """Takes an attempt's next message; returns it as a part of the one answer."""
        if message.model:
            self._resumable = message.resumable
            if self._begun:
                message.ClearField("request_id")
                message.ClearField("model")
                message.ClearField("resumable")
            else:
                # Whatever "auto" became goes on.
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
        self._collector.add(message)
        return message

    def delay_after(self, error: EnginehouseError, *, closed: bool) -> float:
        """Seconds to wait before the next attempt, after one that failed.

        Args:
            error: how it failed.
            closed: whether the caller has ended the stream.

        Raises:
            IncompleteError: the answer had begun and cannot be continued.
            EnginehouseError: the error itself, where the answer had not begun or its request is at fault.
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
        why = self._obstacle(error)
        if why:
            raise IncompleteError.of(error, received=self.generation, why=why) from error
        delay = self._attempts.delay_before_resuming(error, progressed=self._progressed)
        if delay is None:
            why = "its attempts or its time are used up"
            raise IncompleteError.of(error, received=self.generation, why=why) from error
        self._progressed = False
        self._earlier = _sum(self._earlier, self._current)
        self._current = usage_pb2.Usage()
        self.request.resume.token_ids[:] = self._token_ids
        self.request.resume.receipt = self._receipt
        self.attempt += 1
        return delay

    def _obstacle(self, error: EnginehouseError) -> str:
        """Why the answer cannot be continued after this error; empty where it can."""
        if not self.request.resumable:
            return "resuming is switched off"
        if not self._resumable:
            return "its form or its model is none that can be continued exactly"
        if not self._token_ids or not self._receipt:
            return "nothing to continue from had come"
        if was_cut(error) or (isinstance(error, RateLimited) and error.retry_after_s is not None):
            return ""
        return "the attempt to continue it was refused"


def was_cut(error: EnginehouseError) -> bool:
    """Whether a call was broken off on the way or by its server's end, rather than refused."""
    if isinstance(error, Unavailable) or error.reason == "BACKEND_FAILED":
        return True
    return not error.reason and error.code in _CUT_CODES


def _sum(one: usage_pb2.Usage, other: usage_pb2.Usage) -> usage_pb2.Usage:
    amounts: dict[usage_pb2.Unit.ValueType, int] = {}
    for usage in (one, other):
        for each in usage.units:
            amounts[each.unit] = amounts.get(each.unit, 0) + each.amount
    total = usage_pb2.Usage(cost_nanos=one.cost_nanos + other.cost_nanos)
    for unit, amount in sorted(amounts.items()):
        total.units.add(unit=unit, amount=amount)
    return total
