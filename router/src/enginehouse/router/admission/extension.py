"""More money for requests that are being served, where the first reading of their size was too low."""

from __future__ import annotations

import contextlib
import math

from enginehouse.api.router.v1 import grant_pb2, usage_pb2
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError
from enginehouse.kit.grants import GrantKeys, authenticate, sign
from enginehouse.kit.pricing import MAX_NANOS
from enginehouse.router.admission import errors
from enginehouse.router.alerts import ExhaustionRecorder
from enginehouse.router.clock import Clock
from enginehouse.router.ledger import InsufficientBudget, Ledger, LedgerUnavailable

# Of what an engine waits for the answer, what may go by while a budget is waited for.
_SHARE_TO_WAIT = 0.8


class GrantExtender:
    """Extends the reservations of one replica, and signs their grants anew.

    Args:
        ledger: money.
        exhaustion: raises alerts for budgets that could not pay.
        grant_keys: what grants are signed with.
        clock: milliseconds since 1970 UTC.
    """

    def __init__(self, *, ledger: Ledger, exhaustion: ExhaustionRecorder, grant_keys: GrantKeys, clock: Clock) -> None:
        self._ledger = ledger
        self._exhaustion = exhaustion
        self._grant_keys = grant_keys
        self._clock = clock

    async def extend(self, request: usage_pb2.ExtendRequest, *, timeout_s: float = math.inf) -> str:
        """Return the grant with a cap that covers the need, or where all budgets have it at once, what is wanted.

        Waits for what is needed while it is in flight, before any request that is not served yet, but less long than
        the caller waits for the answer. Requests that hold all of a budget and each wait for more so wait no longer.

        Raises:
            ServiceError: GRANT_MISSING, GRANT_INVALID, GRANT_EXPIRED; INVALID_REQUEST for a need that is not positive
                or a model that the grant does not name; BUDGET_EXHAUSTED with the scope where a budget or the request's
                own bound does not cover the need; LEDGER_UNAVAILABLE where nothing can be reserved now.
        """
        grant = authenticate(request.grant, keys=self._grant_keys)
        candidate = next((entry for entry in grant.candidates if entry.model == request.model), None)
        if candidate is None:
            raise _invalid("model", f"the grant does not name the model {request.model[:128]!r}")
        if request.need_nanos <= 0:
            raise _invalid("need_nanos", f"must be positive, not {request.need_nanos}")
        now = self._clock()
        if grant.expires_at_ms <= now:
            raise ServiceError(
                Reason.GRANT_EXPIRED,
                f"the grant expired {(now - grant.expires_at_ms) / 1000:.3f} s ago, and nothing can be spent on it",
            )
        needed = candidate.cap_nanos + request.need_nanos
        if needed > MAX_NANOS:
            raise _invalid("need_nanos", f"{request.need_nanos} over the cap of {candidate.cap_nanos} is no amount")
        most = grant.max_nanos if grant.replica_address else candidate.cap_nanos
        if (most or MAX_NANOS) < needed or not grant.replica_address:
            raise errors.bounded(most, needed)
        if grant.replica_id != self._ledger.replica_id:
            raise errors.not_extended(LedgerUnavailable("the router that holds its reservation is gone"))
        wanted = min(most or MAX_NANOS, candidate.cap_nanos + max(request.need_nanos, request.want_nanos))
        wait_s = min(self._ledger.budget_wait_s, timeout_s * _SHARE_TO_WAIT)
        try:
            if wanted > needed:
                with contextlib.suppress(InsufficientBudget):
                    return await self._extended(grant, candidate, wanted, wait_s=0)
            return await self._extended(grant, candidate, needed, wait_s=wait_s)
        except InsufficientBudget as error:
            self._exhaustion.refused(error.budget.budget_id, error.budget.period.window_start_ms(now))
            raise errors.budget_exhausted(error, needed) from None
        except LedgerUnavailable as error:
            raise errors.not_extended(error) from None

    async def _extended(
        self, grant: grant_pb2.Grant, candidate: grant_pb2.GrantCandidate, cap_nanos: int, *, wait_s: float
    ) -> str:
        def signed() -> str:
            candidate.cap_nanos = cap_nanos
            return sign(grant, keys=self._grant_keys)

        return await self._ledger.extend(
            grant.grant_id, cap_nanos=cap_nanos, now_ms=self._clock(), sign=signed, wait_s=wait_s
        )


def _invalid(field: str, description: str) -> ServiceError:
    return ServiceError(
        Reason.INVALID_REQUEST, f"{field}: {description}", violations=[FieldViolation(field, description)]
    )
