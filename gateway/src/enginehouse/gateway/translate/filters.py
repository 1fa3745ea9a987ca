"""The HTTP filters of the public listener, in the order in which a request passes them."""

from __future__ import annotations

from datetime import timedelta

import betterproto2
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation
from envoy_data_plane.envoy.config.core.v3 import (
    BackoffStrategy,
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
    HttpUri,
    RetryPolicy,
    RetryPolicyRetryHostPredicate,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.common.matching.v3 import ExtensionWithMatcher
from envoy_data_plane.envoy.extensions.filters.common.matcher.action.v3 import SkipFilter
from envoy_data_plane.envoy.extensions.filters.http.cors.v3 import Cors
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import (
    AuthorizationRequest,
    AuthorizationResponse,
    BufferSettings,
    ExtAuthz,
    HttpService,
)
from envoy_data_plane.envoy.extensions.filters.http.fault.v3 import FaultAbort, HttpFault
from envoy_data_plane.envoy.extensions.filters.http.grpc_json_transcoder.v3 import (
    GrpcJsonTranscoder,
    GrpcJsonTranscoderPrintOptions,
    GrpcJsonTranscoderRequestValidationOptions,
    GrpcJsonTranscoderUrlUnescapeSpec,
)
from envoy_data_plane.envoy.extensions.filters.http.grpc_web.v3 import GrpcWeb
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import (
    HeaderMutation as HeaderMutationFilter,
)
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import (
    Mutations,
)
from envoy_data_plane.envoy.extensions.filters.http.health_check.v3 import HealthCheck
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate
from envoy_data_plane.envoy.type.matcher.v3 import (
    HttpRequestHeaderMatchInput,
    ListStringMatcher,
    RegexMatcher,
    StringMatcher,
)
from envoy_data_plane.envoy.type.v3 import (
    FractionalPercent,
    FractionalPercentDenominatorType,
    HttpStatus,
    Percent,
    StatusCode,
)
from envoy_data_plane.google.protobuf import Any
from envoy_data_plane.xds.core.v3 import TypedExtensionConfig as XdsExtensionConfig
from envoy_data_plane.xds.type.matcher.v3 import (
    Matcher,
    MatcherMatcherTree,
    MatcherMatcherTreeMatchMap,
    MatcherOnMatch,
)

from enginehouse.gateway.config import EdgeSection
from enginehouse.gateway.translate.contracts import EdgeContracts
from enginehouse.gateway.translate.local_replies import UNSUPPORTED_ENCODING_STATUS
from enginehouse.gateway.translate.names import (
    COMMON_REQUEST_ID_HEADER,
    DESTINATION_HEADER,
    REPLAY_HEADER,
    REQUEST_ID_FORMAT,
    REQUEST_ID_HEADER,
    ROUTER_CLUSTER,
)
from enginehouse.gateway.translate.routes import AUTHORIZATION_FILTER, CORS_FILTER, LUA_FILTER

_SECURITY_HEADERS = (
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("cache-control", "no-store"),
)
_HEADER_MUTATION = "envoy.filters.http.header_mutation"
_HIDDEN_HEADERS = (
    "server",
    "x-powered-by",
    "x-envoy-upstream-service-time",
    "x-envoy-upstream-healthchecked-cluster",
    "x-enginehouse-openai-error",
    COMMON_REQUEST_ID_HEADER,
)
# The id of every answer: the router's, or what stands in its place where the router was not asked. Envoy does not know
# even the request's headers when it cannot read them.
_REQUEST_IDS = (
    (REQUEST_ID_HEADER, REQUEST_ID_FORMAT),
    (REQUEST_ID_HEADER, "%UNIQUE_ID%"),
    (COMMON_REQUEST_ID_HEADER, f"%RESP({REQUEST_ID_HEADER.upper()})%"),
)
# What only gRPC clients read; an engine sends it with every answer.
_GRPC_HEADERS = ("grpc-accept-encoding", "grpc-encoding", "grpc-status", "grpc-message", "grpc-status-details-bin")

# What the router sees of a request, besides method, path and body: what it reads and no more, because both sides handle
# each header of each check. Never the content type: with a gRPC one, Envoy takes the check itself for a gRPC call, its
# own "cannot connect" then has HTTP status 200, and the filter takes that for permission. The body always has gRPC's
# framing, because nothing else gets this far.
_CHECKED = (
    "authorization",
    "x-api-key",
    "grpc-encoding",
    "grpc-timeout",
    "traceparent",
    "tracestate",
    COMMON_REQUEST_ID_HEADER,
)
_CHECKED_PREFIX = "x-enginehouse-"
# What it may pass to the engine, and to the client of an admitted and of a refused request.
_TO_ENGINE = ("x-enginehouse-grant", DESTINATION_HEADER, REPLAY_HEADER, REQUEST_ID_HEADER)
_TO_CLIENT = (
    REQUEST_ID_HEADER,
    "x-enginehouse-model",
    "x-enginehouse-cache",
    "x-enginehouse-fallbacks",
    "x-enginehouse-budget-wait-ms",
)
_TO_CLIENT_PREFIX = "ratelimit-"
_TO_REFUSED = (
    REQUEST_ID_HEADER,
    "x-enginehouse-budget-wait-ms",
    "content-type",
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
    "retry-after",
    "www-authenticate",
)


def http_filters(edge: EdgeSection, *, contracts: EdgeContracts) -> list[HttpFilter]:
    """Return the filter chain."""
    return [
        _filter(_HEADER_MUTATION, _response_headers()),
        _filter("enginehouse.without_grpc_headers", _without_grpc_headers()),
        _filter("envoy.filters.http.health_check", _healthz()),
        _filter(CORS_FILTER, Cors()),
        _filter("envoy.filters.http.fault", _compressed_bodies()),
        _filter("envoy.filters.http.grpc_web", GrpcWeb()),
        _filter("envoy.filters.http.grpc_json_transcoder", _transcoder(edge, contracts)),
        _filter(AUTHORIZATION_FILTER, _authorization(edge)),
        # Only the routes of OpenAI's JSON have a script.
        HttpFilter(name=LUA_FILTER, typed_config=Any.pack(Lua())),
        _filter("envoy.filters.http.router", Router(suppress_envoy_headers=True)),
    ]


def _filter(name: str, message: betterproto2.Message) -> HttpFilter:
    return HttpFilter(name=name, typed_config=Any.pack(message))


def _response_headers() -> HeaderMutationFilter:
    additions = [
        HeaderMutation(
            append=HeaderValueOption(
                header=HeaderValue(key=name, value=value),
                append_action=HeaderValueOptionHeaderAppendAction.ADD_IF_ABSENT,
            )
        )
        for name, value in (*_SECURITY_HEADERS, *_REQUEST_IDS)
    ]
    return HeaderMutationFilter(
        mutations=Mutations(response_mutations=[*(HeaderMutation(remove=name) for name in _HIDDEN_HEADERS), *additions])
    )


def _without_grpc_headers() -> ExtensionWithMatcher:
    """Remove what only gRPC clients read from the answers to all others."""
    removals = HeaderMutationFilter(
        mutations=Mutations(response_mutations=[HeaderMutation(remove=name) for name in _GRPC_HEADERS])
    )
    skip = MatcherOnMatch(action=_xds_extension("skip", SkipFilter()))
    return ExtensionWithMatcher(
        xds_matcher=Matcher(
            matcher_tree=MatcherMatcherTree(
                input=_xds_extension("content-type", HttpRequestHeaderMatchInput(header_name="content-type")),
                prefix_match_map=MatcherMatcherTreeMatchMap(map={"application/grpc": skip}),
            )
        ),
        extension_config=TypedExtensionConfig(name=_HEADER_MUTATION, typed_config=Any.pack(removals)),
    )


def _xds_extension(name: str, message: betterproto2.Message) -> XdsExtensionConfig:
    return XdsExtensionConfig(name=name, typed_config=Any.pack(message))


def _compressed_bodies() -> HttpFault:
    """Refuse bodies that are compressed. Envoy could inflate them, but it passes on what it cannot inflate as if the
    body had ended there, and the transcoder then waits for the rest.
    """
    return HttpFault(
        abort=FaultAbort(
            http_status=UNSUPPORTED_ENCODING_STATUS,
            percentage=FractionalPercent(numerator=100, denominator=FractionalPercentDenominatorType.HUNDRED),
        ),
        headers=[
            HeaderMatcher(name="content-encoding", present_match=True),
            HeaderMatcher(
                name="content-encoding",
                string_match=StringMatcher(safe_regex=RegexMatcher(regex="(?i)(identity)?")),
                invert_match=True,
            ),
        ],
    )


def _healthz() -> HealthCheck:
    """Answer `/healthz` with 200 while Envoy runs and at least one router answers, else 503; engines do not count."""
    return HealthCheck(
        pass_through_mode=False,
        headers=[HeaderMatcher(name=":path", string_match=StringMatcher(exact="/healthz"))],
        cluster_min_healthy_percentages={ROUTER_CLUSTER: Percent(value=1.0)},
    )


def _transcoder(edge: EdgeSection, contracts: EdgeContracts) -> GrpcJsonTranscoder:
    return GrpcJsonTranscoder(
        proto_descriptor_bin=contracts.descriptor_set,
        services=list(contracts.json_services),
        convert_grpc_status=True,
        # Clients written for other providers add their own, such as `api-version`.
        ignore_unknown_query_parameters=True,
        # Clients escape the slash in a model's name, which is one segment of the path all the same.
        url_unescape_spec=GrpcJsonTranscoderUrlUnescapeSpec.ALL_CHARACTERS,
        # Most services take less; the authorization of their routes bounds them.
        max_request_body_size=edge.max_media_bytes,
        max_response_body_size=edge.max_response_bytes,
        request_validation_options=GrpcJsonTranscoderRequestValidationOptions(reject_unknown_method=True),
        print_options=GrpcJsonTranscoderPrintOptions(
            preserve_proto_field_names=True,
            always_print_primitive_fields=True,
            stream_newline_delimited=True,
            stream_sse_style_delimited=True,
        ),
    )


def _authorization(edge: EdgeSection) -> ExtAuthz:
    return ExtAuthz(
        http_service=HttpService(
            server_uri=HttpUri(
                uri="http://router.enginehouse.internal",
                cluster=ROUTER_CLUSTER,
                timeout=timedelta(seconds=edge.authorization_timeout_s),
            ),
            authorization_response=AuthorizationResponse(
                allowed_upstream_headers=_names(_TO_ENGINE),
                allowed_client_headers=_names(_TO_REFUSED, (_TO_CLIENT_PREFIX,)),
                allowed_client_headers_on_success=_names(_TO_CLIENT, (_TO_CLIENT_PREFIX,)),
            ),
            authorization_request=AuthorizationRequest(),
            retry_policy=RetryPolicy(
                # A decision whose answer was lost has reserved a bound that no engine can ever spend: it lapses at
                # zero. So another router can be asked when one dies during a check.
                retry_on="connect-failure,refused-stream,reset",
                num_retries=2,
                retry_host_predicate=[
                    RetryPolicyRetryHostPredicate(
                        name="envoy.retry_host_predicates.previous_hosts",
                        typed_config=Any.pack(PreviousHostsPredicate()),
                    )
                ],
                host_selection_retry_max_attempts=5,
                retry_back_off=BackoffStrategy(
                    base_interval=timedelta(milliseconds=10),
                    # Envoy takes the longest pause for each attempt's time limit as well.
                    max_interval=timedelta(seconds=edge.authorization_timeout_s),
                ),
            ),
        ),
        allowed_headers=_names(_CHECKED, (_CHECKED_PREFIX,)),
        with_request_body=BufferSettings(max_request_bytes=edge.max_request_bytes, allow_partial_message=False),
        # The route depends on how many endpoints the router named.
        clear_route_cache=True,
        # Fail closed, with a status that no refusal of a router has.
        failure_mode_allow=False,
        status_on_error=HttpStatus(code=StatusCode.BadGateway),
    )


def _names(exact: tuple[str, ...], prefixes: tuple[str, ...] = ()) -> ListStringMatcher:
    return ListStringMatcher(
        patterns=[
            *(StringMatcher(exact=name, ignore_case=True) for name in exact),
            *(StringMatcher(prefix=prefix, ignore_case=True) for prefix in prefixes),
        ]
    )
