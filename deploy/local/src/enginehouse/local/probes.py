"""Readiness probes of processes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

from enginehouse.kit.addresses import Address

Probe = Callable[[int], Awaitable[bool]]
"""Return whether the process with this pid is ready. Never raises, and takes two seconds at most."""

_TIMEOUT_S = 2.0


def http_probe(address: Address, path: str, *, headers: tuple[tuple[str, str], ...] = ()) -> Probe:
    """Return a probe that is ready when a GET is answered with 200."""

    async def probe(pid: int) -> bool:
        return await http_status(address, path, headers=headers) == 200

    return probe


async def http_status(
    address: Address, path: str, *, headers: tuple[tuple[str, str], ...] = (), tls: bool = False
) -> int:
    """Return the HTTP status of a GET; 0 without an answer in time."""
    context = None
    if tls:
        # This machine calls itself by an address that no certificate names.
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
    """Return the address for reaching a server that listens on a wildcard address."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
