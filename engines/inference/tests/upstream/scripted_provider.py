"""A provider over real HTTP, whose every answer a test writes down byte by byte."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from enginehouse.kit.catalog import CatalogModel

PAUSE = "pause"
"""In an answer: wait until the client is gone or the test sets `Provider.go_on`."""


@dataclass
class Asked:
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Provider:
    answers: list[list[bytes | str]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await reader.readexactly(int(headers["content-length"]))
            self.asked.append(Asked(head[0].split()[1], headers, json.loads(body)))
            for part in self.answers.pop(0):
                if part == PAUSE:
                    waits = [asyncio.ensure_future(wait) for wait in (reader.read(1), self.go_on.wait())]
                    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                    for wait in waits:
                        wait.cancel()
                    if waits[0].done():
                        self.gone.set()
                        return
                else:
                    assert isinstance(part, bytes)
                    writer.write(part)
                    await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.gone.set()
        finally:
            writer.close()


def answer(status: int, body: Any = None, **headers: str) -> list[bytes | str]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ["\r\n".join([*lines, "connection: close", "", ""]).encode() + content]


def stream(*parts: bytes | str | dict[str, Any]) -> list[bytes | str]:
    """A stream that ends with the connection; a dict is one event."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    events = [f"data: {json.dumps(part)}\n\n".encode() if isinstance(part, dict) else part for part in parts]
    return [head, *events]


def chunk(text: str | None = None, *, index: int = 0, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    if text is not None:
        delta["content"] = text
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


def usage(prompt: int, completion: int, cached: int = 0) -> dict[str, Any]:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {"choices": [], "usage": counts | {"prompt_tokens_details": {"cached_tokens": cached}}}


def catalog_model(source: str, **options: Any) -> CatalogModel:
    return CatalogModel(
        name="far",
        cluster="inference",
        backend="upstream",
        source=source,
        context_tokens=8192,
        max_output_tokens=256,
        capabilities=frozenset({"chat", "completion", "tools", "embeddings"}),
        quality=0.9,
        prices={},
        options={"key_variable": "FAR_KEY"} | options,
    )
