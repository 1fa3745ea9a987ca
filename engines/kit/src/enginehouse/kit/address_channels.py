"""Channels to processes by their addresses: the routers that grants name, the engines of a fleet."""

from __future__ import annotations

import grpc

_MAX_CHANNELS = 64


class AddressChannels:
    """The open channels of one purpose, by address.

    Args:
        retries: whether gRPC may send a call again that no process has seen.
    """

    def __init__(self, *, retries: bool) -> None:
        self._options = (
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", int(retries)),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
        )
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def to(self, address: str) -> grpc.aio.Channel:
        """Return the channel to an address, "host:port"; the oldest one is closed where there are too many."""
        channel = self._channels.get(address)
        if channel is None:
            if len(self._channels) >= _MAX_CHANNELS:
                oldest = next(iter(self._channels))
                await self._channels.pop(oldest).close(None)
            channel = self._channels[address] = grpc.aio.insecure_channel(address, options=self._options)
        return channel

    async def close(self) -> None:
        """Close them all."""
        for channel in self._channels.values():
            await channel.close(None)
        self._channels.clear()
