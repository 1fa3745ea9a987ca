"""The ADS server: one stream a proxy, state of the world. It knows resources by type and name, not their meaning."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
from envoy_data_plane.envoy.config.core.v3 import ControlPlane
from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryRequest, DiscoveryResponse
from envoy_data_plane.google.protobuf import Any

from enginehouse.gateway.metrics import AdsMetrics
from enginehouse.gateway.registry import Revision
from enginehouse.gateway.translate.names import TYPE_CLUSTER, TYPE_ENDPOINTS, TYPE_LISTENER, TYPE_ROUTES
from enginehouse.gateway.translate.snapshot import Snapshot

_log = logging.getLogger(__name__)

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"

# A cluster before its endpoints, both before the routes that lead to it.
_ORDER = (TYPE_CLUSTER, TYPE_ENDPOINTS, TYPE_LISTENER, TYPE_ROUTES)
_WILDCARD = frozenset((TYPE_CLUSTER, TYPE_LISTENER))

_Context = grpc.aio.ServicerContext[bytes, bytes]


class SnapshotFeed:
    """The current snapshot, and a way to wait for the next.

    Until it is settled it may know less than a proxy does: after a restart without a state file, live engines have not
    registered again yet.
    """

    def __init__(self) -> None:
        self.revision = Revision()
        self.snapshot: Snapshot | None = None
        self.settled = False

    def publish(self, snapshot: Snapshot) -> bool:
        """Make a snapshot current and return whether it differs from the last one."""
        if self.snapshot is not None and self.snapshot.versions == snapshot.versions:
            return False
        self.snapshot = snapshot
        self.revision.move()
        return True

    def settle(self) -> None:
        """Mark the snapshot as complete: from now on it holds for every proxy."""
        if not self.settled:
            self.settled = True
            self.revision.move()


@dataclass
class _Subscription:
    names: frozenset[str] = frozenset()
    # What the proxy had when it connected; empty for one that starts.
    had_version: str = ""
    sent_version: str | None = None
    sent_names: frozenset[str] = frozenset()
    nonce: str = ""
    answered: bool = True


@dataclass
class Proxy:
    """The state of one proxy, what was sent and what it answered: the protocol's rules, without a stream.

    Attributes:
        node: the proxy's own id.
    """

    node: str = ""
    _subscriptions: dict[str, _Subscription] = field(default_factory=dict)
    _nonces: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def asked(self, request: DiscoveryRequest) -> str | None:
        """Take a subscription, an acknowledgement or a rejection; return the reason of a rejection."""
        if request.node is not None and request.node.id:
            self.node = request.node.id
        kind = request.type_url
        if kind not in _ORDER:
            return None
        subscription = self._subscriptions.get(kind)
        if subscription is None:
            subscription = self._subscriptions[kind] = _Subscription(had_version=request.version_info)
        elif request.response_nonce != subscription.nonce:
            # It answers something older than what is under way; the answer to that will say more.
            return None
        else:
            subscription.answered = True
        subscription.names = frozenset(request.resource_names)
        return request.error_detail.message if request.error_detail is not None else None

    def due(self, snapshot: Snapshot, *, settled: bool) -> list[DiscoveryResponse]:
        """Return the responses to send now, in order."""
        responses = []
        for kind in _ORDER:
            subscription = self._subscriptions.get(kind)
            if subscription is None or not subscription.answered:
                continue
            if not settled and subscription.had_version:
                continue
            version = snapshot.versions[kind]
            unseen = not subscription.names <= subscription.sent_names
            if subscription.sent_version == version and not unseen:
                continue
            if kind == TYPE_ROUTES and subscription.sent_version is not None and not self._has_clusters(snapshot):
                continue
            responses.append(self._response(kind, subscription, snapshot))
        return responses

    def _has_clusters(self, snapshot: Snapshot) -> bool:
        """Return whether every cluster that routes may lead to has arrived, with its endpoints."""
        for kind in (TYPE_CLUSTER, TYPE_ENDPOINTS):
            subscription = self._subscriptions.get(kind)
            if subscription is None or not subscription.answered:
                return False
            if subscription.sent_version != snapshot.versions[kind]:
                return False
        return self._subscriptions[TYPE_ENDPOINTS].names >= snapshot.resources[TYPE_ENDPOINTS].keys()

    def _response(self, kind: str, subscription: _Subscription, snapshot: Snapshot) -> DiscoveryResponse:
        resources = snapshot.resources[kind]
        names = resources.keys() if kind in _WILDCARD else [name for name in resources if name in subscription.names]
        subscription.sent_version = snapshot.versions[kind]
        subscription.sent_names = subscription.names
        subscription.nonce = str(next(self._nonces))
        subscription.answered = False
        return DiscoveryResponse(
            version_info=snapshot.versions[kind],
            type_url=kind,
            nonce=subscription.nonce,
            resources=[Any(type_url=kind, value=resources[name]) for name in names],
            control_plane=ControlPlane(identifier="enginehouse-gateway"),
        )


class AdsServer:
    """Serves snapshots to proxies.

    Args:
        feed: the source of snapshots.
        metrics: counts streams, pushes and refusals.
    """

    def __init__(self, *, feed: SnapshotFeed, metrics: AdsMetrics) -> None:
        self._feed = feed
        self._metrics = metrics

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register the service. Messages pass as bytes, because their classes are not protobuf's own."""
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(self._stream)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"StreamAggregatedResources": handler}),)
        )

    async def _stream(self, requests: AsyncIterator[bytes], context: _Context) -> None:
        proxy = Proxy()
        self._metrics.connected(1)
        reading: asyncio.Future[bytes | None] | None = None
        changing: asyncio.Future[int] | None = None
        seen = self._feed.revision.value
        try:
            while True:
                reading = reading or asyncio.ensure_future(anext(requests, None))
                changing = changing or asyncio.ensure_future(self._feed.revision.after(seen))
                await asyncio.wait((reading, changing), return_when=asyncio.FIRST_COMPLETED)
                if changing.done():
                    changing = None
                if reading.done():
                    raw = reading.result()
                    reading = None
                    if raw is None:
                        return
                    self._take(proxy, DiscoveryRequest.parse(raw))
                # Taken before anything is sent: what changes while a message is written must wake the next wait.
                seen = self._feed.revision.value
                if self._feed.snapshot is not None:
                    for response in proxy.due(self._feed.snapshot, settled=self._feed.settled):
                        self._metrics.pushed(response.type_url)
                        await context.write(bytes(response))
        finally:
            for future in (reading, changing):
                if future is not None:
                    future.cancel()
            self._metrics.connected(-1)
            _log.info("proxy %s disconnected", proxy.node or "unknown")

    def _take(self, proxy: Proxy, request: DiscoveryRequest) -> None:
        known = proxy.node
        refusal = proxy.asked(request)
        if proxy.node != known:
            _log.info("proxy %s connected", proxy.node)
        if refusal is not None:
            self._metrics.refused(request.type_url)
            _log.error("proxy %s refused %s: %s", proxy.node, request.type_url.rpartition(".")[2], refusal)
