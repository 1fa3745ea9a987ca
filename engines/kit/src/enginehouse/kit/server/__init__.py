"""The server of an engine, its lease at the registry, and streams that send what has accumulated."""

from __future__ import annotations

from enginehouse.kit.server._server import MAX_MESSAGE_BYTES, AddServicer, EngineServer, run

__all__ = ["MAX_MESSAGE_BYTES", "AddServicer", "EngineServer", "run"]
