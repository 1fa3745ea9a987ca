"""Raw calls of the conformance suite: how a call ended is told, whatever was being sent at that moment."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from enginehouse.kit.conformance._calls import RunningCall


class Refuser:
    """A server in threads of its own that refuses every call without reading it, once it may."""

    def __init__(self) -> None:
        self.called, self.may_refuse, self.refused = threading.Event(), threading.Event(), threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(max_workers=2))
        handler = grpc.stream_stream_rpc_method_handler(self._refuse)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", {"C": handler}),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def _refuse(self, messages: Any, context: Any) -> Iterator[bytes]:
        context.add_callback(self.refused.set)
        self.called.set()
        assert self.may_refuse.wait(30)
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "not with this grant")
        yield b""

    def stop(self) -> None:
        self._server.stop(None).wait()


class LateMessages(list[bytes]):
    """Messages that are ready only once the call has been refused, while its client could not notice."""

    def __init__(self, refuser: Refuser) -> None:
        super().__init__([b"one", b"two"])
        self._refuser = refuser

    def __iter__(self) -> Iterator[bytes]:
        self._refuser.may_refuse.set()
        assert self._refuser.refused.wait(30)
        # The client's event loop stands still until its gRPC has read the refusal.
        time.sleep(0.2)
        return super().__iter__()


@pytest.fixture
def refuser() -> Iterator[Refuser]:
    running = Refuser()
    yield running
    running.stop()


async def test_a_refusal_is_told_that_comes_while_a_message_is_sent(refuser: Refuser) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{refuser.port}") as channel:
        messages = LateMessages(refuser)
        call = RunningCall(channel, "/a.B/C", messages, metadata=(), timeout_s=30)
        assert await asyncio.to_thread(refuser.called.wait, 30)
        await call.send()
        end = await call.end()
    assert end.code is grpc.StatusCode.PERMISSION_DENIED
    assert end.message == "not with this grant"
