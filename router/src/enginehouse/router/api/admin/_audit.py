"""The audit log as administration reads it."""

from __future__ import annotations

import binascii

from enginehouse.api.router.v1 import identity_pb2 as pb
from enginehouse.kit.validation import Checks
from enginehouse.router.api.access import Administrator
from enginehouse.router.api.fields import check_id
from enginehouse.router.api.paging import ordinal_start, page_size, page_token
from enginehouse.router.audit import AuditEntry, AuditLog, AuditOutcome

_OUTCOMES = {
    pb.AUDIT_OUTCOME_DONE: AuditOutcome.DONE,
    pb.AUDIT_OUTCOME_DENIED: AuditOutcome.DENIED,
    pb.AUDIT_OUTCOME_FAILED: AuditOutcome.FAILED,
}
_NUMBERS = {outcome: number for number, outcome in _OUTCOMES.items()}


class AuditAdmin:
    """Lists and verifies."""

    def __init__(self, *, log: AuditLog) -> None:
        self._log = log

    async def listed(self, request: pb.ListAuditRequest, caller: Administrator) -> pb.ListAuditResponse:
        """List entries, newest first; without the scope "admin", those of one's own tenant."""
        checks = Checks()
        known = request.outcome in _OUTCOMES or not request.outcome
        checks.require(known, "outcome", f"{request.outcome} must be DONE, DENIED or FAILED")
        for field in ("from_ms", "until_ms"):
            checks.require(getattr(request, field) >= 0, field, f"{getattr(request, field)} must not be negative")
        checks.done()
        size = page_size(request.page_size)
        tenant_id = caller.tenant_filter(request.tenant_id)
        equal = {"actor_id": request.actor_id, "action": request.action, "target_id": request.target_id}
        for field, value in {"tenant_id": tenant_id, **equal}.items():
            check_id(field, value)
        if request.outcome:
            equal["outcome"] = _OUTCOMES[request.outcome].value
        listing = "\t".join(("audit", tenant_id, *equal.values(), str(request.from_ms), str(request.until_ms)))
        found = await self._log.listed(
            tenant_id=tenant_id,
            equal=equal,
            from_ms=request.from_ms,
            until_ms=request.until_ms,
            before=ordinal_start(request.page_token, listing),
            count=size + 1,
        )
        more = len(found) > size
        found = found[:size]
        return pb.ListAuditResponse(
            entries=[_message(entry) for entry in found],
            next_page_token=page_token(listing, str(found[-1].sequence)) if more else "",
        )

    async def verify(self, request: pb.VerifyAuditRequest) -> pb.VerifyAuditResponse:
        """Read the whole log. Raises INVALID_REQUEST for a seal that is none."""
        checks = Checks()
        checks.require(request.expected_sequence >= 0, "expected_sequence", "must not be negative")
        try:
            seal = binascii.unhexlify(request.expected_seal)
        except ValueError:
            seal = b""
        checks.require(
            bool(request.expected_sequence) == (len(seal) == 32),
            "expected_seal",
            "must be the 64 hexadecimal digits of the entry that expected_sequence names",
        )
        checks.done()
        verdict = await self._log.verify(expected_sequence=request.expected_sequence, expected_seal=seal)
        return pb.VerifyAuditResponse(
            whole=not verdict.problem,
            entries=verdict.entries,
            head_sequence=verdict.head_sequence,
            head_seal=verdict.head_seal.hex() if verdict.head_sequence else "",
            problem=verdict.problem,
        )


def _message(entry: AuditEntry) -> pb.AuditEntry:
    return pb.AuditEntry(
        sequence=entry.sequence,
        at_ms=entry.at_ms,
        tenant_id=entry.tenant_id,
        actor_tenant_id=entry.actor_tenant_id,
        actor_id=entry.actor_id,
        actor_user=entry.actor_user,
        request_id=entry.request_id,
        action=entry.action,
        target_id=entry.target_id,
        outcome=_NUMBERS[entry.outcome],
        reason=entry.reason,
        before_json=entry.before_json,
        after_json=entry.after_json,
        seal=entry.seal.hex(),
    )
