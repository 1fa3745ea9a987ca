"""Headers of every answer of the public listener, and Envoy's own answers in their client's form."""

from __future__ import annotations

import gzip
import json
import socket
import zlib
from typing import Any

import httpx
import openai
import pytest

OK = {"authorization": "Bearer ok"}
CHAT = "/v1/chat/completions"
EMBED = "/enginehouse.api.inference.v1.GenerationService/Tokenize"


def told(answer: httpx.Response) -> dict[str, Any]:
    """Return OpenAI's error, with all of its members."""
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert answer.headers["content-type"] == "application/json"
    return error


@pytest.mark.parametrize(
    ("verb", "path", "status", "code", "words"),
    [
        ("POST", "/v1/nothing", 404, "unknown_url", "POST /v1/nothing"),
        ("GET", "/v1/chat/completions/chatcmpl-1", 404, "unknown_url", "/v1/chat/completions/chatcmpl-1"),
        ("POST", "/v1/images/generations?x=1", 404, "unknown_url", "POST /v1/images/generations"),
        ("GET", "/v1", 404, "unknown_url", "GET /v1"),
        ("POST", "/v1/v1/chat/completions", 404, "unknown_url", "/v1/v1/chat/completions"),
        ("POST", "/v1/responses", 404, "unknown_url", "/v1/chat/completions"),
        ("GET", "/v1/responses/resp_1/input_items", 404, "unknown_url", "/v1/chat/completions"),
        ("POST", "/responses", 404, "unknown_url", "/v1/chat/completions"),
        ("POST", "/chat/completions", 404, "unknown_url", "base URL"),
        ("GET", "/models/tiny", 404, "unknown_url", "base URL"),
        ("GET", CHAT, 405, "method_not_supported", "takes POST"),
        ("DELETE", "/v1/models/org%2Fname", 405, "method_not_supported", "takes GET"),
        ("PUT", "/v1/audio/speech", 405, "method_not_supported", "takes POST"),
    ],
)
def test_what_is_not_here_is_told_in_openais_form(
    served: Any, verb: str, path: str, status: int, code: str, words: str
) -> None:
    answer = served.client.request(verb, path, headers=OK, json={} if verb == "POST" else None)
    error = told(answer)
    assert (answer.status_code, error["code"], error["type"]) == (status, code, "invalid_request_error")
    assert words in error["message"]


def test_openais_client_shows_what_to_use_instead(served: Any) -> None:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="ok", max_retries=0) as client:
        with pytest.raises(openai.NotFoundError, match="Responses API .* use the Chat Completions") as caught:
            client.responses.create(model="tiny", input="hi")
        assert caught.value.request_id


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/v1/messages/batches/1", "/messages"])
def test_anthropics_clients_are_told_in_their_form(served: Any, path: str) -> None:
    answer = served.client.post(path, json={}, headers={"x-api-key": "ok"})
    body = answer.json()
    assert (answer.status_code, body["type"], body["error"]["type"]) == (404, "error", "not_found_error")
    assert "/v1/chat/completions" in body["error"]["message"]
    assert body["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("verb", "path", "status"),
    [
        ("GET", "/v1/tokenize", 405),
        ("PATCH", "/v1/admin/keys", 405),
        ("GET", "/v1/admin/nothing", 404),
        ("GET", "/x", 404),
    ],
)
def test_our_own_paths_keep_our_form(served: Any, verb: str, path: str, status: int) -> None:
    answer = served.client.request(verb, path, headers=OK)
    assert answer.status_code == status
    assert answer.json()["details"][0]["reason"] == "UNKNOWN_METHOD"


def test_known_paths_say_what_they_take(served: Any) -> None:
    for verb, status in (("OPTIONS", 204), ("HEAD", 405), ("DELETE", 405)):
        answer = served.client.request(verb, "/v1/models", headers=OK)
        assert (answer.status_code, answer.headers["allow"]) == (status, "GET, OPTIONS")
    assert served.client.options("/v1/nothing", headers=OK).status_code == 404


@pytest.mark.parametrize(
    ("verb", "path", "body"),
    [
        ("POST", "/v1/tokenize", {"text": "x"}),
        ("POST", "/v1/generate", {"prompt": "stream:2"}),
        ("POST", "/v1/generate", {"prompt": "fail"}),
        ("POST", CHAT, {}),
        ("POST", CHAT, {"stream": True}),
        ("POST", CHAT, {"mode": "fail"}),
        ("POST", "/v1/embeddings", {}),
        ("GET", CHAT, None),
        ("GET", "/nope", None),
        ("GET", "/healthz", None),
        ("OPTIONS", CHAT, None),
        ("POST", "/v1/responses", {}),
        ("GET", "/v1/models", None),
        ("POST", CHAT, {"text": "x" * (5 << 20)}),
    ],
)
@pytest.mark.parametrize("key", ["ok", "deny-KEY_INVALID"])
def test_every_answer_has_the_requests_id_twice(served: Any, verb: str, path: str, body: Any, key: str) -> None:
    answer = served.client.request(verb, path, json=body, headers={"authorization": f"Bearer {key}"})
    assert answer.headers["x-request-id"]
    assert answer.headers.get_list("x-request-id") == answer.headers.get_list("x-enginehouse-request-id")


