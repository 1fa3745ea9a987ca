"""A server that speaks the hub's file API: what is where, checksums, redirects to storage, ranges, refusals."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Its files, and what goes wrong."""

    large: dict[str, bytes] = field(default_factory=dict)
    """Files in large storage, by "ORG/REPO/FILE": SHA-256, and a redirect to another host."""
    small: dict[str, bytes] = field(default_factory=dict)
    """Files in git itself."""
    gated: set[str] = field(default_factory=set)
    """Repositories that need the token `hf_good`."""
    corrupt: bool = False
    """Storage gives other bytes than the hub promises."""
    ranges: bool = True
    break_after: list[int] = field(default_factory=list)
    """For each coming transfer, the bytes after which its connection is cut."""
    busy: int = 0
    """The number of transfers that are refused with 503 first."""
    seen: list[tuple[str, str, str | None, str | None]] = field(default_factory=list)
    """Method, path, range and authorization of each request."""
    endpoint: str = ""
    storage: str = ""

    @property
    def transfers(self) -> list[str | None]:
        """The ranges asked of storage."""
        return [ranged for method, path, ranged, _ in self.seen if method == "GET" and path.startswith("/storage/")]


def serve(hub: Hub) -> ThreadingHTTPServer:
    """Start it on a free port; the caller shuts it down."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            hub.seen.append((self.command, self.path, self.headers.get("range"), self.headers.get("authorization")))
            parts = self.path.partition("?")[0].strip("/").split("/")
            if parts[0] == "storage":
                self.storage(parts[1], body)
            elif parts[:2] == ["api", "models"]:
                self.model("/".join(parts[2:4]), *parts[4:6])
            else:
                self.resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]), body)

        def resolve(self, repository: str, revision: str, name: str, body: bool) -> None:
            files = hub.large | hub.small
            key = f"{repository}/{name}"
            if repository in hub.gated and self.headers.get("authorization") != "Bearer hf_good":
                self.refuse(401, "GatedRepo", "Access to this model is restricted")
            elif not any(known.startswith(repository + "/") for known in files):
                self.refuse(404 if self.headers.get("authorization") else 401, "RepoNotFound", "Repository not found")
            elif revision not in ("main", COMMIT):
                self.refuse(404, "RevisionNotFound", "Revision not found")
            elif key not in files:
                self.refuse(404, "EntryNotFound", "Entry not found")
            elif key in hub.large:
                content = hub.large[key]
                digest = hashlib.sha256(content).hexdigest()
                self.send_response(302)
                self.send_header("Location", f"{hub.storage}/storage/{digest}")
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("X-Linked-Size", str(len(content)))
                self.send_header("X-Linked-ETag", f'"{digest}"')
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                content = hub.small[key]
                digest = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
                self.send_response(200)
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("ETag", f'W/"{digest}"')
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if body:
                    self.wfile.write(content)

        def storage(self, digest: str, body: bool) -> None:
            content = next(data for data in hub.large.values() if hashlib.sha256(data).hexdigest() == digest)
            if hub.corrupt:
                content = bytes(byte ^ 1 for byte in content)
            if hub.busy:
                hub.busy -= 1
                self.refuse(503, "Busy", "later")
                return
            start = 0
            ranged = self.headers.get("range")
            if ranged and hub.ranges:
                start = int(ranged.removeprefix("bytes=").rstrip("-"))
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            if hub.break_after:
                self.wfile.write(content[start : start + hub.break_after.pop(0)])
                self.close_connection = True
            elif body:
                self.wfile.write(content[start:])

        def model(self, repository: str, what: str = "", revision: str = "main") -> None:
            files = [key for key in (hub.large | hub.small) if key.startswith(repository + "/")]
            if not files:
                self.refuse(404 if self.headers.get("authorization") else 401, "RepoNotFound", "Repository not found")
                return
            if revision not in ("main", COMMIT):
                self.refuse(404, "RevisionNotFound", "Revision not found")
                return
            siblings = [key.removeprefix(repository + "/") for key in files]
            if what == "tree":
                entries = [{"type": "file", "path": name, "size": 1, "oid": COMMIT} for name in siblings]
                self.json(200, entries)
                return
            self.json(200, {"id": repository, "sha": COMMIT, "siblings": [{"rfilename": name} for name in siblings]})

        def refuse(self, status: int, code: str, message: str) -> None:
            self.json(status, {"error": message}, code)

        def json(self, status: int, value: Any, code: str = "") -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
                self.send_header("X-Error-Message", value["error"])
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    # Another name for the same place, as large files lie with another host.
    hub.storage = f"http://localhost:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server
