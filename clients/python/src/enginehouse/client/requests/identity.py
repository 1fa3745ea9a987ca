"""Words of identity requests that must become the contract's enumerations."""

from __future__ import annotations

from collections.abc import Mapping

from enginehouse.api.router.v1 import identity_pb2

ROLES: Mapping[str, identity_pb2.Role.ValueType] = {
    "viewer": identity_pb2.ROLE_VIEWER,
    "developer": identity_pb2.ROLE_DEVELOPER,
    "admin": identity_pb2.ROLE_ADMIN,
    "owner": identity_pb2.ROLE_OWNER,
}
"""What a user may be in its tenant."""

OUTCOMES: Mapping[str, identity_pb2.AuditOutcome.ValueType] = {
    "": identity_pb2.AUDIT_OUTCOME_UNSPECIFIED,
    "done": identity_pb2.AUDIT_OUTCOME_DONE,
    "denied": identity_pb2.AUDIT_OUTCOME_DENIED,
    "failed": identity_pb2.AUDIT_OUTCOME_FAILED,
}
"""What came of what the audit log records."""


def role(word: str) -> identity_pb2.Role.ValueType:
    """The role of that name. Raises ValueError for another word."""
    if word not in ROLES:
        raise ValueError(f"role {word!r} must be one of {', '.join(ROLES)}")
    return ROLES[word]


def outcome(word: str) -> identity_pb2.AuditOutcome.ValueType:
    """The outcome of that name. Raises ValueError for another word."""
    if word not in OUTCOMES:
        raise ValueError(f"outcome {word!r} must be one of {', '.join(filter(None, OUTCOMES))}, or empty")
    return OUTCOMES[word]
