"""Envoy's bootstrap, by which it finds the gateway and the routers. All else comes by ADS."""

from __future__ import annotations

from datetime import timedelta
from typing import Any as Json

from envoy_data_plane.envoy.config.bootstrap.v3 import (
    Admin,
    Bootstrap,
    BootstrapDynamicResources,
    BootstrapStaticResources,
)
from envoy_data_plane.envoy.config.core.v3 import (
    ApiConfigSource,
    ApiConfigSourceApiType,
    ApiVersion,
    BackoffStrategy,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    Node,
    RetryPolicy,
)
from envoy_data_plane.envoy.config.overload.v3 import (
    OverloadAction,
    OverloadManager,
    ResourceMonitor,
    ScaledTrigger,
    ScaleTimersOverloadActionConfig,
    ScaleTimersOverloadActionConfigScaleTimer,
    ScaleTimersOverloadActionConfigTimerType,
    ThresholdTrigger,
    Trigger,
)
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections.v3 import DownstreamConnectionsConfig
from envoy_data_plane.envoy.extensions.resource_monitors.fixed_heap.v3 import FixedHeapConfig
from envoy_data_plane.envoy.type.v3 import Percent
from envoy_data_plane.google.protobuf import Any

from enginehouse.gateway.config import EdgeSection, GatewaySection
from enginehouse.gateway.translate.clusters import from_ads, gateway_cluster, router_cluster, socket_address
from enginehouse.gateway.translate.names import GATEWAY_CLUSTER

_HEAP = "envoy.resource_monitors.fixed_heap"
_CONNECTIONS = "envoy.resource_monitors.global_downstream_max_connections"


def bootstrap(section: GatewaySection, *, node_id: str = "envoy") -> dict[str, Json]:
    """Return the bootstrap as JSON-ready values, for `envoy --config-yaml` or a file.

    Args:
        section: the gateway's configuration.
        node_id: this Envoy's id at the gateway.
    """
    message = Bootstrap(
        node=Node(id=node_id, cluster="enginehouse"),
        admin=Admin(address=socket_address(section.envoy_admin)),
        static_resources=BootstrapStaticResources(
            clusters=[gateway_cluster(section.grpc_listen), router_cluster(section.router_http)]
        ),
        dynamic_resources=BootstrapDynamicResources(
            ads_config=ApiConfigSource(
                api_type=ApiConfigSourceApiType.GRPC,
                transport_api_version=ApiVersion.V3,
                set_node_on_first_message_only=True,
                grpc_services=[
                    GrpcService(
                        envoy_grpc=GrpcServiceEnvoyGrpc(
                            cluster_name=GATEWAY_CLUSTER,
                            # A gateway that comes back is found within half a second, not half a minute.
                            retry_policy=RetryPolicy(
                                retry_back_off=BackoffStrategy(
                                    base_interval=timedelta(milliseconds=100), max_interval=timedelta(milliseconds=500)
                                )
                            ),
                        )
                    )
                ],
            ),
            cds_config=from_ads(),
            lds_config=from_ads(),
        ),
        overload_manager=_overload(section.edge),
    )
    values: dict[str, Json] = message.to_dict()
    return values


def _overload(edge: EdgeSection) -> OverloadManager:
    return OverloadManager(
        refresh_interval=timedelta(milliseconds=250),
        resource_monitors=[
            ResourceMonitor(
                name=_HEAP, typed_config=Any.pack(FixedHeapConfig(max_heap_size_bytes=edge.max_heap_bytes))
            ),
            ResourceMonitor(
                name=_CONNECTIONS,
                typed_config=Any.pack(
                    DownstreamConnectionsConfig(max_active_downstream_connections=edge.max_connections)
                ),
            ),
        ],
        actions=[
            OverloadAction(
                name="envoy.overload_actions.shrink_heap",
                triggers=[Trigger(name=_HEAP, threshold=ThresholdTrigger(value=0.9))],
            ),
            # Idle clients and clients that send slowly lose their places first.
            OverloadAction(
                name="envoy.overload_actions.reduce_timeouts",
                triggers=[
                    Trigger(name=_HEAP, scaled=ScaledTrigger(scaling_threshold=0.8, saturation_threshold=0.95)),
                    Trigger(name=_CONNECTIONS, scaled=ScaledTrigger(scaling_threshold=0.8, saturation_threshold=0.98)),
                ],
                typed_config=Any.pack(
                    ScaleTimersOverloadActionConfig(
                        timer_scale_factors=[
                            ScaleTimersOverloadActionConfigScaleTimer(
                                timer=ScaleTimersOverloadActionConfigTimerType.HTTP_DOWNSTREAM_CONNECTION_IDLE,
                                min_timeout=timedelta(seconds=2),
                            ),
                            ScaleTimersOverloadActionConfigScaleTimer(
                                timer=ScaleTimersOverloadActionConfigTimerType.HTTP_DOWNSTREAM_STREAM_IDLE,
                                min_scale=Percent(value=20.0),
                            ),
                        ]
                    )
                ),
            ),
            OverloadAction(
                name="envoy.overload_actions.stop_accepting_requests",
                triggers=[Trigger(name=_HEAP, threshold=ThresholdTrigger(value=0.97))],
            ),
        ],
    )
