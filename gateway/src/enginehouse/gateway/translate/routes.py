"""Routes: from the gRPC services that engines registered to their clusters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from betterproto2 import encode_varint
from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.config.route.v3 import (
    HeaderMatcher,
    RetryPolicy,
    RetryPolicyRetryBackOff,
    RetryPolicyRetryHostPredicate,
    Route,
    RouteAction,
    RouteActionClusterNotFoundResponseCode,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.cors.v3 import CorsPolicy
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import BufferSettings, CheckSettings, ExtAuthzPerRoute
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import LuaPerRoute
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher
from envoy_data_plane.google.protobuf import Any

from enginehouse.gateway.config import EdgeSection
from enginehouse.gateway.translate.contracts import EdgeContracts
from enginehouse.gateway.translate.names import (
    COMMON_REQUEST_ID_HEADER,
    DESTINATION_HEADER,
    GATEWAY_CLUSTER,
    HEALTH_SERVICE,
    NO_CLUSTER,
    ORIGINAL_PATH_HEADER,
    REPLAY_HEADER,
    REQUEST_ID_HEADER,
    ROUTER_ENGINE_CLUSTER,
    ROUTES,
)
from enginehouse.gateway.translate.openai_errors import OPENAI_ERRORS_LUA
from enginehouse.kit.server.reflection import REFLECTION_SERVICES

AUTHORIZATION_FILTER = "envoy.filters.http.ext_authz"
CORS_FILTER = "envoy.filters.http.cors"
LUA_FILTER = "envoy.filters.http.lua"

# Of RouteConfiguration and VirtualHost.
_HOSTS_FIELD, _ROUTES_FIELD = 2, 3

_NEVER_BEGAN = "connect-failure,refused-stream,reset-before-request"
# An engine that is full, and one whose provider is away or limits its rate, has answered nothing either.
_UNANSWERED = f"{_NEVER_BEGAN},unavailable,resource-exhausted,reset"
# The router names no more endpoints than one more than this.
_MAX_OTHERS = 4
_OTHER_HOSTS = RetryPolicyRetryHostPredicate(
    name="envoy.retry_host_predicates.previous_hosts", typed_config=Any.pack(PreviousHostsPredicate())
)
_BODY_NOT_COLLECTED = Any.pack(ExtAuthzPerRoute(check_settings=CheckSettings(disable_request_body_buffering=True)))
_OPENAI_ERRORS = Any.pack(LuaPerRoute(source_code=DataSource(inline_string=OPENAI_ERRORS_LUA)))
_EXPOSED_HEADERS = (
    REQUEST_ID_HEADER,
    COMMON_REQUEST_ID_HEADER,
    "x-enginehouse-model",
    "x-enginehouse-load-ms",
    "x-enginehouse-budget-wait-ms",
    "x-enginehouse-cost-nanos",
    "x-enginehouse-cache",
    "x-enginehouse-fallbacks",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "retry-after",
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
)


class RouteTable:
    """The routes of one virtual host, kept serialized by service: the classes take 3 ms a route, and an engine that
    registers must not wait for the routes of others.

    Args:
        contracts: which services there are, and how their requests travel.
        edge: timeouts, and the origins that may call.
    """

    def __init__(self, *, contracts: EdgeContracts, edge: EdgeSection) -> None:
        self._contracts = contracts
        self._edge = edge
        self._made: dict[tuple[str, str], bytes] = {}
        self._configuration = bytes(RouteConfiguration(name=ROUTES))
        self._host = bytes(
            VirtualHost(
                name="all",
                domains=["*"],
                typed_per_filter_config={CORS_FILTER: Any.pack(_cors(edge))},
                # The key is the router's business alone; engines know the caller by the grant.
                request_headers_to_remove=["authorization", "x-api-key", "cookie"],
            )
        )
        self._first = _embedded([_open_route(name) for name in (*REFLECTION_SERVICES, HEALTH_SERVICE)])
        self._last = _embedded([_answer("/", RouteActionClusterNotFoundResponseCode.NOT_FOUND)])
        for service in contracts.services:
            self._routes_of(service, NO_CLUSTER)

    def serialized(self, services: Mapping[str, str]) -> bytes:
        """Return a RouteConfiguration.

        Args:
            services: the cluster of each gRPC service, by the service's full name.
        """
        clusters = dict.fromkeys(self._contracts.services, NO_CLUSTER) | dict(services)
        by_service = [self._routes_of(service, cluster) for service, cluster in sorted(clusters.items())]
        # A message is the concatenation of its fields, in any order.
        host = b"".join((self._host, self._first, *by_service, self._last))
        return self._configuration + _field(_HOSTS_FIELD, host)

    def _routes_of(self, service: str, cluster: str) -> bytes:
        made = self._made.get((service, cluster))
        if made is None:
            if cluster == NO_CLUSTER:
                routes = [_answer(f"/{service}/", RouteActionClusterNotFoundResponseCode.SERVICE_UNAVAILABLE)]
            else:
                routes = _service_routes(service, cluster, self._contracts, self._edge)
            made = self._made[service, cluster] = _embedded(routes)
        return made


def _embedded(routes: Iterable[Route]) -> bytes:
    return b"".join(_field(_ROUTES_FIELD, bytes(route)) for route in routes)


def _field(number: int, value: bytes) -> bytes:
    """Return a length-delimited field of protobuf's wire format."""
    return encode_varint(number << 3 | 2) + encode_varint(len(value)) + value


