"""Recording of every administrative change and every denied attempt in the audit log.

A change that knows of the log writes its entry, with what was before and after, in its own transaction. For one that
does not, an entry with the request follows when it is done. Denials are gathered and written a moment later: nobody can
make the router write faster by being refused more often.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import grpc
import orjson
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from sqlalchemy.ext.asyncio import AsyncConnection

from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.server import AddServicer
from enginehouse.kit.tasks import BackgroundTask
from enginehouse.router.audit._log import Actor, AuditEntry, AuditLog, AuditOutcome
from enginehouse.router.database import DatabaseUnavailable, translate_db_errors

_log = logging.getLogger(__name__)

_FLUSH_S = 1.0
# Different denials between two writes; more are counted together under the last one's name.
_MAX_DENIALS = 200
_MAX_WAITING = 10_000
_MAX_TEXT = 4096
# Methods that change nothing, by how their names begin.
_READS = ("List", "Get", "Query", "Explain", "Export", "Verify", "Watch", "Check", "Summarize")
_PACKAGE = "enginehouse.api.router.v1."
# What engines report, and what clients send along with their requests, administers nothing.
_UNRECORDED = (
    "/enginehouse.api.router.v1.UsageService/",
    "/enginehouse.api.router.v1.AnswerService/",
    "/enginehouse.api.router.v1.FeedbackService/RecordFeedback",
    "/enginehouse.api.router.v1.FlagService/EvaluateFlags",
)
_DENIED = (Reason.SCOPE_DENIED, Reason.GRANT_MISSING, Reason.GRANT_INVALID, Reason.GRANT_EXPIRED)

Identify = Callable[[Any, str], tuple[Actor, str]]
"""Tells from a call's context and method who calls, and the request's id."""


@dataclasses.dataclass(slots=True)
class Change:
    """The call under way: who, what, and whether it has written its entry."""

    actor: Actor
    request_id: str
    action: str
    changes: bool
    written: bool = False


class AuditRecorder:
    """Records calls of administrative services.

    Args:
        log: where entries go.
        identify: who calls.
    """

    def __init__(self, *, log: AuditLog, identify: Identify) -> None:
        self._audit = log
        self._identify = identify
        self._current: contextvars.ContextVar[Change | None] = contextvars.ContextVar("change", default=None)
        self._denials: dict[AuditEntry, int] = {}
        self._waiting: list[AuditEntry] = []
        self._task = BackgroundTask(self._run, name="audit-denials")

    def start(self) -> None:
        """Start writing denials."""
        self._task.start()

    async def close(self) -> None:
        """Stop, and write the entries that wait."""
        await self._task.close()
        await self.flush()

    def recorded(self, add: AddServicer) -> AddServicer:
        """Add a servicer as `add` does; if it is an administrative one, its calls are on the record."""
        return lambda server: add(_Recording(server, self))  # type: ignore[arg-type]

    async def write(
        self,
        connection: AsyncConnection,
        *,
        tenant_id: str,
        target_id: str,
        before: Mapping[str, object] | None = None,
        after: Mapping[str, object] | None = None,
    ) -> None:
        """Write the entry of the call under way, in its transaction; call it last there."""
        change = self._current.get()
        if change is None:
            change = Change(Actor(), "", "router/internal", True)
        entry = AuditEntry(
            tenant_id=tenant_id,
            actor_tenant_id=change.actor.tenant_id,
            actor_id=change.actor.actor_id,
            actor_user=change.actor.user,
            request_id=change.request_id,
            action=change.action,
            target_id=target_id,
            outcome=AuditOutcome.DONE,
            before_json=_json(before),
            after_json=_json(after),
        )
        await self._audit.append([entry], connection)
        change.written = True

    def denied(self, actor: Actor, *, action: str, reason: str, asked: Message | None = None) -> None:
        """Note a denied attempt; equal ones between two writes become one entry that says how many they were."""
        entry = AuditEntry(
            tenant_id=actor.tenant_id,
            actor_tenant_id=actor.tenant_id,
            actor_id=actor.actor_id,
            actor_user=actor.user,
            request_id="",
            action=action[:256],
            target_id=_target(asked),
            outcome=AuditOutcome.DENIED,
            reason=reason,
        )
        if len(self._denials) >= _MAX_DENIALS and entry not in self._denials:
            entry = dataclasses.replace(entry, actor_id="", actor_user="", target_id="", action="(several)")
        self._denials[entry] = self._denials.get(entry, 0) + 1

    async def flush(self) -> None:
        """Write the entries that wait; while PostgreSQL is unavailable they go on waiting."""
        denials, self._denials = self._denials, {}
        self._waiting += [
            dataclasses.replace(entry, after_json=_json({"times": times})) for entry, times in denials.items()
        ]
        if len(self._waiting) > _MAX_WAITING:
            _log.error("audit entries are lost", extra={"lost": len(self._waiting) - _MAX_WAITING})
            del self._waiting[: len(self._waiting) - _MAX_WAITING]
        batch = self._waiting[:_MAX_DENIALS]
        if not batch:
            return
        try:
            with translate_db_errors():
                await self._audit.append(batch)
            del self._waiting[: len(batch)]
        except DatabaseUnavailable as error:
            _log.warning("audit entries wait for the database", extra={"error": str(error), "waiting": len(batch)})

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_S)
            try:
                await self.flush()
            except Exception:
                _log.exception("could not write audit entries")

    async def call(
        self, method: Callable[[Any, Any], Awaitable[Any]], name: str, request: Message, context: Any
    ) -> Any:
        """Call a method of that full name ("/package.Service/Method") on the record."""
        change = self._begin(name, context)
        try:
            answer = await method(request, context)
        except ServiceError as error:
            self._refused(change, request, error)
            raise
        if change.changes and not change.written:
            entry = _followed(change, request, AuditOutcome.DONE, "", answer)
            try:
                with translate_db_errors():
                    await self._audit.append([entry])
            except DatabaseUnavailable:
                self._waiting.append(entry)
        return answer

    async def stream(
        self, method: Callable[[Any, Any], AsyncIterator[Any]], name: str, request: Message, context: Any
    ) -> AsyncIterator[Any]:
        """The same for a method that streams, which changes nothing."""
        change = self._begin(name, context)
        try:
            async for answer in method(request, context):
                yield answer
        except ServiceError as error:
            self._refused(change, request, error)
            raise

    def _begin(self, name: str, context: Any) -> Change:
        actor, request_id = self._identify(context, name)
        service, _, method = name[1:].partition("/")
        change = Change(actor, request_id, f"{service.rpartition('.')[2]}/{method}", not method.startswith(_READS))
        self._current.set(change)
        return change

    def _refused(self, change: Change, request: Message, error: ServiceError) -> None:
        if error.reason in _DENIED:
            self.denied(change.actor, action=change.action, reason=error.reason.value, asked=request)
        elif change.changes:
            self._waiting.append(_followed(change, request, AuditOutcome.FAILED, error.reason.value))


class _Recording:
    """Stands in for a server while a servicer is added, to put the recorder before each handler."""

    def __init__(self, server: Any, recorder: AuditRecorder) -> None:
        self._server = server
        self._recorder = recorder

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Generated code adds the same handlers both ways; the registered ones count."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Add a service's handlers."""
        if service.startswith(_PACKAGE):
            handlers = {name: self._recorded(f"/{service}/{name}", one) for name, one in handlers.items()}
        self._server.add_registered_method_handlers(service, handlers)

    def _recorded(self, name: str, handler: Any) -> Any:
        if name.startswith(_UNRECORDED):
            return handler
        recorder = self._recorder
        codec = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                functools.partial(recorder.call, handler.unary_unary, name), **codec
            )
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(
                functools.partial(recorder.stream, handler.unary_stream, name), **codec
            )
        return handler


