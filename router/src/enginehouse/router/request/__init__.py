"""What a request asks for, read from its body in whatever form it comes: sizes and names, never meaning."""

from enginehouse.router.request._parse import first_message, parse_request, purpose_of, request_of
from enginehouse.router.request._request import MESSAGE_OVERHEAD, InferenceRequest, Purpose

__all__ = [
    "MESSAGE_OVERHEAD",
    "InferenceRequest",
    "Purpose",
    "first_message",
    "parse_request",
    "purpose_of",
    "request_of",
]
