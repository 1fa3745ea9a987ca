"""Names that the translated configuration and its readers share."""

from __future__ import annotations

# Engines' cluster names have no underscore, so these can never collide with one.
GATEWAY_CLUSTER = "enginehouse_gateway"
ROUTER_CLUSTER = "enginehouse_router"
COLLECTOR_CLUSTER = "enginehouse_collector"
# Never defined: a route to it is a plain answer.
NO_CLUSTER = "enginehouse_none"

LISTENER = "public"
ROUTES = "public"

# The cluster that the routers register under for administration. Its calls change state, so they are
# repeated only where they cannot have begun.
ROUTER_ENGINE_CLUSTER = "router"

DESTINATION_HEADER = "x-gateway-destination-endpoint"
# Set by the router where it has the answer already: the call goes to the replay endpoint of the router named.
REPLAY_HEADER = "x-enginehouse-replay"
OPENAI_ERROR_HEADER = "x-enginehouse-openai-error"
ORIGINAL_PATH_HEADER = "x-envoy-original-path"
REQUEST_ID_HEADER = "x-enginehouse-request-id"
# The same id, under the name that most clients log.
COMMON_REQUEST_ID_HEADER = "x-request-id"
# What Envoy fills in for the id of a request that the router has not given one: the client's own, or Envoy's.
REQUEST_ID_FORMAT = f"%REQ({REQUEST_ID_HEADER.upper()}?{COMMON_REQUEST_ID_HEADER.upper()}):64%"

# Removed from every request before anything reads it.
RESERVED_HEADERS = (
    "x-enginehouse-grant",
    DESTINATION_HEADER,
    REPLAY_HEADER,
    "x-enginehouse-model",
    "x-enginehouse-cost-nanos",
    OPENAI_ERROR_HEADER,
)

TYPE_CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
TYPE_ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
TYPE_LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
TYPE_ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"

HEALTH_SERVICE = "grpc.health.v1.Health"