def test_an_id_of_the_callers_own_is_kept(served: Any) -> None:
    for path in ("/v1/tokenize", "/v1/nothing"):
        answer = served.client.post(path, json={"text": "x"}, headers={**OK, "x-enginehouse-request-id": "mine-7"})
        assert answer.headers["x-request-id"] == "mine-7"


def test_grpc_web_answers_have_the_id_and_pages_may_read_it(served: Any) -> None:
    headers = {**OK, "content-type": "application/grpc-web+proto", "origin": "https://page.example"}
    answer = served.client.post(EMBED, content=b"\0\0\0\0\0", headers=headers)
    assert answer.headers["x-request-id"] == answer.headers["x-enginehouse-request-id"]
    assert {"x-request-id", "x-enginehouse-request-id"} <= set(
        answer.headers["access-control-expose-headers"].split(", ")
    )


def test_what_cannot_be_read_at_all_has_an_id(served: Any) -> None:
    answer = spoken(served, b"NO HTTP\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nx-request-id: " in answer


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/tokenize", {"text": "x"}),
        ("/v1/generate", {"prompt": "stream:1"}),
        ("/v1/generate", {"prompt": "fail"}),
        (CHAT, {}),
        (CHAT, {"stream": True}),
        (CHAT, {"mode": "fail"}),
        ("/v1/embeddings", {}),
        ("/v1/nothing", {}),
    ],
)
@pytest.mark.parametrize("key", ["ok", "deny-BUDGET_EXHAUSTED"])
def test_answers_over_http_have_no_headers_of_grpc(served: Any, path: str, body: Any, key: str) -> None:
    answer = served.client.post(path, json=body, headers={"authorization": f"Bearer {key}"})
    assert not [name for name in answer.headers if name.startswith("grpc-")]


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(b'{"text": "x"}')),
        ("gzip", gzip.compress(b"0" * (100 << 20))),
        ("gzip", b"junk"),
        ("deflate", zlib.compress(b"{}")),
        ("br", b"\x03\x00{}\x03"),
        ("zstd", b"junk"),
        ("gzip, gzip", b"junk"),
    ],
)
def test_compressed_bodies_are_refused_by_name(served: Any, encoding: str, body: bytes) -> None:
    headers = {**OK, "content-encoding": encoding, "content-type": "application/json"}
    openai_form = served.client.post(CHAT, content=body, headers=headers)
    assert openai_form.status_code == 415
    error = told(openai_form)
    assert (error["type"], error["code"]) == ("invalid_request_error", "unsupported_content_encoding")
    assert "without compression" in error["message"]
    ours = served.client.post("/v1/tokenize", content=body, headers=headers)
    assert (ours.status_code, ours.json()["details"][0]["reason"]) == (415, "INVALID_REQUEST")


def test_identity_is_no_compression(served: Any) -> None:
    for encoding in ("identity", "Identity", ""):
        answer = served.client.post("/v1/tokenize", json={"text": "x"}, headers={**OK, "content-encoding": encoding})
        assert answer.status_code == 200


def spoken(edge: Any, request: bytes) -> bytes:
    """Send bytes; return all that comes back until the other side closes."""
    answer = b""
    with socket.create_connection(("127.0.0.1", edge.port), timeout=20) as connection:
        connection.sendall(request)
        while data := connection.recv(1 << 16):
            answer += data
    return answer


@pytest.mark.parametrize("stream", [False, True])
def test_clients_of_http_1_0_are_served(served: Any, stream: bool) -> None:
    body = json.dumps({"stream": stream}).encode()
    head = b"POST /v1/chat/completions HTTP/1.0\r\nauthorization: Bearer ok\r\ncontent-type: application/json\r\n"
    answer = spoken(served, head + b"content-length: %d\r\n\r\n" % len(body) + body)
    status, _, rest = answer.partition(b"\r\n")
    headers, _, content = rest.partition(b"\r\n\r\n")
    assert b" 200 " in status
    # Its end is the connection's: HTTP/1.0 has no chunks.
    assert b"transfer-encoding" not in headers.lower()
    assert content.endswith(b"data: [DONE]\n\n") if stream else json.loads(content)["object"] == "chat.completion"


def test_unknown_paths_over_http_1_0(served: Any) -> None:
    answer = spoken(served, b"GET /v1/nothing HTTP/1.0\r\n\r\n")
    assert b" 404 " in answer.split(b"\r\n")[0]
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "unknown_url"
