"""Envoy's own answers, in the three forms that clients expect: gRPC status, OpenAI's JSON, our JSON.

A refusal of the router passes untouched: its answer has the right form already.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any as Json

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    ComparisonFilterOp,
    GrpcStatusFilter,
    GrpcStatusFilterStatus,
    HeaderFilter,
    OrFilter,
    ResponseFlagFilter,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.core.v3 import (
    DataSource,
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
    RuntimeUInt32,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    LocalReplyConfig,
    ResponseMapper,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher
from envoy_data_plane.google.protobuf import Struct
from google.protobuf import json_format

from enginehouse.gateway.translate.names import ORIGINAL_PATH_HEADER
from enginehouse.gateway.translate.unknown_paths import UnknownPath, path_pattern, unknown_paths
from enginehouse.kit.errors import Reason, ServiceError, to_status
from enginehouse.kit.openai.errors import openai_error

# What a compressed body gets.
UNSUPPORTED_ENCODING_STATUS = 415
# Envoy marks with it what the authorization filter ends, by a refusal of the router or for want of an answer.
_AUTHORIZATION_FLAG = "UAEX"
# What the filter answers when the router gave none. No refusal of the router has this status.
NO_DECISION_STATUS = 502
_NOT_FOUND = 404
# To Envoy a 5xx of the router is no answer at all, so a refusal for want of an engine comes as another status, and its
# `grpc-status` says which it stands for.
_UNAVAILING = (
    (GrpcStatusFilterStatus.UNAVAILABLE, 503),
    (GrpcStatusFilterStatus.INTERNAL, 500),
    (GrpcStatusFilterStatus.UNIMPLEMENTED, 501),
    (GrpcStatusFilterStatus.DEADLINE_EXCEEDED, 504),
)


@dataclass(frozen=True, kw_only=True)
class _Fault:
    """An answer of Envoy's own: its status, the status that it gets, and its error."""

    status: int
    error: ServiceError
    answer: int | None = None
    no_decision: bool = False
    path: str | None = None
    # Envoy's own words say more than ours could, to JSON clients alone: a gRPC status must say the same thing twice.
    in_its_words: bool = False


def local_replies(
    *,
    max_request_bytes: int,
    max_media_bytes: int,
    first_byte_timeout_s: float,
    openai: Sequence[tuple[str, str]],
    ours: Sequence[tuple[str, str]],
) -> LocalReplyConfig:
    """Return the rules that give Envoy's own answers their form; the first that matches is taken.

    Args:
        max_request_bytes: the largest body of most requests.
        max_media_bytes: the largest body of requests with media.
        first_byte_timeout_s: how long an engine may send nothing.
        openai: verb and path template of each HTTP form of a call whose errors have OpenAI's form.
        ours: the same of the other calls.
    """
    is_grpc = _all(
        _header("content-type", StringMatcher(prefix="application/grpc")),
        _absent(ORIGINAL_PATH_HEADER),
    )
    is_openai = _openai(sorted({path_pattern(template) for _, template in openai}))
    mappers: list[ResponseMapper] = []
    for fault in _faults(max_request_bytes, max_media_bytes, first_byte_timeout_s):
        if not fault.no_decision:
            continue
        mappers += _shapes(fault, is_grpc, is_openai)
    refused = _flag(_AUTHORIZATION_FLAG)
    # Over gRPC the refusal is in headers; a body would replace its message.
    mappers.append(ResponseMapper(filter=_all(refused, is_grpc), body=DataSource(inline_string="")))
    mappers += [
        ResponseMapper(filter=_all(refused, _grpc_status(code)), status_code=status) for code, status in _UNAVAILING
    ]
    mappers.append(ResponseMapper(filter=refused))
    for fault in _faults(max_request_bytes, max_media_bytes, first_byte_timeout_s):
        if fault.no_decision:
            continue
        for_grpc, *for_json = _shapes(fault, is_grpc, is_openai)
        mappers.append(for_grpc)
        if fault.status == _NOT_FOUND:
            for unknown in unknown_paths(openai, ours):
                mappers += _unknown(unknown)
        mappers += for_json
    return LocalReplyConfig(mappers=mappers)


def _faults(max_request_bytes: int, max_media_bytes: int, first_byte_timeout_s: float) -> list[_Fault]:
    return [
        _Fault(
            status=503,
            path="/healthz",
            error=ServiceError(Reason.NO_ENDPOINT, "No router answers, so no request is admitted.", retry_after_s=1),
        ),
        _Fault(
            status=NO_DECISION_STATUS,
            answer=503,
            no_decision=True,
            error=ServiceError(
                Reason.NO_ENDPOINT, "The router did not answer, so nothing is admitted; try again.", retry_after_s=1
            ),
        ),
        _Fault(
            status=400,
            in_its_words=True,
            error=ServiceError(Reason.INVALID_REQUEST, "The request could not be read."),
        ),
        _Fault(
            status=404,
            error=ServiceError(
                Reason.UNKNOWN_METHOD, "No such path or method here; the API reference lists what there is."
            ),
        ),
        _Fault(
            status=408,
            error=ServiceError(
                Reason.DEADLINE_EXCEEDED, "The request did not arrive in time, or stood still too long."
            ),
        ),
        _Fault(
            status=413,
            error=ServiceError(
                Reason.REQUEST_TOO_LARGE,
                f"The request body is over {max_request_bytes} bytes, or with a recording over {max_media_bytes}; "
                "send a smaller one.",
            ),
        ),
        _Fault(
            status=UNSUPPORTED_ENCODING_STATUS,
            error=ServiceError(
                Reason.INVALID_REQUEST,
                "The request body is compressed (it has a content-encoding), which is not taken here; "
                "send it without compression and without that header.",
                metadata={"code": "unsupported_content_encoding"},
            ),
        ),
        _Fault(
            status=431,
            error=ServiceError(Reason.INVALID_REQUEST, "The request's headers are too large or too many; send fewer."),
        ),
        _Fault(
            status=502,
            answer=503,
            error=ServiceError(
                Reason.NO_ENDPOINT, "The engine's answer could not be understood; try again.", retry_after_s=1
            ),
        ),
        _Fault(
            status=503,
            error=ServiceError(
                Reason.NO_ENDPOINT, "No engine could take the request; try again shortly.", retry_after_s=1
            ),
        ),
        _Fault(
            status=504,
            error=ServiceError(
                Reason.UPSTREAM_FAILED,
                f"The engine sent nothing for {first_byte_timeout_s:g} s; try again.",
                retry_after_s=1,
            ),
        ),
        _Fault(status=500, error=ServiceError(Reason.INTERNAL, "The edge failed on this request; report it.")),
    ]


