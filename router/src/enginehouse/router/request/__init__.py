"""Requests read from their bodies, in whatever form these come: sizes and names, never meaning."""

from enginehouse.router.request._parse import first_message, parse_request, read_request
from enginehouse.router.request._request import MAX_DETECTED, InferenceRequest, Task
from enginehouse.router.request._sample import sample_request

__all__ = [
    "MAX_DETECTED",
    "InferenceRequest",
    "Task",
    "first_message",
    "parse_request",
    "read_request",
    "sample_request",
]