def _service_routes(service: str, cluster: str, contracts: EdgeContracts, edge: EdgeSection) -> list[Route]:
    routes: list[Route] = []
    checked = {AUTHORIZATION_FILTER: _media_collected(edge)} if service in contracts.media_services else {}
    for headers, action in [*_replays(service, contracts, edge), *_actions(cluster, edge)]:
        # A client that streams waits for answers: its body cannot be collected first.
        routes += [
            Route(
                name=path,
                match=RouteMatch(path=path, headers=headers),
                route=action,
                typed_per_filter_config={AUTHORIZATION_FILTER: _BODY_NOT_COLLECTED},
            )
            for path in contracts.header_methods
            if path.startswith(f"/{service}/")
        ]
        if service in contracts.openai_services:
            from_json = HeaderMatcher(name=ORIGINAL_PATH_HEADER, present_match=True)
            routes.append(
                Route(
                    name=f"{service} as JSON",
                    match=RouteMatch(prefix=f"/{service}/", headers=[from_json, *headers]),
                    route=action,
                    typed_per_filter_config={LUA_FILTER: _OPENAI_ERRORS, **checked},
                )
            )
        routes.append(
            Route(
                name=service,
                match=RouteMatch(prefix=f"/{service}/", headers=headers),
                route=action,
                typed_per_filter_config=checked,
            )
        )
    return routes


def _media_collected(edge: EdgeSection) -> Any:
    whole = BufferSettings(max_request_bytes=edge.max_media_bytes, allow_partial_message=False)
    return Any.pack(ExtAuthzPerRoute(check_settings=CheckSettings(with_request_body=whole)))


def _actions(cluster: str, edge: EdgeSection) -> list[tuple[list[HeaderMatcher], RouteAction]]:
    """Return the actions for a call by the number of endpoints that the router named; the first that matches is taken.

    An engine refuses a grant that it has seen, so a call that may have arrived is repeated only while there are engines
    that it has not been sent to. One that cannot have arrived is repeated anywhere. The endpoints of a model that the
    grant falls back to come after those of the first, so that the same repetition carries a call to another model.

    A call is never sent to two engines at once: each would serve the grant, and both would have to be paid.
    """
    once = RouteAction(cluster=cluster, timeout=timedelta(0), retry_policy=_retries(edge, _NEVER_BEGAN, 2))
    if cluster == ROUTER_ENGINE_CLUSTER:
        return [([], once)]
    actions: list[tuple[list[HeaderMatcher], RouteAction]] = []
    for others in range(_MAX_OTHERS, 0, -1):
        several = HeaderMatcher(
            name=DESTINATION_HEADER,
            string_match=StringMatcher(safe_regex=RegexMatcher(regex="[^,]+," * others + ".+")),
        )
        action = RouteAction(cluster=cluster, timeout=timedelta(0), retry_policy=_retries(edge, _UNANSWERED, others))
        actions.append(([several], action))
    return [*actions, ([], once)]


def _replays(
    service: str, contracts: EdgeContracts, edge: EdgeSection
) -> list[tuple[list[HeaderMatcher], RouteAction]]:
    """Return the route of a call whose answer a router has: to that router, or to another if it did not begin there."""
    if service not in contracts.replayed_services:
        return []
    kept = HeaderMatcher(name=REPLAY_HEADER, present_match=True)
    retries = _retries(edge, _NEVER_BEGAN, 2)
    return [([kept], RouteAction(cluster=ROUTER_ENGINE_CLUSTER, timeout=timedelta(0), retry_policy=retries))]


def _retries(edge: EdgeSection, conditions: str, count: int) -> RetryPolicy:
    return RetryPolicy(
        retry_on=conditions,
        num_retries=count,
        # A generation takes as long as it takes; standing still is what is bounded.
        per_try_idle_timeout=timedelta(seconds=edge.first_byte_timeout_s),
        retry_host_predicate=[_OTHER_HOSTS],
        host_selection_retry_max_attempts=5,
        retry_back_off=RetryPolicyRetryBackOff(
            base_interval=timedelta(milliseconds=10), max_interval=timedelta(milliseconds=100)
        ),
    )


def _open_route(service: str) -> Route:
    return Route(
        name=service,
        match=RouteMatch(prefix=f"/{service}/"),
        route=RouteAction(cluster=GATEWAY_CLUSTER, timeout=timedelta(0)),
        typed_per_filter_config=_without_authorization(),
    )


def _answer(prefix: str, code: RouteActionClusterNotFoundResponseCode) -> Route:
    # Not a direct response: to the CORS filter that is no route, and JSON paths have only this one when they pass it.
    return Route(
        name=f"no cluster for {prefix}",
        match=RouteMatch(prefix=prefix),
        route=RouteAction(cluster=NO_CLUSTER, cluster_not_found_response_code=code),
        typed_per_filter_config=_without_authorization(),
    )


def _without_authorization() -> dict[str, Any]:
    return {AUTHORIZATION_FILTER: Any.pack(ExtAuthzPerRoute(disabled=True))}


def _cors(edge: EdgeSection) -> CorsPolicy:
    origins = [
        StringMatcher(safe_regex=RegexMatcher(regex=".*")) if origin == "*" else StringMatcher(exact=origin)
        for origin in edge.cors_origins
    ]
    return CorsPolicy(
        allow_origin_string_match=origins,
        allow_methods="GET, POST, PUT, PATCH, DELETE, OPTIONS",
        allow_headers="*, authorization",
        expose_headers=", ".join(_EXPOSED_HEADERS),
        max_age="600",
        allow_credentials=False,
    )
