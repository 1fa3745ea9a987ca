"""Streams whose last message is known: it goes out with the status, and nothing else changes for the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, cast

import grpc
import pytest

from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from enginehouse.kit.current_call import current_call
from enginehouse.kit.errors import Reason, ServiceError, from_rpc_error
from enginehouse.kit.last_message import ends_with


class Ending(generation_pb2_grpc.GenerationServiceServicer):
    """Does what the prompt says."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    @ends_with(lambda response: response.HasField("summary"))
    async def Generate(self, request: Any, context: Any) -> AsyncIterator[generation_pb2.GenerateResponse]:
        call = current_call.get()
        assert call is not None
        call.lead("x-leading", "told")
        try:
            if "alone" not in request.prompt:
                yield generation_pb2.GenerateResponse(model="first")
            if "wait" in request.prompt:
                await asyncio.Event().wait()
            if "unended" not in request.prompt:
                yield generation_pb2.GenerateResponse(summary=generation_pb2.GenerationSummary(total_ms=7))
            if "fail" in request.prompt:
                raise ServiceError(Reason.BACKEND_FAILED, "it broke")
        finally:
            context.set_trailing_metadata((("x-trailing", "told"),))
            self.closed.set()


@pytest.fixture
async def ending(serve: Any) -> AsyncIterator[tuple[Ending, Any]]:
    servicer = cast("Any", Ending)()
    _, address = await serve(partial(generation_pb2_grpc.add_GenerationServiceServicer_to_server, servicer))
    async with grpc.aio.insecure_channel(str(address)) as channel:
        stub: Any = generation_pb2_grpc.GenerationServiceStub(channel)
        yield servicer, lambda prompt: stub.Generate(generation_pb2.GenerateRequest(prompt=prompt))


@pytest.mark.parametrize(("prompt", "models"), [("", ["first", ""]), ("alone", [""])])
async def test_all_messages_and_metadata_arrive(ending: tuple[Ending, Any], prompt: str, models: list[str]) -> None:
    call = ending[1](prompt)
    messages = [message async for message in call]
    assert [message.model for message in messages] == models
    assert messages[-1].summary.total_ms == 7
    assert dict(await call.initial_metadata())["x-leading"] == "told"
    # Set after the last message was made.
    assert dict(await call.trailing_metadata())["x-trailing"] == "told"
    assert await call.code() is grpc.StatusCode.OK


async def test_the_last_message_comes_before_a_failure_that_follows_it(ending: tuple[Ending, Any]) -> None:
    messages = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for message in ending[1]("fail"):
            messages.append(message)
    error = from_rpc_error(caught.value)
    assert error is not None
    assert error.reason is Reason.BACKEND_FAILED
    assert [message.HasField("summary") for message in messages] == [False, True]


async def test_a_stream_without_its_last_message_has_failed(ending: tuple[Ending, Any]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        _ = [message async for message in ending[1]("unended")]
    error = from_rpc_error(caught.value)
    assert error is not None
    assert error.reason is Reason.INTERNAL


async def test_a_client_that_leaves_closes_the_handler(ending: tuple[Ending, Any]) -> None:
    call = ending[1]("wait")
    assert (await call.read()).model == "first"
    assert not ending[0].closed.is_set()
    call.cancel()
    async with asyncio.timeout(10):
        await ending[0].closed.wait()
