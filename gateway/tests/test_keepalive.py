"""The gateway's connections with proxies, which ask again and again whether it lives."""

from __future__ import annotations

import socket
import time
from typing import Any

import h2.config
import h2.connection
import h2.events
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryRequest

from enginehouse.gateway.translate.names import TYPE_CLUSTER

# gRPC by default hangs up at the third ping that it takes for abuse.
_PINGS = 5
# Faster than a proxy's five seconds, and slower than what is refused.
_INTERVAL_S = 1.1


class Peer:
    """An HTTP/2 connection with a stream of discovery, as a proxy holds it."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=30)
        self._http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._http.initiate_connection()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"),
            (":authority", address),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
        request = bytes(DiscoveryRequest(type_url=TYPE_CLUSTER, node=Node(id="envoy-of-a-test")))
        self._http.send_headers(1, headers)
        self._http.send_data(1, b"\0" + len(request).to_bytes(4, "big") + request)

    def read_until(self, kind: type[Any]) -> list[Any]:
        """The events up to the first of a kind; fails where the gateway hangs up before."""
        seen: list[Any] = []
        while not any(isinstance(event, kind) for event in seen):
            self._socket.sendall(self._http.data_to_send())
            data = self._socket.recv(65536)
            assert data, f"hung up after {seen}"
            events = self._http.receive_data(data)
            ended = [event for event in events if isinstance(event, h2.events.ConnectionTerminated)]
            assert not ended, f"hung up: {ended}"
            seen += events
        return seen

    def ping(self, number: int) -> None:
        self._http.ping(number.to_bytes(8, "big"))
        self.read_until(h2.events.PingAckReceived)

    def close(self) -> None:
        self._socket.close()


def test_a_proxy_may_ask_whether_the_gateway_lives_while_nothing_changes(edge: Any) -> None:
    peer = Peer(edge.gateway)
    try:
        peer.read_until(h2.events.DataReceived)
        for number in range(_PINGS):
            time.sleep(_INTERVAL_S)
            peer.ping(number)
    finally:
        peer.close()
