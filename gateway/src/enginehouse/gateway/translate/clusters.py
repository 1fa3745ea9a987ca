"""Clusters and endpoints: Envoy's connections to engines, routers and the gateway, and their health."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from ipaddress import ip_address

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    CircuitBreakersThresholdsRetryBudget,
    Cluster,
    ClusterCommonLbConfig,
    ClusterDiscoveryType,
    ClusterEdsClusterConfig,
    LoadBalancingPolicy,
    LoadBalancingPolicyPolicy,
    OutlierDetection,
    UpstreamConnectionOptions,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Address as EnvoyAddress,
)
from envoy_data_plane.envoy.config.core.v3 import (
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
    HealthCheck,
    HealthCheckGrpcHealthCheck,
    HealthCheckHttpHealthCheck,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    KeepaliveSettings,
    SocketAddress,
    TcpKeepalive,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.extensions.load_balancing_policies.least_request.v3 import LeastRequest
from envoy_data_plane.envoy.extensions.load_balancing_policies.override_host.v3 import (
    OverrideHost,
    OverrideHostOverrideHostSource,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.v3 import Int64Range, Percent
from envoy_data_plane.google.protobuf import Any

from enginehouse.gateway.config import EdgeSection
from enginehouse.gateway.translate.names import (
    COLLECTOR_CLUSTER,
    DESTINATION_HEADER,
    GATEWAY_CLUSTER,
    ROUTER_CLUSTER,
)
from enginehouse.kit.addresses import Address

_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
# Envoy's default of 1,024 requests at once is meant for clusters of small web services.
_UNBOUNDED = 1_000_000
_MIN_RETRIES = 20


def from_ads() -> ConfigSource:
    """Return the source of everything that changes: the one ADS stream."""
    return ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)


def engine_cluster(name: str, *, edge: EdgeSection) -> Cluster:
    """Return the cluster of engines of one kind: the router's order first, then the least busy one."""
    return Cluster(
        name=name,
        type=ClusterDiscoveryType.EDS,
        eds_cluster_config=ClusterEdsClusterConfig(eds_config=from_ads()),
        connect_timeout=timedelta(seconds=1),
        typed_extension_protocol_options={_PROTOCOL_OPTIONS: Any.pack(_http2())},
        load_balancing_policy=_ordered_endpoints(),
        common_lb_config=ClusterCommonLbConfig(
            # Where every engine looks unhealthy, trying one beats refusing: the check itself may have starved.
            healthy_panic_threshold=Percent(value=1.0),
        ),
        health_checks=[
            _check(
                grpc_health_check=HealthCheckGrpcHealthCheck(),
                interval=timedelta(seconds=1),
                timeout=timedelta(seconds=1),
                unhealthy_threshold=2,
            )
        ],
        outlier_detection=_cut_off(max_ejection_percent=50, enforcing_5xx=0),
        circuit_breakers=_raised(retry_percent=edge.retry_percent, min_retries=edge.retry_concurrency),
        # The registry knows better than a health check which engines are gone.
        ignore_health_on_host_removal=True,
        upstream_connection_options=_keepalive(),
    )


def endpoints(cluster: str, addresses: Sequence[Address]) -> ClusterLoadAssignment:
    """Return the addresses of a cluster's engines."""
    return ClusterLoadAssignment(
        cluster_name=cluster,
        endpoints=[LocalityLbEndpoints(lb_endpoints=[_endpoint(address) for address in addresses])],
    )


def router_cluster(routers: Sequence[Address]) -> Cluster:
    """Return the cluster of the routers' HTTP/1.1 servers. One that is not ready is asked only when none is ready."""
    return Cluster(
        name=ROUTER_CLUSTER,
        type=ClusterDiscoveryType.STATIC,
        connect_timeout=timedelta(seconds=1),
        load_assignment=endpoints(ROUTER_CLUSTER, routers),
        typed_extension_protocol_options={
            _PROTOCOL_OPTIONS: Any.pack(
                HttpProtocolOptions(
                    explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(
                        http_protocol_options=Http1ProtocolOptions()
                    )
                )
            )
        },
        load_balancing_policy=LoadBalancingPolicy(policies=[_policy("least_request", LeastRequest())]),
        common_lb_config=ClusterCommonLbConfig(healthy_panic_threshold=Percent(value=1.0)),
        health_checks=[
            _check(
                # Any answer but a 5xx: a router that can refuse can also admit.
                http_health_check=HealthCheckHttpHealthCheck(
                    path="/readyz", expected_statuses=[Int64Range(start=200, end=500)]
                ),
                interval=timedelta(seconds=1),
                timeout=timedelta(seconds=2),
                unhealthy_threshold=2,
            )
        ],
        # A router that was killed refuses connections at once, and the health check needs seconds to see it.
        # The bootstrap is JSON, where the message classes misspell the field that leaves 5xx answers out; a router
        # gives none.
        outlier_detection=_cut_off(max_ejection_percent=90, enforcing_5xx=None),
        # When one of two routers dies, half of the checks may be sent again, but none of them twice.
        circuit_breakers=_raised(retry_percent=100, min_retries=_MIN_RETRIES),
        upstream_connection_options=_keepalive(),
    )


