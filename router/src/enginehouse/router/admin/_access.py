"""Who calls an administrative method, and what they may see."""

from __future__ import annotations

import dataclasses
from typing import Any

from enginehouse.api.router.v1 import grant_pb2
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.grants import GRANT_HEADER, GrantKeys, verify
from enginehouse.router.clock import Clock


@dataclasses.dataclass(frozen=True, slots=True)
class Administrator:
    """The caller. One without `everything` sees and changes nothing but reads of its own tenant."""

    tenant_id: str
    key_id: str
    everything: bool

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


class Access:
    """Tells who calls from the grant that the router issued for the call."""

    def __init__(self, *, grant_keys: GrantKeys, clock: Clock) -> None:
        self._grant_keys = grant_keys
        self._clock = clock

    def of(self, context: Any, *, method: str, reads: bool) -> Administrator:
        """The caller of a method. `reads` methods take a key with `spend` alone.

        Raises:
            ServiceError: GRANT_MISSING, GRANT_INVALID, GRANT_EXPIRED or SCOPE_DENIED.
        """
        principal = self.principal(context, method=method)
        scopes = set(principal.scopes)
        if "admin" not in scopes and not (reads and "spend" in scopes):
            raise denied(method.rpartition("/")[2])
        return Administrator(principal.tenant_id, principal.key_id, "admin" in scopes)

    def principal(self, context: Any, *, method: str) -> grant_pb2.Principal:
        """Whoever calls a method that any key may call. Raises GRANT_MISSING, GRANT_INVALID or GRANT_EXPIRED."""
        token = ""
        for key, value in context.invocation_metadata() or ():
            if key == GRANT_HEADER:
                token = str(value)
        return verify(token, keys=self._grant_keys, method=method, now_ms=self._clock()).principal


def denied(what: str) -> ServiceError:
    """The refusal of something that needs the scope "admin"."""
    return ServiceError(Reason.SCOPE_DENIED, f"{what} needs a key with the scope 'admin'")