def document_of(message: Message) -> dict[str, object]:
    """A message as the log keeps it: by field name, without secrets."""
    document: dict[str, object] = MessageToDict(message, preserving_proto_field_name=True)
    return {name: value for name, value in document.items() if "secret" not in name}


def _followed(
    change: Change, request: Message, outcome: AuditOutcome, reason: str, answer: Message | None = None
) -> AuditEntry:
    return AuditEntry(
        tenant_id=getattr(request, "tenant_id", "") or change.actor.tenant_id,
        actor_tenant_id=change.actor.tenant_id,
        actor_id=change.actor.actor_id,
        actor_user=change.actor.user,
        request_id=change.request_id,
        action=change.action,
        target_id=_target(request) or _target(answer),
        outcome=outcome,
        reason=reason,
        after_json=_json(document_of(request)),
    )


def _target(message: Message | None) -> str:
    """The id of what a request is about: its first field that is one, but for the tenant's."""
    if message is None:
        return ""
    names = [field.name for field in message.DESCRIPTOR.fields if field.name.endswith("_id")]
    for name in sorted(names, key=lambda name: name == "tenant_id"):
        value = getattr(message, name)
        if isinstance(value, str) and value:
            return value[:256]
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None and not field.is_repeated and message.HasField(field.name):
            found = _target(getattr(message, field.name))
            if found:
                return found
    return ""


def _json(document: Mapping[str, object] | None) -> str:
    if not document:
        return ""
    text = orjson.dumps(document, option=orjson.OPT_SORT_KEYS, default=str).decode()
    # Cut, it is no JSON any more; so it says what it is.
    return text if len(text) <= _MAX_TEXT else orjson.dumps({"cut": text[:_MAX_TEXT]}).decode()
