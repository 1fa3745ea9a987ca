"""A small decision door for the gateway's tests: it admits or refuses as the key says, in the router's shapes.

Run as `python router_process.py PORT`. Keys: `ok` admits; `deny-REASON` refuses with that error; `slow` never answers.
What the request's headers `x-enginehouse-test-endpoints` name becomes the order of endpoints.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from typing import Any

import uvicorn
from google.protobuf import json_format

from enginehouse.kit.errors import Reason, ServiceError, to_status
from enginehouse.kit.openai.errors import openai_error


def decide(headers: dict[str, str], path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    key = headers.get("authorization", "").removeprefix("Bearer ")
    if key == "ok":
        answer = {
            "x-enginehouse-grant": "v1.test.grant",
            "x-enginehouse-request-id": headers.get("x-enginehouse-request-id", "req-made-by-router"),
            "x-enginehouse-model": "tiny",
            "ratelimit-limit": "60",
            "ratelimit-remaining": "59",
            # What of the request arrived here, for the tests to see.
            "ratelimit-test-saw": json.dumps({"path": path, "body": len(body), **headers}),
        }
        if "x-enginehouse-test-endpoints" in headers:
            answer["x-gateway-destination-endpoint"] = headers["x-enginehouse-test-endpoints"]
        return 200, answer, b""
    name = key.removeprefix("deny-") if key.startswith("deny-") else "KEY_MISSING"
    message = 'refused: 100 % "sure", ü'
    error = ServiceError(Reason(name), message, retry_after_s=7 if name == "RATE_LIMITED" else None)
    status = to_status(error)
    encoded = "".join(chr(b) if 0x20 <= b <= 0x7E and b != 0x25 else f"%{b:02X}" for b in message.encode())
    refusal = {
        "content-type": "application/json",
        "grpc-status": str(status.code),
        "grpc-message": encoded,
        "grpc-status-details-bin": base64.b64encode(status.SerializeToString()).decode().rstrip("="),
        "x-enginehouse-request-id": "req-refused",
    }
    if name == "RATE_LIMITED":
        refusal |= {"retry-after": "7", "ratelimit-reset": "7"}
    if path.startswith("/enginehouse.api.openai."):
        payload = openai_error(error)[1]
    else:
        payload = json.dumps(json_format.MessageToDict(status, preserving_proto_field_name=True)).encode()
    # As the router does: Envoy would take a 5xx for no answer.
    return error.http_status if error.http_status < 500 else 403, refusal, payload


async def app(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers = {key.decode(): value.decode("latin-1") for key, value in scope["headers"]}
    if headers.get("authorization") == "Bearer slow":
        await asyncio.sleep(3600)
    status, answer, payload = decide(headers, scope["path"], body)
    pairs = [(key.encode(), value.encode("latin-1")) for key, value in answer.items()]
    pairs.append((b"content-length", str(len(payload)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": payload})


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), lifespan="off", log_level="warning", access_log=False)
