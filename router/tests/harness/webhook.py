"""A real HTTP server that receives alerts."""

from __future__ import annotations

import hashlib
import hmac
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Webhook:
    """A receiver that refuses the first `refusing` deliveries and keeps them all."""

    SECRET = b"0123456789abcdef-secret"

    def __init__(self) -> None:
        self.refusing = 0
        self.received: list[tuple[dict[str, str], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
                refuse = len(outer.received) <= outer.refusing
                self.send_response(500 if refuse else 204)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def signed(self, headers: dict[str, str], body: bytes) -> bool:
        """Return whether the signature was made with the secret."""
        moment, mac = (part.partition("=")[2] for part in headers["x-enginehouse-signature"].split(","))
        return mac == hmac.new(self.SECRET, f"{moment}.".encode() + body, hashlib.sha256).hexdigest()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
