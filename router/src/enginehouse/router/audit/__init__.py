"""The audit log: an append-only log in PostgreSQL whose entries seal each other."""

from enginehouse.router.audit._log import Actor, AuditEntry, AuditLog, AuditOutcome, AuditVerdict
from enginehouse.router.audit._recorder import AuditRecorder, Change, document_of

__all__ = ["Actor", "AuditEntry", "AuditLog", "AuditOutcome", "AuditRecorder", "AuditVerdict", "Change", "document_of"]