def _shapes(fault: _Fault, is_grpc: AccessLogFilter, is_openai: AccessLogFilter) -> list[ResponseMapper]:
    here = [_status(fault.status)]
    if fault.path is not None:
        here.append(_header(":path", StringMatcher(exact=fault.path)))
    if fault.no_decision:
        here.append(_flag(_AUTHORIZATION_FLAG))
    retry = [] if fault.error.retry_after_s is None else [_set("retry-after", f"{fault.error.retry_after_s:g}")]
    status = to_status(fault.error)
    plain: Mapping[str, Json] = json_format.MessageToDict(status, preserving_proto_field_name=True)
    openai: Mapping[str, Json] = json.loads(openai_error(fault.error)[1])
    answer = fault.answer
    return [
        ResponseMapper(
            filter=_all(*here, is_grpc),
            status_code=answer,
            body=DataSource(inline_string=fault.error.message),
            headers_to_add=[
                *retry,
                _set("grpc-status", str(status.code)),
                _set(
                    "grpc-status-details-bin",
                    base64.b64encode(status.SerializeToString(deterministic=True)).decode().rstrip("="),
                ),
            ],
        ),
        ResponseMapper(
            filter=_all(*here, is_openai),
            status_code=answer,
            headers_to_add=retry,
            body_format_override=_json(_worded(openai, "error", fault) if fault.in_its_words else openai),
        ),
        ResponseMapper(
            filter=_all(*here),
            status_code=answer,
            headers_to_add=retry,
            body_format_override=_json(_worded(plain, None, fault) if fault.in_its_words else plain),
        ),
    ]


def _unknown(unknown: UnknownPath) -> list[ResponseMapper]:
    here = [_status(_NOT_FOUND), _path(":path", unknown.pattern)]
    allow = [_set("allow", unknown.allow)] if unknown.allow else []
    mappers = [
        ResponseMapper(
            filter=_all(*here),
            status_code=unknown.status,
            headers_to_add=allow,
            body_format_override=_json(unknown.body),
        )
    ]
    if unknown.allow:
        # Asked without an origin, it is no question of a page's browser, which the CORS filter answers.
        asked = _header(":method", StringMatcher(exact="OPTIONS"))
        told = ResponseMapper(
            filter=_all(*here, asked), status_code=204, headers_to_add=allow, body=DataSource(inline_string="")
        )
        mappers.insert(0, told)
    return mappers


def _worded(body: Mapping[str, Json], inside: str | None, fault: _Fault) -> Mapping[str, Json]:
    message = f"{fault.error.message.rstrip('.')}: %LOCAL_REPLY_BODY%"
    if inside is None:
        return {**body, "message": message}
    return {**body, inside: {**body[inside], "message": message}}


def _json(body: Mapping[str, Json]) -> SubstitutionFormatString:
    return SubstitutionFormatString(json_format=Struct.from_dict(dict(body)), content_type="application/json")


def _openai(paths: Sequence[str]) -> AccessLogFilter:
    # An expression for each path: Envoy bounds how large one may be.
    headers = (ORIGINAL_PATH_HEADER, ":path")
    return AccessLogFilter(or_filter=OrFilter(filters=[_path(name, path) for path in paths for name in headers]))


def _path(header: str, pattern: str) -> AccessLogFilter:
    return _header(header, StringMatcher(safe_regex=RegexMatcher(regex=rf"^{pattern}(\?.*)?$")))


def _status(value: int) -> AccessLogFilter:
    return AccessLogFilter(
        status_code_filter=StatusCodeFilter(
            comparison=ComparisonFilter(
                op=ComparisonFilterOp.EQ,
                value=RuntimeUInt32(default_value=value, runtime_key=f"enginehouse.local_reply.{value}"),
            )
        )
    )


def _grpc_status(code: GrpcStatusFilterStatus) -> AccessLogFilter:
    return AccessLogFilter(grpc_status_filter=GrpcStatusFilter(statuses=[code]))


def _flag(flag: str) -> AccessLogFilter:
    return AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=[flag]))


def _header(name: str, matcher: StringMatcher) -> AccessLogFilter:
    return AccessLogFilter(header_filter=HeaderFilter(header=HeaderMatcher(name=name, string_match=matcher)))


def _absent(name: str) -> AccessLogFilter:
    return AccessLogFilter(header_filter=HeaderFilter(header=HeaderMatcher(name=name, present_match=False)))


def _all(*filters: AccessLogFilter) -> AccessLogFilter:
    if len(filters) == 1:
        return filters[0]
    return AccessLogFilter(and_filter=AndFilter(filters=list(filters)))


def _set(name: str, value: str) -> HeaderValueOption:
    return HeaderValueOption(
        header=HeaderValue(key=name, value=value),
        append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )
