"""The discovery protocol's rules, without a stream."""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryRequest, DiscoveryResponse
from envoy_data_plane.google.rpc import Status

from enginehouse.gateway.ads import Proxy, SnapshotFeed
from enginehouse.gateway.translate.names import TYPE_CLUSTER, TYPE_ENDPOINTS, TYPE_LISTENER, TYPE_ROUTES
from enginehouse.gateway.translate.snapshot import Snapshot


def snapshot(clusters: str = "a", endpoints: str = "1", routes: str = "r") -> Snapshot:
    """A snapshot whose versions are its content; a letter is a cluster."""
    return Snapshot(
        resources={
            TYPE_CLUSTER: {name: name.encode() for name in clusters},
            TYPE_ENDPOINTS: {name: endpoints.encode() for name in clusters},
            TYPE_LISTENER: {"public": b"l"},
            TYPE_ROUTES: {"public": routes.encode()},
        },
        versions={
            TYPE_CLUSTER: clusters,
            TYPE_ENDPOINTS: f"{clusters}-{endpoints}",
            TYPE_LISTENER: "l",
            TYPE_ROUTES: routes,
        },
    )


def ask(proxy: Proxy, kind: str, *names: str, nonce: str = "", had: str = "", error: str = "") -> str | None:
    return proxy.asked(
        DiscoveryRequest(
            type_url=kind,
            resource_names=list(names),
            response_nonce=nonce,
            version_info=had,
            node=Node(id="envoy-7"),
            error_detail=Status(code=13, message=error) if error else None,
        )
    )


def sent(responses: list[DiscoveryResponse]) -> list[tuple[str, str]]:
    return [(response.type_url, response.version_info) for response in responses]


def subscribed(state: Snapshot) -> Proxy:
    """A proxy that has everything of a snapshot and has acknowledged it."""
    proxy = Proxy()
    for kind, names in (
        (TYPE_CLUSTER, ()),
        (TYPE_ENDPOINTS, tuple(state.resources[TYPE_CLUSTER])),
        (TYPE_LISTENER, ()),
        (TYPE_ROUTES, ("public",)),
    ):
        ask(proxy, kind, *names)
        [response] = proxy.due(state, settled=True)
        assert response.type_url == kind
        ask(proxy, kind, *names, nonce=response.nonce)
    assert proxy.due(state, settled=True) == []
    return proxy


def test_a_new_proxy_gets_what_it_asks_for_once() -> None:
    proxy = subscribed(snapshot())
    assert proxy.node == "envoy-7"


def test_nothing_is_sent_when_nothing_changed_and_only_what_changed_when_it_did() -> None:
    proxy = subscribed(snapshot())
    assert proxy.due(snapshot(), settled=True) == []
    [response] = proxy.due(snapshot(endpoints="2"), settled=True)
    assert (response.type_url, response.version_info) == (TYPE_ENDPOINTS, "a-2")
    assert [resource.value for resource in response.resources] == [b"2"]


def test_routes_wait_for_the_clusters_that_they_lead_to() -> None:
    proxy = subscribed(snapshot())
    after = snapshot(clusters="ab", routes="r2")
    clusters, endpoints = proxy.due(after, settled=True)
    assert sent([clusters, endpoints]) == [(TYPE_CLUSTER, "ab"), (TYPE_ENDPOINTS, "ab-1")]
    ask(proxy, TYPE_CLUSTER, nonce=clusters.nonce)
    ask(proxy, TYPE_ENDPOINTS, "a", nonce=endpoints.nonce)
    assert proxy.due(after, settled=True) == []
    ask(proxy, TYPE_ENDPOINTS, "a", "b", nonce=endpoints.nonce)
    [both] = proxy.due(after, settled=True)
    assert len(both.resources) == 2
    ask(proxy, TYPE_ENDPOINTS, "a", "b", nonce=both.nonce)
    assert sent(proxy.due(after, settled=True)) == [(TYPE_ROUTES, "r2")]


def test_one_answer_is_awaited_before_the_next_is_sent() -> None:
    proxy = subscribed(snapshot())
    [second] = proxy.due(snapshot(endpoints="2"), settled=True)
    assert proxy.due(snapshot(endpoints="3"), settled=True) == []
    ask(proxy, TYPE_ENDPOINTS, "a", nonce="0")  # An answer to something older.
    assert proxy.due(snapshot(endpoints="3"), settled=True) == []
    ask(proxy, TYPE_ENDPOINTS, "a", nonce=second.nonce)
    assert sent(proxy.due(snapshot(endpoints="3"), settled=True)) == [(TYPE_ENDPOINTS, "a-3")]


def test_a_refusal_is_reported_and_not_repeated() -> None:
    proxy = subscribed(snapshot())
    [response] = proxy.due(snapshot(endpoints="bad"), settled=True)
    assert ask(proxy, TYPE_ENDPOINTS, "a", nonce=response.nonce, error="malformed") == "malformed"
    assert proxy.due(snapshot(endpoints="bad"), settled=True) == []
    assert sent(proxy.due(snapshot(endpoints="good"), settled=True)) == [(TYPE_ENDPOINTS, "a-good")]


def test_a_proxy_that_runs_waits_until_the_registry_is_settled() -> None:
    """After a restart without a state file, an empty set of clusters would wipe a working proxy's routes."""
    runs, starts = Proxy(), Proxy()
    ask(runs, TYPE_CLUSTER, had="from-before")
    ask(starts, TYPE_CLUSTER)
    assert runs.due(snapshot(clusters=""), settled=False) == []
    assert sent(starts.due(snapshot(clusters=""), settled=False)) == [(TYPE_CLUSTER, "")]
    assert sent(runs.due(snapshot(), settled=True)) == [(TYPE_CLUSTER, "a")]


def test_unknown_types_are_passed_over() -> None:
    proxy = Proxy()
    assert ask(proxy, "type.googleapis.com/envoy.service.runtime.v3.Runtime") is None
    assert proxy.due(snapshot(), settled=True) == []


async def test_the_feed_moves_only_with_content() -> None:
    feed = SnapshotFeed()
    assert feed.publish(snapshot())
    revision = feed.revision.value
    assert not feed.publish(snapshot())
    assert feed.revision.value == revision
    assert feed.publish(snapshot(endpoints="2"))
    assert await feed.revision.after(revision) == revision + 1
