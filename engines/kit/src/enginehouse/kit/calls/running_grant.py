"""The grant of the running call, for services that spend nothing and so record nothing."""

from __future__ import annotations

from enginehouse.api.router.v1.grant_pb2 import Grant
from enginehouse.kit.current_call import current_call
from enginehouse.kit.grants import GRANT_HEADER, GrantKeys, verify


def running_grant(*, keys: GrantKeys, now_ms: int) -> Grant:
    """Return the grant of the call that the running handler serves, verified for its method and time.

    From here on the handler's log lines name the request and its tenant.

    Raises:
        ServiceError: GRANT_MISSING, GRANT_INVALID or GRANT_EXPIRED.
    """
    current = current_call.get()
    if current is None:
        raise RuntimeError("running_grant() works only in handlers that an EngineServer runs")
    grant = verify(current.header(GRANT_HEADER), keys=keys, method=current.method, now_ms=now_ms)
    current.request_id = grant.request_id
    current.tenant = grant.principal.tenant_id
    return grant