def gateway_cluster(address: Address) -> Cluster:
    """Return the cluster of the control plane itself: ADS, and reflection and health for clients."""
    return Cluster(
        name=GATEWAY_CLUSTER,
        type=ClusterDiscoveryType.STATIC,
        connect_timeout=timedelta(seconds=1),
        load_assignment=endpoints(GATEWAY_CLUSTER, [address]),
        typed_extension_protocol_options={_PROTOCOL_OPTIONS: Any.pack(_http2(keepalive=True))},
        upstream_connection_options=_keepalive(),
    )


def collector_cluster(address: Address) -> Cluster:
    """Return the cluster of the OpenTelemetry collector."""
    try:
        ip_address(address.host)
        kind = ClusterDiscoveryType.STATIC
    except ValueError:
        kind = ClusterDiscoveryType.STRICT_DNS
    return Cluster(
        name=COLLECTOR_CLUSTER,
        type=kind,
        connect_timeout=timedelta(seconds=1),
        load_assignment=endpoints(COLLECTOR_CLUSTER, [address]),
        typed_extension_protocol_options={_PROTOCOL_OPTIONS: Any.pack(_http2())},
    )


def socket_address(address: Address) -> EnvoyAddress:
    """Return an address as Envoy writes it."""
    return EnvoyAddress(socket_address=SocketAddress(address=address.host, port_value=address.port))


def _endpoint(address: Address) -> LbEndpoint:
    return LbEndpoint(endpoint=Endpoint(address=socket_address(address)))


def _http2(*, keepalive: bool = False) -> HttpProtocolOptions:
    return HttpProtocolOptions(
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(
            http2_protocol_options=Http2ProtocolOptions(
                max_concurrent_streams=4096,
                initial_stream_window_size=1024 * 1024,
                initial_connection_window_size=16 * 1024 * 1024,
                connection_keepalive=KeepaliveSettings(interval=timedelta(seconds=5), timeout=timedelta(seconds=5))
                if keepalive
                else None,
            )
        )
    )


def _ordered_endpoints() -> LoadBalancingPolicy:
    fallback = LoadBalancingPolicy(policies=[_policy("least_request", LeastRequest())])
    return LoadBalancingPolicy(
        policies=[
            _policy(
                "override_host",
                OverrideHost(
                    override_host_sources=[OverrideHostOverrideHostSource(header=DESTINATION_HEADER)],
                    fallback_policy=fallback,
                ),
            )
        ]
    )


def _policy(name: str, message: LeastRequest | OverrideHost) -> LoadBalancingPolicyPolicy:
    return LoadBalancingPolicyPolicy(
        typed_extension_config=TypedExtensionConfig(
            name=f"envoy.load_balancing_policies.{name}", typed_config=Any.pack(message)
        )
    )


def _check(
    *,
    interval: timedelta,
    timeout: timedelta,
    unhealthy_threshold: int,
    grpc_health_check: HealthCheckGrpcHealthCheck | None = None,
    http_health_check: HealthCheckHttpHealthCheck | None = None,
) -> HealthCheck:
    return HealthCheck(
        grpc_health_check=grpc_health_check,
        http_health_check=http_health_check,
        interval=interval,
        timeout=timeout,
        # Envoy checks an idle cluster once a minute unless told otherwise.
        no_traffic_interval=interval,
        no_traffic_healthy_interval=interval,
        unhealthy_interval=timedelta(milliseconds=250),
        unhealthy_edge_interval=timedelta(milliseconds=250),
        unhealthy_threshold=unhealthy_threshold,
        healthy_threshold=1,
    )


def _cut_off(*, max_ejection_percent: int, enforcing_5xx: int | None) -> OutlierDetection:
    """Eject endpoints that cannot be reached. Only failures to connect and cut connections count: an answer, even an
    error, must not empty the cluster.
    """
    return OutlierDetection(
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=3,
        enforcing_consecutive_local_origin_failure=100,
        enforcing_consecutive_5xx=enforcing_5xx,
        enforcing_consecutive_gateway_failure=0,
        enforcing_success_rate=0,
        enforcing_local_origin_success_rate=0,
        interval=timedelta(milliseconds=500),
        base_ejection_time=timedelta(seconds=1),
        max_ejection_time=timedelta(seconds=10),
        max_ejection_percent=max_ejection_percent,
    )


def _raised(*, retry_percent: float, min_retries: int) -> CircuitBreakers:
    """Bound only retries: at once a share of the requests at once, and a few in any case. Without that bound, engines
    that all fail would get every request as often as there are endpoints, when they can least bear it.
    """
    return CircuitBreakers(
        thresholds=[
            CircuitBreakersThresholds(
                max_connections=_UNBOUNDED,
                max_pending_requests=_UNBOUNDED,
                max_requests=_UNBOUNDED,
                retry_budget=CircuitBreakersThresholdsRetryBudget(
                    budget_percent=Percent(value=retry_percent), min_retry_concurrency=min_retries
                ),
            )
        ]
    )


def _keepalive() -> UpstreamConnectionOptions:
    return UpstreamConnectionOptions(
        tcp_keepalive=TcpKeepalive(keepalive_probes=3, keepalive_time=10, keepalive_interval=5)
    )
