"""The router's parts, put together: each function builds one domain and returns its parts. Nothing is started here."""

from enginehouse.router.wiring._api import ApiParts, AuditParts, build_api, build_audit
from enginehouse.router.wiring._domains import RouterParts, build_router
from enginehouse.router.wiring._environment import Environment, build_environment
from enginehouse.router.wiring._readings import build_readings

__all__ = [
    "ApiParts",
    "AuditParts",
    "Environment",
    "RouterParts",
    "build_api",
    "build_audit",
    "build_environment",
    "build_readings",
    "build_router",
]
