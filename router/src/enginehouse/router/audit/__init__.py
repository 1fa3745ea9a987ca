"""Who changed what: an append-only log in PostgreSQL whose entries seal each other."""

from enginehouse.router.audit._log import Actor, AuditEntry, AuditLog, AuditVerdict, Outcome
from enginehouse.router.audit._recorder import Change, Recorder, document_of

__all__ = ["Actor", "AuditEntry", "AuditLog", "AuditVerdict", "Change", "Outcome", "Recorder", "document_of"]
