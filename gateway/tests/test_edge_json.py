"""The public listener as HTTP clients see it, with Envoy itself."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest

from enginehouse.api.gateway.v1 import registry_pb2, registry_pb2_grpc
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.openai.errors import openai_error

OK = {"authorization": "Bearer ok"}
CHAT = "/v1/chat/completions"


def post(edge: Any, path: str, body: Any, **headers: str) -> httpx.Response:
    return edge.client.post(path, json=body, headers={**OK, **headers})


def saw(answer: httpx.Response) -> dict[str, Any]:
    """Return what the router's stand-in received."""
    return json.loads(answer.headers["ratelimit-test-saw"])


def test_an_admitted_call_carries_the_routers_headers(served: Any) -> None:
    answer = post(served, "/v1/tokenize", {"text": "x"}, **{"x-enginehouse-request-id": "mine-1"})
    assert answer.status_code == 200
    assert answer.headers["x-enginehouse-model"] == "tiny"
    assert answer.headers["x-enginehouse-request-id"] == "mine-1"
    assert answer.headers["ratelimit-remaining"] == "59"
    assert "x-enginehouse-grant" not in answer.headers


def test_the_router_is_asked_with_the_grpc_path_the_framed_body_and_what_it_reads(served: Any) -> None:
    asked = saw(post(served, "/v1/tokenize", {"text": "abc"}))
    assert asked["path"] == "/enginehouse.api.inference.v1.GenerationService/Tokenize"
    assert asked["body"] == 5 + 2 + 3  # The frame's head, the field's tag and length, the text.
    assert not {"user-agent", "x-forwarded-for", "x-envoy-original-path", "x-envoy-original-method"} & asked.keys()
    # With a gRPC content type Envoy would take its own failure to connect for the router's leave.
    assert "content-type" not in asked


