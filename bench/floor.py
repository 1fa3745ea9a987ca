"""`python -m bench.floor PORT`: serve a gRPC handler that answers one message and does nothing else.

On grpc.aio and uvloop, as an engine's are, without the engine's server around it.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import grpc

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.kit.server import run


async def _generate(
    request: generation_pb2.GenerateRequest, context: object
) -> AsyncIterator[generation_pb2.GenerateResponse]:
    yield generation_pb2.GenerateResponse(
        request_id="floor",
        model=request.model,
        deltas=[generation_pb2.ChoiceDelta(text=" w00")],
        summary=generation_pb2.GenerationSummary(),
    )


async def _serve(port: int) -> None:
    server = grpc.aio.server()
    handler = grpc.unary_stream_rpc_method_handler(
        _generate,
        request_deserializer=generation_pb2.GenerateRequest.FromString,
        response_serializer=generation_pb2.GenerateResponse.SerializeToString,
    )
    service = "enginehouse.api.inference.v1.GenerationService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Generate": handler}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    run(_serve(int(sys.argv[1])))
