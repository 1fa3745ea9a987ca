"""Asking a process whether it is ready."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

from enginehouse.kit.addresses import Address

Probe = Callable[[int], Awaitable[bool]]
"""Answers whether the process with this pid serves now; never raises, and takes a second or two at most."""

_TIMEOUT_S = 2.0


def http_probe(address: Address, path: str, *, headers: tuple[tuple[str, str], ...] = ()) -> Probe:
    """Ready when a GET is answered with 200."""

    async def probe(pid: int) -> bool:
        return await http_status(address, path, headers=headers) == 200

    return probe


async def http_status(
    address: Address, path: str, *, headers: tuple[tuple[str, str], ...] = (), tls: bool = False
) -> int:
    """The status that a GET is answered with; 0 where nothing answers in time."""
    context = None
    if tls:
        # This machine asks itself under an address that no certificate names.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(_reachable(address.host), address.port, ssl=context)
            try:
                lines = [f"GET {path} HTTP/1.1", f"host: {address}", "connection: close"]
                lines += [f"{name}: {value}" for name, value in headers]
                writer.write("\r\n".join([*lines, "", ""]).encode("ascii"))
                parts = (await reader.readline()).split()
                return int(parts[1]) if len(parts) > 1 and parts[0].startswith(b"HTTP/") else 0
            finally:
                writer.close()
    except (OSError, ValueError, TimeoutError):
        return 0


def _reachable(host: str) -> str:
    """Where a server that listens on a wildcard address is reached from this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