def test_reserved_headers_of_clients_never_arrive(served: Any) -> None:
    spoofed = {
        "x-enginehouse-grant": "spoofed",
        "x-gateway-destination-endpoint": "192.0.2.1:1",
        "x-enginehouse-model": "spoofed",
        "x-enginehouse-cost-nanos": "0",
        "x-enginehouse-openai-error": "418;e30",
        "x-envoy-original-path": CHAT,
        "x-envoy-max-retries": "9",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "cookie": "secret",
        "x-api-key": "secret",
    }
    answer = post(served, "/v1/generate", {"prompt": "metadata"}, **spoofed)
    event = json.loads(answer.text.removeprefix("data: "))
    arrived = json.loads(event["deltas"][0]["text"])
    assert arrived["x-enginehouse-grant"] == "v1.test.grant"
    assert arrived["x-envoy-original-path"] == "/v1/generate"
    gone = spoofed.keys() - {"x-enginehouse-grant", "x-envoy-original-path"}
    assert not gone & arrived.keys()
    assert "authorization" not in arrived
    asked = saw(answer)
    assert asked["x-api-key"] == "secret"
    assert not {"x-enginehouse-grant", "x-enginehouse-model", "x-envoy-max-retries"} & asked.keys()


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [("KEY_MISSING", 401, 16), ("BUDGET_EXHAUSTED", 429, 8), ("UNKNOWN_MODEL", 404, 5), ("NO_ENDPOINT", 503, 14)],
)
def test_a_refusal_reaches_json_clients_as_the_router_made_it(served: Any, reason: str, status: int, code: int) -> None:
    answer = post(served, "/v1/tokenize", {"text": "x"}, authorization=f"Bearer deny-{reason}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert (body["code"], body["message"]) == (code, 'refused: 100 % "sure", ü')
    assert body["details"][0]["reason"] == reason
    assert answer.headers["x-enginehouse-request-id"] == "req-refused"


@pytest.mark.parametrize("reason", ["KEY_INVALID", "RATE_LIMITED", "LEDGER_UNAVAILABLE"])
def test_a_refusal_reaches_openai_clients_in_openais_shape(served: Any, reason: str) -> None:
    status, body = openai_error(ServiceError(Reason(reason), 'refused: 100 % "sure", ü'))
    answer = post(served, CHAT, {}, authorization=f"Bearer deny-{reason}")
    assert (answer.status_code, answer.content) == (status, body)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers.get("retry-after") == ("7" if reason == "RATE_LIMITED" else None)


def test_an_engines_own_header_reaches_openai_clients(served: Any) -> None:
    answer = post(served, CHAT, {"mode": "loaded"})
    assert (answer.status_code, answer.headers["x-enginehouse-load-ms"]) == (200, "1250")
    assert "x-enginehouse-load-ms" not in post(served, CHAT, {}, **{"x-enginehouse-load-ms": "1"}).headers


def test_an_engines_openai_error_is_the_answer(served: Any) -> None:
    status, body = openai_error(ServiceError(Reason.CONTEXT_LENGTH_EXCEEDED, 'too long: "ü" {} %20 ' + "x" * 300))
    answer = post(served, CHAT, {"mode": "fail"})
    assert (answer.status_code, answer.content) == (status, body)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-enginehouse-model"] == "tiny"
    assert "x-enginehouse-openai-error" not in answer.headers
    assert "grpc-status" not in answer.headers
    unary = post(served, "/v1/embeddings", {})
    assert (unary.status_code, unary.json()["error"]["code"]) == (429, "engine_busy")


def test_an_engines_typed_error_is_a_status_in_json(served: Any) -> None:
    answer = post(served, "/v1/generate", {"prompt": "fail"})
    assert answer.status_code == 404
    assert answer.json()["details"][0]["reason"] == "UNKNOWN_MODEL"


def test_server_sent_events_pass_one_by_one(served: Any) -> None:
    arrivals = []
    with served.client.stream("POST", CHAT, json={"stream": True}, headers=OK) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        for line in answer.iter_lines():
            if line:
                arrivals.append((line, time.perf_counter()))
    assert [line for line, _ in arrivals] == [*(f'data: {{"n": {n}}}' for n in range(5)), "data: [DONE]"]
    # The engine waits 100 ms after each: collected, they would arrive together.
    assert arrivals[4][1] - arrivals[0][1] > 0.3


def test_typed_streams_are_events_too(served: Any) -> None:
    answer = post(served, "/v1/generate", {"prompt": "stream:3"})
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
    assert [event["deltas"][0]["text"] for event in events] == ["0 ", "1 ", "2 "]


@pytest.mark.parametrize("size", [3_900_000, 4_200_000, 8 << 20])
def test_bodies_over_the_limit_have_a_typed_error(served: Any, size: int) -> None:
    text = "x" * size
    typed = post(served, "/v1/tokenize", {"text": text})
    openai = post(served, CHAT, {"text": text})
    if size < 4 << 20:
        assert (typed.status_code, openai.json()["received"]) == (200, size + 11)
        return
    assert typed.status_code == openai.status_code == 413
    assert typed.json()["details"][0]["reason"] == "REQUEST_TOO_LARGE"
    assert openai.json()["error"]["code"] == "request_too_large"
    assert "4194304 bytes" in openai.json()["error"]["message"]


def test_unknown_paths_and_methods(served: Any) -> None:
    answer = served.client.get("/nope", headers=OK)
    assert answer.status_code == 404
    assert answer.json()["details"][0]["reason"] == "UNKNOWN_METHOD"
    openai = served.client.get(CHAT, headers=OK)
    assert (openai.status_code, openai.json()["error"]["code"]) == (405, "method_not_supported")
    # In the contract, but never for clients.
    for internal in ("Report", "Extend"):
        assert post(served, f"/enginehouse.api.router.v1.UsageService/{internal}", {}).status_code == 404


def test_a_service_without_engines_is_unavailable_not_unknown(served: Any) -> None:
    answer = served.client.get("/v1/models", headers=OK)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_endpoint")
    assert answer.headers["retry-after"] == "1"


def test_a_models_name_may_hold_a_slash(served: Any, wait: Any) -> None:
    router = registry_pb2.Engine(
        engine_id="router",
        cluster="router",
        address="127.0.0.1:9",
        grpc_services=["enginehouse.api.openai.v1.ModelsService"],
    )
    leave = threading.Event()

    def requests() -> Iterator[Any]:
        yield registry_pb2.RegisterRequest(engine=router, load=registry_pb2.Load())
        leave.wait()

    with grpc.insecure_channel(served.gateway) as channel:
        call: Any = registry_pb2_grpc.RegistryServiceStub(channel).Register(requests())
        next(call)
        path = "/v1/models/org%2Fname"
        wait(lambda: "ratelimit-test-saw" in served.client.get(path, headers=OK).headers, "the route is there")
        asked = saw(served.client.get(path, headers=OK))
        leave.set()
        assert list(call) == []
    assert asked["path"] == "/enginehouse.api.openai.v1.ModelsService/GetModel"
    assert asked["body"] == 5 + 2 + len("org/name")


def test_malformed_json_is_a_typed_error(served: Any) -> None:
    answer = served.client.post("/v1/tokenize", content=b'{"text": "\xff', headers=OK)
    assert answer.status_code == 400
    assert answer.json()["details"][0]["reason"] == "INVALID_REQUEST"
    wrong = post(served, "/v1/tokenize", {"text": {"not": "text"}})
    assert wrong.status_code == 400
    assert wrong.json()["message"].startswith("The request could not be read: ")


def test_pages_may_ask_and_call(served: Any) -> None:
    preflight = served.client.options(
        CHAT,
        headers={
            "origin": "https://page.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        },
    )
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://page.example"
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in preflight.headers
    for path, body in ((CHAT, {}), ("/v1/tokenize", {"text": "x"})):
        call = post(served, path, body, origin="https://page.example")
        assert call.status_code == 200
        assert call.headers["access-control-allow-origin"] == "https://page.example"
        assert "x-enginehouse-request-id" in call.headers["access-control-expose-headers"]


def test_answers_have_security_headers_and_no_server(served: Any) -> None:
    for answer in (post(served, CHAT, {}), served.client.get("/nope"), served.client.get("/healthz")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers
        assert not [name for name in answer.headers if name.startswith("x-envoy-")]


def test_the_access_log_is_json_without_secrets(served: Any, wait: Any) -> None:
    answer = served.client.post(
        "/v1/tokenize?key=QUERYSECRET",
        json={"text": "BODYSECRET"},
        headers={**OK, "x-api-key": "HEADERSECRET", "x-enginehouse-request-id": "logged-1"},
    )
    assert answer.status_code == 200
    wait(lambda: [e for e in served.access_log() if e.get("request_id") == "logged-1"], "the log line")
    [entry] = [e for e in served.access_log() if e.get("request_id") == "logged-1"]
    assert (entry["method"], entry["path"], entry["status"]) == ("POST", "/v1/tokenize", 200)
    assert entry["grpc_method"] == "/enginehouse.api.inference.v1.GenerationService/Tokenize"
    assert (entry["model"], entry["cluster"]) == ("tiny", "inference")
    assert "SECRET" not in (served.folder / "access.log").read_text()
    assert "Bearer" not in (served.folder / "access.log").read_text()


def test_health(served: Any) -> None:
    assert served.client.get("/healthz").status_code == 200
    assert httpx.get(f"http://127.0.0.1:{served.http_port}/healthz").status_code == 200
    assert httpx.get(f"http://127.0.0.1:{served.http_port}/readyz").status_code == 200
    assert served.metric("enginehouse_gateway_engines") == 1
    assert served.metric("enginehouse_gateway_proxies") == 1
    assert served.metric("enginehouse_gateway_refusals_total") == 0
