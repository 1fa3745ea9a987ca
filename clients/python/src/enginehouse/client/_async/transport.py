"""Calls over the channel of one client: their headers, deadlines and retries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import grpc

from enginehouse.client._connection import Metadata, Target, call_metadata, new_request_id
from enginehouse.client.errors import from_rpc_error
from enginehouse.client.retries import Attempts, RetryPolicy

Response = TypeVar("Response")


class AsyncTransport:
    """The channel of one client, and the settings of its calls.

    Args:
        target: the mesh.
        api_key: the key that the calls are made with.
        context: the headers for the end user, the run and the cost limit.
        timeout_s: seconds for a call with all its retries, unless a call has a timeout of its own; None for no bound.
        retries: the number of retries and the waits between them.
    """

    def __init__(
        self, *, target: Target, api_key: str, context: Metadata, timeout_s: float | None, retries: RetryPolicy
    ) -> None:
        self.channel = target.aio_channel()
        self.retries = retries
        self._api_key = api_key
        self._context = context
        self._timeout_s = timeout_s

    def metadata(self, request_id: str, *, attempt: int = 1) -> Metadata:
        """Return the headers of one attempt."""
        return call_metadata(self._api_key, request_id, attempt=attempt) + self._context

    def attempts(self, timeout_s: float | None) -> Attempts:
        """Return the attempts at a call that starts now; a timeout of None takes the client's."""
        return Attempts(self.retries, timeout_s=self._timeout_s if timeout_s is None else timeout_s)

    async def unary(
        self,
        method: Callable[..., Awaitable[Response]],
        request: Any,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
        metadata: Metadata = (),
    ) -> Response:
        """Call a method with one request and one response, with retries.

        Args:
            method: a stub's method.
            request: its request.
            timeout_s: seconds for all attempts; None takes the client's.
            request_id: the id to send it under; None makes one.
            metadata: further headers.

        Raises:
            EnginehouseError: the call failed.
        """
        request_id = request_id or new_request_id()
        attempts = self.attempts(timeout_s)
        headers = self.metadata(request_id) + metadata
        while True:
            try:
                return await method(request, metadata=headers, timeout=attempts.remaining_s)
            except grpc.RpcError as raised:
                error = from_rpc_error(raised, request_id=request_id)
                delay = attempts.delay_before_next(error)
                if delay is None:
                    raise error from raised
            await asyncio.sleep(delay)

    async def pages(
        self, method: Callable[..., Awaitable[Response]], request: Any, *, timeout_s: float | None = None
    ) -> AsyncIterator[Response]:
        """Yield the responses of a method that lists page by page; `timeout_s` is for each. Raise EnginehouseError."""
        while True:
            page: Any = await self.unary(method, request, timeout_s=timeout_s)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def close(self) -> None:
        """Close the channel. Calls that still run are cancelled."""
        await self.channel.close()
