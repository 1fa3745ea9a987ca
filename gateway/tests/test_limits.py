"""Slow, greedy and malformed clients at the public listener; over TLS, with traces, with Envoy itself."""

from __future__ import annotations

import contextlib
import json
import pathlib
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

OK = {"authorization": "Bearer ok"}


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OpenTelemetry collector that keeps what it gets."""

    def __init__(self) -> None:
        self.spans: list[Any] = []

    def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture(scope="module")
def collector() -> Iterator[tuple[Collector, int]]:
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    servicer = Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, port
    server.stop(grace=None)


@pytest.fixture(scope="module")
def strict(
    tmp_path_factory: pytest.TempPathFactory, started_edge: Any, collector: tuple[Collector, int]
) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("strict")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run(
        [*make, "-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=localhost"],
        check=True,
        capture_output=True,
    )
    limits = {
        "request_headers_timeout_s": 0.5,
        "request_timeout_s": 1,
        "stream_idle_timeout_s": 1.5,
        "max_connections": 40,
        "max_header_kib": 16,
        "max_header_count": 40,
        "tls_certificate_file": str(certificate),
        "tls_key_file": str(key),
    }
    with (
        started_edge(folder, edge=limits, otlp_endpoint=f"127.0.0.1:{collector[1]}") as running,
        running.engine("one"),
    ):
        yield running


def connected(edge: Any) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(socket.create_connection(("127.0.0.1", edge.port), timeout=10))


def answer_to(edge: Any, sent: bytes) -> tuple[bytes, float]:
    """Send, then read until the connection is closed; return what was read and how long that took."""
    began = time.perf_counter()
    with connected(edge) as connection:
        connection.sendall(sent)
        said = b""
        with contextlib.suppress(OSError):
            while piece := connection.recv(65536):
                said += piece
        return said, time.perf_counter() - began


def test_headers_that_never_end_are_cut_off(strict: Any) -> None:
    _, took_s = answer_to(strict, b"POST /v1/tokenize HTTP/1.1\r\nhost: x\r\nx-slow: ")
    assert 0.3 < took_s < 5


def test_a_body_that_never_ends_is_cut_off(strict: Any) -> None:
    head = b"POST /v1/tokenize HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ok\r\ncontent-length: 100\r\n\r\n"
    said, took_s = answer_to(strict, head + b'{"text"')
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"DEADLINE_EXCEEDED" in said
    assert 0.7 < took_s < 6


def test_a_stream_that_stands_still_is_cut_off(strict: Any) -> None:
    answer = strict.client.post("/v1/generate", json={"prompt": "hang"}, headers=OK)
    assert answer.status_code in (408, 504)
    assert answer.json()["details"][0]["domain"] == "enginehouse"


def test_headers_too_large_or_too_many(strict: Any) -> None:
    large = strict.client.get("/nope", headers={"x-large": "x" * 20_000})
    many = strict.client.get("/nope", headers={f"x-{n}": "x" for n in range(60)})
    assert (large.status_code, many.status_code) == (431, 431)


def test_garbage_is_refused(strict: Any) -> None:
    said, _ = answer_to(strict, b"\x16\x03\x01 not http at all\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 400 ")


def test_a_router_that_does_not_answer_admits_nothing(strict: Any) -> None:
    answer = strict.client.post("/v1/tokenize", json={"text": "x"}, headers={"authorization": "Bearer slow"})
    assert answer.status_code in (503, 504, 408)
    assert "token_ids" not in answer.text


def test_connections_over_the_limit_are_refused_and_the_rest_served(strict: Any, wait: Any) -> None:
    held = []
    with strict.client.stream("POST", "/v1/generate", json={"prompt": "stream:30"}, headers=OK) as answer:
        events = answer.iter_lines()
        next(events)
        try:
            held += [socket.create_connection(("127.0.0.1", strict.port), timeout=10) for _ in range(60)]
            wait(lambda: strict.stats("downstream_global_cx_overflow") >= 20, "connections are refused")
            assert len([line for line in events if line]) == 29
        finally:
            for connection in held:
                connection.close()
    wait(lambda: strict.get("/healthz").status_code == 200, "the door is open again")


def test_http2_and_http1_share_the_port(strict: Any) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    chosen = []
    for offered in (["h2", "http/1.1"], ["http/1.1"]):
        context.set_alpn_protocols(offered)
        with context.wrap_socket(socket.create_connection(("127.0.0.1", strict.port), timeout=10)) as connection:
            chosen.append(connection.selected_alpn_protocol())
    assert chosen == ["h2", "http/1.1"]


def test_traces_go_to_the_collector_and_on_to_the_engine(
    strict: Any, collector: tuple[Collector, int], wait: Any
) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    answer = strict.client.post(
        "/v1/generate",
        json={"prompt": "metadata"},
        headers={**OK, "traceparent": f"00-{trace_id}-b7ad6b7169203331-01"},
    )
    arrived = json.loads(json.loads(answer.text.removeprefix("data: "))["deltas"][0]["text"])
    assert arrived["traceparent"].split("-")[1] == trace_id
    assert arrived["traceparent"].split("-")[2] != "b7ad6b7169203331"
    wait(lambda: any(span.trace_id.hex() == trace_id for span in collector[0].spans), "the span arrives")


def test_a_router_that_is_away_admits_nothing(strict: Any, wait: Any, tmp_path: pathlib.Path) -> None:
    from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc

    strict.stop("router", kill=True)
    try:
        typed = strict.client.post("/v1/tokenize", json={"text": "x"}, headers=OK)
        openai = strict.client.post("/v1/chat/completions", json={}, headers=OK)
        assert (typed.status_code, openai.status_code) == (503, 503)
        assert "router did not answer" in typed.json()["message"]
        assert openai.json()["error"]["code"] == "no_endpoint"
        root = (strict.folder / "cert.pem").read_bytes()
        options = [("grpc.ssl_target_name_override", "localhost")]
        credentials = grpc.ssl_channel_credentials(root)
        with grpc.secure_channel(f"localhost:{strict.port}", credentials, options=options) as channel:
            stub = generation_pb2_grpc.GenerationServiceStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                stub.Tokenize(generation_pb2.TokenizeRequest(), metadata=[("authorization", "Bearer ok")], timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "router did not answer" in caught.value.details()
        wait(lambda: strict.client.get("/healthz").status_code == 503, "the public door says so")
        assert "No router answers" in strict.client.get("/healthz").json()["message"]
    finally:
        strict.start_router()
    wait(lambda: strict.tokenize() is not None, "calls are answered again")
    wait(lambda: strict.client.get("/healthz").status_code == 200, "the public door says so")


def test_plain_http_is_refused_where_tls_is_on(strict: Any) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{strict.port}/healthz", timeout=5)
