"""Ports that tests hold for servers in other processes."""

from __future__ import annotations

import asyncio
import socket

import grpc
import pytest

from enginehouse.kit.testing import ReservedPort


def test_nobody_is_given_it_and_connections_are_refused() -> None:
    with ReservedPort() as port:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port.number))
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port.number))
    with socket.socket() as other:
        other.bind(("127.0.0.1", port.number))


async def test_servers_can_listen_on_it_one_after_another() -> None:
    with ReservedPort() as port:
        for _ in range(2):
            server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
            assert server.add_insecure_port(port.address) == port.number
            await server.start()
            await server.stop(None)
        listening = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", port.number)
        socket.create_connection(("127.0.0.1", port.number)).close()
        listening.close()
        await listening.wait_closed()
