"""The errors that a router's answers to checks carry."""

from __future__ import annotations

import base64

import httpx
from google.rpc import status_pb2

from enginehouse.kit.errors import ServiceError, from_status


def error_of(response: httpx.Response) -> ServiceError:
    """The error of a refusal, from the headers that gRPC clients read."""
    encoded = response.headers["grpc-status-details-bin"]
    error = from_status(status_pb2.Status.FromString(base64.b64decode(encoded + "=" * (-len(encoded) % 4))))
    assert error is not None
    assert str(error.code.value[0]) == response.headers["grpc-status"]
    return error


def reason_of(response: httpx.Response) -> str:
    """The reason of a refusal."""
    return error_of(response).reason.value
