"""The public listener: one port for HTTP/1.1 and HTTP/2, with the filters that every request passes in order."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog, AccessLogFilter, NotHealthCheckFilter
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation, HeaderMutationRemoveOnMatch
from envoy_data_plane.envoy.config.core.v3 import (
    CidrRange,
    DataSource,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    SubstitutionFormatString,
    TransportSocket,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.config.listener.v3 import (
    Filter,
    FilterChain,
    Listener,
    ListenerConnectionBalanceConfig,
    ListenerConnectionBalanceConfigExactBalance,
)
from envoy_data_plane.envoy.config.trace.v3 import OpenTelemetryConfig, TracingHttp
from envoy_data_plane.envoy.extensions.access_loggers.file.v3 import FileAccessLog
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerInternalAddressConfig,
    HttpConnectionManagerServerHeaderTransformation,
    HttpConnectionManagerTracing,
    Rds,
)
from envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation.v3 import (
    HeaderMutation as EarlyHeaderMutation,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CommonTlsContext,
    DownstreamTlsContext,
    TlsCertificate,
    TlsParameters,
    TlsParametersTlsProtocol,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.envoy.type.v3 import Percent
from envoy_data_plane.google.protobuf import Any, Struct

from enginehouse.gateway.config import EdgeSection, GatewaySection
from enginehouse.gateway.translate.clusters import from_ads, socket_address
from enginehouse.gateway.translate.contracts import EdgeContracts
from enginehouse.gateway.translate.filters import http_filters
from enginehouse.gateway.translate.local_replies import local_replies
from enginehouse.gateway.translate.names import (
    COLLECTOR_CLUSTER,
    LISTENER,
    REQUEST_ID_FORMAT,
    RESERVED_HEADERS,
    ROUTES,
)

_MANAGER = "envoy.filters.network.http_connection_manager"

# Never the query, which may hold a key, and never a header that may.
_ACCESS_LOG_FIELDS = {
    "ts": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "method": "%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD)%",
    "path": "%PATH(NQ:ORIG_OR_PATH)%",
    "grpc_method": "%PATH(NQ:PATH)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS_NUMBER%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "received_bytes": "%BYTES_RECEIVED%",
    "sent_bytes": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
    "first_byte_ms": "%RESPONSE_DURATION%",
    "engine": "%UPSTREAM_HOST%",
    "cluster": "%UPSTREAM_CLUSTER_RAW%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": REQUEST_ID_FORMAT,
    "model": "%RESP(X-ENGINEHOUSE-MODEL)%",
    "trace_id": "%TRACE_ID%",
}


def public_listener(section: GatewaySection, *, contracts: EdgeContracts) -> Listener:
    """Return the public listener."""
    return Listener(
        name=LISTENER,
        address=socket_address(section.public_listen),
        filter_chains=[
            FilterChain(
                filters=[Filter(name=_MANAGER, typed_config=Any.pack(_manager(section, contracts)))],
                transport_socket=_tls(section.edge),
                transport_socket_connect_timeout=timedelta(seconds=section.edge.request_headers_timeout_s),
            )
        ],
        per_connection_buffer_limit_bytes=1024 * 1024,
        # gRPC clients hold few connections for long, so threads take them in turn. Without port reuse a second mesh on
        # the same port fails at once, where it would otherwise take half of the requests.
        enable_reuse_port=False,
        connection_balance_config=ListenerConnectionBalanceConfig(
            exact_balance=ListenerConnectionBalanceConfigExactBalance()
        ),
    )


def _manager(section: GatewaySection, contracts: EdgeContracts) -> HttpConnectionManager:
    edge = section.edge
    return HttpConnectionManager(
        stat_prefix="public",
        rds=Rds(config_source=from_ads(), route_config_name=ROUTES),
        http_filters=http_filters(edge, contracts=contracts),
        common_http_protocol_options=HttpProtocolOptions(
            idle_timeout=timedelta(seconds=edge.connection_idle_timeout_s), max_headers_count=edge.max_header_count
        ),
        # Old load generators and health checkers speak HTTP/1.0, which has no host.
        http_protocol_options=Http1ProtocolOptions(accept_http_10=True, default_host_for_http_10="enginehouse"),
        http2_protocol_options=Http2ProtocolOptions(
            max_concurrent_streams=edge.max_streams_per_connection,
            # A stream that its client does not read holds at most this much memory.
            initial_stream_window_size=256 * 1024,
            initial_connection_window_size=4 * 1024 * 1024,
        ),
        max_request_headers_kb=edge.max_header_kib,
        request_headers_timeout=timedelta(seconds=edge.request_headers_timeout_s),
        request_timeout=timedelta(seconds=edge.request_timeout_s),
        stream_idle_timeout=timedelta(seconds=edge.stream_idle_timeout_s),
        use_remote_address=True,
        xff_num_trusted_hops=edge.trusted_proxies,
        # No address is trusted to steer Envoy by its headers, not even a private one.
        internal_address_config=HttpConnectionManagerInternalAddressConfig(
            unix_sockets=False, cidr_ranges=[CidrRange(address_prefix="255.255.255.255", prefix_len=32)]
        ),
        # What Envoy answers itself has this id. It keeps its decision to trace there as well.
        generate_request_id=True,
        normalize_path=True,
        merge_slashes=True,
        server_header_transformation=HttpConnectionManagerServerHeaderTransformation.PASS_THROUGH,
        early_header_mutation_extensions=[_strip_reserved()],
        local_reply_config=local_replies(
            max_request_bytes=edge.max_request_bytes,
            max_media_bytes=edge.max_media_bytes,
            first_byte_timeout_s=edge.first_byte_timeout_s,
            openai=contracts.openai_methods,
            ours=contracts.own_methods,
        ),
        access_log=_access_log(edge),
        tracing=_tracing(section),
        stream_error_on_invalid_http_message=True,
    )


def _strip_reserved() -> TypedExtensionConfig:
    def removal(matcher: StringMatcher) -> HeaderMutation:
        return HeaderMutation(remove_on_match=HeaderMutationRemoveOnMatch(key_matcher=matcher))

    return TypedExtensionConfig(
        name="envoy.http.early_header_mutation.header_mutation",
        typed_config=Any.pack(
            EarlyHeaderMutation(
                mutations=[
                    *(HeaderMutation(remove=name) for name in RESERVED_HEADERS),
                    # Envoy's own: they raise retries, change timeouts and imitate what the filters set.
                    removal(StringMatcher(prefix="x-envoy-")),
                ]
            )
        ),
    )


def _access_log(edge: EdgeSection) -> list[AccessLog]:
    if not edge.access_log:
        return []
    return [
        AccessLog(
            name="envoy.access_loggers.file",
            filter=AccessLogFilter(not_health_check_filter=NotHealthCheckFilter()),
            typed_config=Any.pack(
                FileAccessLog(
                    path=edge.access_log,
                    log_format=SubstitutionFormatString(
                        json_format=Struct.from_dict(_ACCESS_LOG_FIELDS), omit_empty_values=True
                    ),
                )
            ),
        )
    ]


def _tracing(section: GatewaySection) -> HttpConnectionManagerTracing | None:
    if section.otlp_endpoint is None:
        return None
    return HttpConnectionManagerTracing(
        random_sampling=Percent(value=section.trace_share * 100),
        max_path_tag_length=128,
        spawn_upstream_span=True,
        provider=TracingHttp(
            name="envoy.tracers.opentelemetry",
            typed_config=Any.pack(
                OpenTelemetryConfig(
                    service_name="enginehouse-envoy",
                    grpc_service=GrpcService(
                        envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=COLLECTOR_CLUSTER), timeout=timedelta(seconds=1)
                    ),
                )
            ),
        ),
    )


def _tls(edge: EdgeSection) -> TransportSocket | None:
    if edge.tls_certificate_file is None or edge.tls_key_file is None:
        return None
    return TransportSocket(
        name="envoy.transport_sockets.tls",
        typed_config=Any.pack(
            DownstreamTlsContext(
                common_tls_context=CommonTlsContext(
                    alpn_protocols=["h2", "http/1.1"],
                    tls_params=TlsParameters(tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2),
                    tls_certificates=[
                        TlsCertificate(
                            certificate_chain=DataSource(filename=str(edge.tls_certificate_file)),
                            private_key=DataSource(filename=str(edge.tls_key_file)),
                        )
                    ],
                )
            )
        ),
    )
