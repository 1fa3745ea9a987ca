"""Words of identity requests, which become the contract's enumerations."""

from __future__ import annotations

from collections.abc import Mapping

from enginehouse.api.router.v1 import identity_pb2

ROLES: Mapping[str, identity_pb2.Role.ValueType] = {
    "viewer": identity_pb2.ROLE_VIEWER,
    "developer": identity_pb2.ROLE_DEVELOPER,
    "admin": identity_pb2.ROLE_ADMIN,
    "owner": identity_pb2.ROLE_OWNER,
}
"""The roles of a user in its tenant."""

OUTCOMES: Mapping[str, identity_pb2.AuditOutcome.ValueType] = {
    "": identity_pb2.AUDIT_OUTCOME_UNSPECIFIED,
    "done": identity_pb2.AUDIT_OUTCOME_DONE,
    "denied": identity_pb2.AUDIT_OUTCOME_DENIED,
    "failed": identity_pb2.AUDIT_OUTCOME_FAILED,
}
"""The outcomes of an action in the audit log."""


def role(word: str) -> identity_pb2.Role.ValueType:
    """Return the role of that name. Raise ValueError for an unknown one."""
    if word not in ROLES:
        raise ValueError(f"unknown role {word!r}: expected one of {', '.join(ROLES)}")
    return ROLES[word]


def outcome(word: str) -> identity_pb2.AuditOutcome.ValueType:
    """Return the outcome of that name. Raise ValueError for an unknown one."""
    if word not in OUTCOMES:
        raise ValueError(f"unknown outcome {word!r}: expected one of {', '.join(filter(None, OUTCOMES))}, or empty")
    return OUTCOMES[word]
