"""A provider of OpenAI's API over real HTTP that answers or misbehaves as its mode says."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any


class ScriptedProvider:
    """A server on a free port of the loopback interface.

    Attributes:
        mode: its next behaviour: "answer"; an HTTP status to refuse with, such as "503"; "cut" the stream after one
            piece, "garbage", or be "silent".
        asked: the number of requests received.
    """

    def __init__(self) -> None:
        self.mode = "answer"
        self.asked = 0
        self.over = threading.Event()
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                provider.asked += 1
                self.close_connection = True
                with contextlib.suppress(ConnectionError):
                    provider.answer(self, provider.mode)

            def log_message(self, format: str, *arguments: Any) -> None:
                """Discard the log message."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop the server and release waiting requests."""
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, to: http.server.BaseHTTPRequestHandler, mode: str) -> None:
        """Answer one request."""
        if mode.isdigit():
            body = json.dumps({"error": {"message": "not now"}}).encode()
            to.send_response(int(mode))
            if mode == "429":
                to.send_header("retry-after", "1")
            to.send_header("content-length", str(len(body)))
            to.end_headers()
            to.wfile.write(body)
            return
        if mode == "silent":
            self.over.wait()
            return
        to.send_response(200)
        to.send_header("content-type", "text/html" if mode == "garbage" else "text/event-stream")
        to.send_header("connection", "close")
        to.end_headers()
        if mode == "garbage":
            to.wfile.write(b"<html>please log in</html>")
            return
        self._event(to, {"choices": [{"index": 0, "delta": {"content": "far "}, "finish_reason": None}]})
        if mode == "cut":
            return
        self._event(to, {"choices": [{"index": 0, "delta": {"content": "away"}, "finish_reason": "stop"}]})
        self._event(to, {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}})
        to.wfile.write(b"data: [DONE]\n\n")

    def _event(self, to: http.server.BaseHTTPRequestHandler, event: dict[str, Any]) -> None:
        to.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        to.wfile.flush()


@contextlib.contextmanager
def scripted_provider() -> Iterator[ScriptedProvider]:
    """A running provider."""
    provider = ScriptedProvider()
    try:
        yield provider
    finally:
        provider.close()
