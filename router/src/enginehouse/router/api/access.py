"""Who calls an administrative method, and what they may see and change."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from enginehouse.api.router.v1 import grant_pb2
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.grants import GRANT_HEADER, GrantKeys, verify
from enginehouse.router.audit import Actor
from enginehouse.router.clock import Clock
from enginehouse.router.identity import Caller


class Right(enum.StrEnum):
    """The scope that a method needs. The scope `admin` is good for all of them."""

    ANYBODY = ""
    READ = "spend"
    KEYS = "keys"
    MANAGE = "manage"
    PLATFORM = "admin"


# What is neither here nor a read takes the scope "admin".
_RIGHTS: Mapping[str, Right] = MappingProxyType(
    {
        "AdminService/CreateKey": Right.KEYS,
        "AdminService/RevokeKey": Right.KEYS,
        "AdminService/SetBudget": Right.MANAGE,
        "AdminService/DeleteBudget": Right.MANAGE,
        # Looks at the scope "inference" itself.
        "FeedbackService/RecordFeedback": Right.ANYBODY,
        "IdentityService/GetCaller": Right.ANYBODY,
        "IdentityService/CreateUser": Right.MANAGE,
        "IdentityService/ListUsers": Right.READ,
        "IdentityService/SetUserRole": Right.MANAGE,
        "IdentityService/DisableUser": Right.MANAGE,
        "IdentityService/EnableUser": Right.MANAGE,
        "IdentityService/RotateKey": Right.KEYS,
        "IdentityService/CreateRunKey": Right.KEYS,
        "IdentityService/ListAudit": Right.MANAGE,
        "IdentityService/VerifyAudit": Right.PLATFORM,
    }
)


@dataclasses.dataclass(frozen=True, slots=True)
class Administrator:
    """The caller. One without `everything` sees and changes its own tenant alone.

    `key_id` is a key's id, or a user's for a token; `user` the name of the user that either acts for, if any.
    """

    tenant_id: str
    key_id: str
    everything: bool
    scopes: frozenset[str] = frozenset()
    user: str = ""
    request_id: str = ""

    @property
    def manages(self) -> bool:
        """True if it administers its tenant, and not only what it made itself."""
        return self.everything or "manage" in self.scopes

    def sees(self, tenant_id: str) -> bool:
        """Return whether what belongs to that tenant exists for the caller."""
        return self.everything or tenant_id == self.tenant_id

    def require_scopes(self, scopes: Sequence[str], what: str) -> None:
        """Nobody gives, or gets at, what they do not hold. Raises SCOPE_DENIED."""
        lacking = [] if self.everything else [scope for scope in scopes if scope not in self.scopes]
        if lacking:
            raise ServiceError(
                Reason.SCOPE_DENIED, f"{what} holds {', '.join(lacking)}, which the caller does not hold itself"
            )

    def tenant_filter(self, asked: str) -> str:
        """The tenant to which a read is narrowed; empty means all.

        Raises:
            ServiceError: SCOPE_DENIED for another's tenant.
        """
        if self.everything:
            return asked
        if asked not in ("", self.tenant_id):
            raise denied("reading another tenant's data")
        return self.tenant_id

    def tenant_of_change(self, asked: str) -> str:
        """The tenant in which something is made: the one asked for, else the caller's. Raises SCOPE_DENIED."""
        if asked and not self.sees(asked):
            raise denied("changing another tenant's data")
        return asked or self.tenant_id


class Access:
    """Tells who calls from the grant that the router issued for the call.

    Args:
        grant_keys: what grants are signed with.
        caller_of: the caller that a grant names, for the user that its key acts for; None if it is gone meanwhile.
        clock: milliseconds since 1970 UTC.
    """

    def __init__(
        self, *, grant_keys: GrantKeys, caller_of: Callable[[grant_pb2.Principal], Caller | None], clock: Clock
    ) -> None:
        self._grant_keys = grant_keys
        self._caller_of = caller_of
        self._clock = clock

    def of(self, context: Any, *, method: str, reads: bool = False) -> Administrator:
        """The caller of a method, if it may. `reads` says that the method changes nothing.

        Raises:
            ServiceError: GRANT_MISSING, GRANT_INVALID, GRANT_EXPIRED or SCOPE_DENIED.
        """
        caller = self._caller(context, method)
        right = _RIGHTS.get(_short(method), Right.READ if reads else Right.PLATFORM)
        if not caller.everything and right is not Right.ANYBODY and right.value not in caller.scopes:
            raise ServiceError(
                Reason.SCOPE_DENIED, f"{_short(method)} needs a key or a role with the scope {right.value!r}"
            )
        return caller

    def identify(self, context: Any, method: str) -> tuple[Actor, str]:
        """Who calls a method, allowed or not, and the request's id; somebody unknown without a good grant."""
        try:
            caller = self._caller(context, method)
        except ServiceError:
            return Actor(), ""
        return Actor(caller.tenant_id, caller.key_id, caller.user), caller.request_id

    def principal(self, context: Any, *, method: str) -> grant_pb2.Principal:
        """Whoever calls a method that any key may call. Raises GRANT_MISSING, GRANT_INVALID or GRANT_EXPIRED."""
        return self._grant(context, method).principal

    def _grant(self, context: Any, method: str) -> grant_pb2.Grant:
        token = ""
        for key, value in context.invocation_metadata() or ():
            if key == GRANT_HEADER:
                token = str(value)
        return verify(token, keys=self._grant_keys, method=method, now_ms=self._clock())

    def _caller(self, context: Any, method: str) -> Administrator:
        grant = self._grant(context, method)
        principal, scopes = grant.principal, frozenset(grant.principal.scopes)
        # Not the grant's own user: a client names that one.
        caller = self._caller_of(principal)
        user = caller.key.user_id if caller is not None else ""
        return Administrator(principal.tenant_id, principal.key_id, "admin" in scopes, scopes, user, grant.request_id)


def _short(method: str) -> str:
    service, _, name = method.rpartition("/")
    return f"{service.rpartition('.')[2]}/{name}"


def denied(what: str) -> ServiceError:
    """The refusal of something that needs the scope "admin"."""
    return ServiceError(Reason.SCOPE_DENIED, f"{what} needs a key with the scope 'admin'")
