"""Scopes, and the roles that stand for sets of them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType


class Role(enum.StrEnum):
    """A user's role in its tenant; each role includes the ones before it."""

    VIEWER = "viewer"
    DEVELOPER = "developer"
    ADMIN = "admin"
    OWNER = "owner"


# inference: call models. spend: read one's tenant. keys: create keys of one's own, and keys of runs. manage: administer
# one's tenant. owner: create and change its owners. admin: the whole platform, every tenant, prices and policies.
SCOPES = ("inference", "spend", "keys", "manage", "owner", "admin")

ROLE_SCOPES: Mapping[Role, tuple[str, ...]] = MappingProxyType(
    {
        Role.VIEWER: ("spend",),
        Role.DEVELOPER: ("inference", "spend", "keys"),
        Role.ADMIN: ("inference", "spend", "keys", "manage"),
        Role.OWNER: ("inference", "spend", "keys", "manage", "owner"),
    }
)
