"""Raw calls: bytes out, bytes in, and everything that the end of a call tells."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from enginehouse.kit.errors import STATUS_DETAILS_KEY

CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)

_BETWEEN_MESSAGES_S = 0.03


@dataclasses.dataclass(frozen=True, slots=True)
class CallEnd:
    """The end of a call: its status, its metadata, and the messages that came.

    Attributes:
        code: the gRPC status code.
        message: the status's message.
        messages: the messages that came, serialised.
        leading: the initial metadata.
        trailing: the trailing metadata.
    """

    code: grpc.StatusCode
    message: str
    messages: Sequence[bytes]
    leading: Mapping[str, str]
    trailing: Mapping[str, str | bytes]

    @property
    def ok(self) -> bool:
        """True if the call was answered."""
        return self.code is grpc.StatusCode.OK

    @property
    def status(self) -> status_pb2.Status | None:
        """The `google.rpc.Status` in the trailers, or None."""
        value = self.trailing.get(STATUS_DETAILS_KEY)
        if not isinstance(value, bytes):
            return None
        try:
            return status_pb2.Status.FromString(value)
        except DecodeError:
            return None

    @property
    def error_infos(self) -> list[error_details_pb2.ErrorInfo]:
        """Every ErrorInfo among the status's details."""
        return self._details(error_details_pb2.ErrorInfo)

    @property
    def bad_requests(self) -> list[error_details_pb2.BadRequest]:
        """Every BadRequest among the status's details."""
        return self._details(error_details_pb2.BadRequest)

    @property
    def retry_infos(self) -> list[error_details_pb2.RetryInfo]:
        """Every RetryInfo among the status's details."""
        return self._details(error_details_pb2.RetryInfo)

    @property
    def reason(self) -> str:
        """The reason of the only ErrorInfo; empty where there is none or more than one."""
        infos = self.error_infos
        return infos[0].reason if len(infos) == 1 else ""

    def _details(self, kind: Any) -> list[Any]:
        status = self.status
        found = [] if status is None else [detail for detail in status.details if detail.Is(kind.DESCRIPTOR)]
        return [kind.FromString(detail.value) for detail in found]

    def __str__(self) -> str:
        if self.ok:
            return f"OK after {len(self.messages)} messages"
        told = f" {self.reason}" if self.reason else " without a reason"
        return f"{self.code.name}{told}: {' '.join(self.message.split())[:200]}"


class RunningCall:
    """A call that was begun. Whether it is called with one message or several is the same on the wire.

    Args:
        channel: leads to the engine.
        path: "/package.Service/Method".
        messages: the request's messages.
        metadata: the headers.
        timeout_s: the call's deadline.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        path: str,
        messages: Sequence[bytes],
        *,
        metadata: Sequence[tuple[str, str]],
        timeout_s: float,
    ) -> None:
        self._unsent: Sequence[bytes] = messages if len(messages) != 1 else ()
        method: Any = channel.stream_stream(path) if self._unsent else channel.unary_stream(path)
        request = () if self._unsent else messages
        self._call: Any = method(*request, metadata=tuple(metadata), timeout=timeout_s)
        self._messages: list[bytes] = []

    async def send(self) -> None:
        """Send the messages and the end of the request, or as much of it as the engine waits for. A single message is
        on its way already, in one step with the headers."""
        with contextlib.suppress(grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError):
            if self._unsent:
                await self._call.wait_for_connection()
            for number, message in enumerate(self._unsent):
                if number:
                    await asyncio.sleep(_BETWEEN_MESSAGES_S)
                if self._call.done():
                    return
                # `write` hides the status of a call that has just ended behind an internal error of its own. This is
                # the same without that: the error is ours, and the status still comes.
                await self._call._cython_call.send_serialized_message(message)
            if self._unsent:
                await self._call.done_writing()

    async def read(self) -> bytes | None:
        """The next message; None at the call's end, whatever its status."""
        try:
            message = await self._call.read()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return None
        if message is grpc.aio.EOF:
            return None
        self._messages.append(message)
        return bytes(message)

    def cancel(self) -> None:
        """Cancel the call."""
        self._call.cancel()

    async def end(self) -> CallEnd:
        """Read whatever comes, and return how the call ended."""
        while await self.read() is not None:
            pass
        code = await self._call.code()
        message = await self._call.details()
        leading = await self._call.initial_metadata()
        trailing = await self._call.trailing_metadata()
        return CallEnd(
            code=code,
            message=message or "",
            messages=tuple(self._messages),
            leading={key: value for key, value in leading or () if isinstance(value, str)},
            trailing=dict(trailing or ()),
        )


async def call(
    channel: grpc.aio.Channel,
    path: str,
    messages: Sequence[bytes],
    *,
    metadata: Sequence[tuple[str, str]] = (),
    timeout_s: float,
) -> CallEnd:
    """Make a call and return how it ended."""
    running = RunningCall(channel, path, messages, metadata=metadata, timeout_s=timeout_s)
    try:
        await running.send()
        return await running.end()
    finally:
        running.cancel()
