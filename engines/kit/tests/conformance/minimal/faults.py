"""The wrong engines: for each rule, the minimal engine with one fault, and the words in which the suite finds it."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hmac
import uuid
from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.api.router.v1 import usage_pb2
from enginehouse.api.router.v1.grant_pb2 import Grant, GrantCandidate
from engines.kit.tests.conformance.minimal import engine as engines
from engines.kit.tests.conformance.minimal.engine import Engine
from engines.kit.tests.conformance.minimal.errors import CallError
from engines.kit.tests.conformance.minimal.grants import Grants
from engines.kit.tests.conformance.minimal.lease import Lease
from engines.kit.tests.conformance.minimal.reports import Reporter, Status
from engines.kit.tests.conformance.minimal.spool import Accepted, Spool, now_ms


@dataclasses.dataclass(frozen=True)
class Fault:
    """A fault: changes the engine's classes, and what the broken rule says of it."""

    apply: Callable[[], None]
    says: str


FAULTS: dict[str, Fault] = {}


def fault(rule: str, says: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def add(apply: Callable[[], None]) -> Callable[[], None]:
        FAULTS[rule] = Fault(apply, says)
        return apply

    return add


def replaced(rule: str, says: str, owner: Any, name: str) -> Callable[[Any], Any]:
    """The fault is a method of a class."""

    def add(method: Any) -> Any:
        FAULTS[rule] = Fault(lambda: setattr(owner, name, method), says)
        return method

    return add


def nothing(*arguments: Any, **named: Any) -> None:
    """A step that is left out."""


async def nothing_later(*arguments: Any, **named: Any) -> None:
    """A step that is left out."""


# Discovery ------------------------------------------------------------------------------------------------------------


@replaced("discovery.health", "the health of enginehouse.api.inference.v1.GenerationService", Engine, "begin_health")
async def health_of_the_whole_alone(self: Engine, servicer: HealthServicer) -> None:
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)


@replaced("discovery.health_unknown", "of an unknown service is SERVING", HealthServicer, "Check")
async def health_without_looking(self: Any, request: Any, context: Any) -> health_pb2.HealthCheckResponse:
    return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


@replaced("discovery.services", "reflection does not list", Engine, "described")
def lists_itself_alone(self: Engine) -> list[str]:
    return [engines.REFLECTION]


@replaced("discovery.descriptors", "reflection does not describe", ReflectionServicer, "_file_containing_symbol")
def describes_nothing(self: Any, symbol: str, *others: Any) -> reflection_pb2.ServerReflectionResponse:
    error = reflection_pb2.ErrorResponse(error_code=5, error_message="not found")
    return reflection_pb2.ServerReflectionResponse(error_response=error)


# Messages -------------------------------------------------------------------------------------------------------------


@replaced("message.answered", "ends with OK and without a message", Engine, "generate")
async def generates_nothing(self: Engine, request: Any, accepted: Accepted) -> Any:
    for message in ():
        yield message


@fault("message.granted", "ListModels has no task; under a grant that names no model it ends with")
def needs_a_model_for_everything() -> None:
    begin = Engine.__init__

    def begin_without_free(self: Engine, **named: Any) -> None:
        begin(self, **named)
        self.free = set()

    Engine.__init__ = begin_without_free  # type: ignore[method-assign]


@replaced("message.unknown_fields", "with an unknown field is refused", Engine, "parse")
def refuses_unknown_fields(self: Engine, kind: Any, data: bytes) -> Any:
    request, known = kind.FromString(data), kind.FromString(data)
    known.DiscardUnknownFields()
    if known != request or known.ByteSize() != request.ByteSize():
        raise CallError("INVALID_REQUEST", "unknown fields")
    return request


@replaced("message.damaged", "with noise is refused with UNKNOWN", Engine, "parse")
def crashes_on_noise(self: Engine, kind: Any, data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError:
        raise RuntimeError("unexpected") from None


FAULTS["message.oversized"] = Fault(
    lambda: setattr(Engine, "check_size", nothing), "a message just over the limit is answered"
)


@fault("message.slow_reader", "while another caller does not read")
def serves_one_after_the_other() -> None:
    lock, run = asyncio.Lock(), Engine.run

    async def run_alone(self: Engine, *arguments: Any) -> None:
        async with lock:
            await run(self, *arguments)

    Engine.run = run_alone  # type: ignore[method-assign,assignment]
    Engine.word_s = 0.02


# Grants ---------------------------------------------------------------------------------------------------------------


@fault("grant.missing", "without a grant is answered")
def needs_no_grant() -> None:
    verify = Grants.verify

    def invent(self: Grants, token: str, *, method: str, now_ms: int) -> Grant:
        if token:
            return verify(self, token, method=method, now_ms=now_ms)
        model = GrantCandidate(model=engines.MODEL, cap_nanos=1)
        return Grant(grant_id=uuid.uuid4().hex, method=method, candidates=[model], expires_at_ms=now_ms + 60_000)

    Grants.verify = invent  # type: ignore[method-assign]


@replaced("grant.malformed", "with a grant of version v2", Grants, "split")
def ignores_the_version(self: Grants, token: str) -> list[str]:
    parts = token.split(".")
    if len(parts) != 4:
        raise CallError("GRANT_INVALID", "malformed")
    return ["v1", *parts[1:]]


FAULTS["grant.forged"] = Fault(
    lambda: setattr(Grants, "check_signature", nothing), "with a grant signed with another secret"
)


@fault("grant.unknown_key", "with a grant of an unknown key")
def trusts_unknown_keys() -> None:
    check = Grants.check_signature

    def check_known(self: Grants, secret: bytes, signed: str, signature: str) -> None:
        if secret:
            check(self, secret, signed, signature)

    Grants.secret = lambda self, key_id: self.secrets.get(key_id, b"")  # type: ignore[method-assign]
    Grants.check_signature = check_known  # type: ignore[method-assign]


@replaced("grant.respelled", "with a padded signature", Grants, "check_signature")
def compares_bytes(self: Grants, secret: bytes, signed: str, signature: str) -> None:
    told = base64.urlsafe_b64decode(signature.rstrip("=") + "=" * (-len(signature.rstrip("=")) % 4))
    if not hmac.compare_digest(hmac.digest(secret, signed.encode(), "sha256"), told):
        raise CallError("GRANT_INVALID", "the signature does not hold")


@fault("grant.rotated", "signed with key 'conformance-2' of the keys file is refused")
def knows_the_first_key() -> None:
    begin = Grants.__init__

    def begin_with_one(self: Grants, path: Any) -> None:
        begin(self, path)
        self.secrets = dict(list(self.secrets.items())[:1])

    Grants.__init__ = begin_with_one  # type: ignore[method-assign]


for left_out, rule, words in (
    ("check_method", "grant.method", "with a grant for '/"),
    ("check_id", "grant.no_id", "with a grant without an id"),
    ("check_accept_by", "grant.accept_by", "five seconds after accept_by_ms"),
    ("check_expiry", "grant.expires", "five seconds after expires_at_ms"),
    ("check_window", "grant.window", "with a grant issued two minutes ago"),
):
    FAULTS[rule] = Fault(lambda left_out=left_out: setattr(Grants, left_out, nothing), words)  # type: ignore[misc]

FAULTS["grant.replayed"] = Fault(
    lambda: setattr(Spool, "check_unused", nothing), "with a grant that was used is answered"
)


@fault("grant.raced", "8 calls with one grant at the same time were served")
def remembers_at_the_end() -> None:
    note, finish = Spool.note, Spool.finish

    def note_later(self: Spool, accepted: Accepted) -> None:
        note(self, accepted)
        self.used.discard(accepted.grant.grant_id)

    def finish_and_remember(self: Spool, accepted: Accepted, outcome: Any) -> None:
        self.used.add(accepted.grant.grant_id)
        finish(self, accepted, outcome)

    Spool.note, Spool.finish = note_later, finish_and_remember  # type: ignore[method-assign]


@replaced("grant.model_absent", "is refused with PERMISSION_DENIED GRANT_INVALID", Engine, "choose")
def calls_it_invalid(self: Engine, grant: Any, token: str) -> str:
    if any(candidate.model == engines.MODEL for candidate in grant.candidates):
        return engines.MODEL
    raise CallError("GRANT_INVALID", "no model of the grant is served")


@replaced("grant.model_absent_reported", "no usage record", Engine, "choose")
def refuses_in_silence(self: Engine, grant: Any, token: str) -> str:
    if any(candidate.model == engines.MODEL for candidate in grant.candidates):
        return engines.MODEL
    raise CallError("NO_ENDPOINT", "no model of the grant is served")


FAULTS["grant.candidates"] = Fault(
    lambda: setattr(Engine, "leading", lambda self, accepted: ()), "x-enginehouse-model is None"
)


@fault("grant.unknown_fields", "a grant with an unknown field is refused")
def refuses_later_grants() -> None:
    authenticate = Grants.authenticate

    def strictly(self: Grants, token: str) -> Grant:
        grant, known = authenticate(self, token), authenticate(self, token)
        known.DiscardUnknownFields()
        if known.ByteSize() != grant.ByteSize():
            raise CallError("GRANT_INVALID", "unknown fields")
        return grant

    Grants.authenticate = strictly  # type: ignore[method-assign]


# Errors ---------------------------------------------------------------------------------------------------------------


@fault("error.shape", "the Status has 2 ErrorInfos")
def says_it_twice() -> None:
    details = CallError.details
    CallError.details = lambda self: [*details(self), details(self)[0]]  # type: ignore[method-assign]


@fault("error.fields", "is refused without a BadRequest")
def names_no_field() -> None:
    details = CallError.details
    CallError.details = lambda self: details(self)[:1]  # type: ignore[method-assign]


@fault("error.unknown_method", "is refused with UNIMPLEMENTED without a reason")
def leaves_unknown_methods_to_grpc() -> None:
    service = Engine.service

    def served(self: Engine, details: Any) -> Any:
        return service(self, details) if details.method in self.methods else None

    Engine.service = served  # type: ignore[method-assign]


@fault("error.openai", "the trailer says HTTP 500")
def always_500() -> None:
    openai = CallError.openai
    CallError.openai = lambda self: "500;" + openai(self).partition(";")[2]  # type: ignore[method-assign]


# Caps -----------------------------------------------------------------------------------------------------------------


@fault("cap.cost", "rounded up once, is")
def rounds_each_unit() -> None:
    def cost(self: Accepted) -> int:
        prices = {price.unit: price.nanos_per_million for price in self.candidate.prices} if self.candidate else {}
        return sum(-(-prices.get(unit, 0) * amount // 1_000_000) for unit, amount in self.amounts.items())  # type: ignore[call-overload]

    Accepted.cost_nanos = property(cost)  # type: ignore[method-assign,assignment]


@fault("cap.free_units", "is reported without any unit")
def forgets_free_units() -> None:
    count = Spool.count

    def count_priced(self: Spool, accepted: Accepted, unit: int, amount: int) -> None:
        candidate = accepted.candidate
        if candidate is not None and any(price.unit == unit for price in candidate.prices):
            count(self, accepted, unit, amount)

    Spool.count = count_priced  # type: ignore[method-assign]


FAULTS["cap.trailer"] = Fault(
    lambda: setattr(Engine, "told_cost", lambda self, accepted: "0"), "x-enginehouse-cost-nanos of Generate is '0'"
)


@replaced("cap.whole", "under a cap of", Engine, "affords")
def keeps_a_reserve(self: Engine, candidate: GrantCandidate, numerator: int) -> bool:
    return numerator * 2 <= candidate.cap_nanos * 1_000_000


@replaced("cap.bound", "spends", Engine, "affords")
def ignores_the_cap(self: Engine, candidate: GrantCandidate, numerator: int) -> bool:
    return True


@replaced("cap.exact", "stops before the cap is spent", Engine, "affords")
def stops_two_units_early(self: Engine, candidate: GrantCandidate, numerator: int) -> bool:
    dearest = max([0, *(price.nanos_per_million for price in candidate.prices)])
    return numerator + 2 * dearest <= candidate.cap_nanos * 1_000_000


# Ends -----------------------------------------------------------------------------------------------------------------

FAULTS["end.cancelled"] = Fault(
    lambda: setattr(Engine, "left", usage_pb2.OUTCOME_COMPLETED), "is reported as OUTCOME_COMPLETED"
)


@fault("end.deadline", "no usage record")
def forgets_who_left() -> None:
    finish = Spool.finish

    def finish_answers(self: Spool, accepted: Accepted, outcome: Any) -> None:
        if outcome == usage_pb2.OUTCOME_CANCELLED:
            del self.open[accepted.reference]
        else:
            finish(self, accepted, outcome)

    Spool.finish = finish_answers  # type: ignore[method-assign]


FAULTS["end.expired"] = Fault(
    lambda: setattr(Engine, "expired", lambda self, accepted: False),
    "a call whose grant expired is reported as OUTCOME_COMPLETED",
)


# Usage ----------------------------------------------------------------------------------------------------------------


@fault("usage.reported", "says that the call ran from")
def reports_no_times() -> None:
    record = Spool.record

    def timeless(self: Spool, accepted: Accepted, outcome: Any) -> usage_pb2.UsageRecord:
        made = record(self, accepted, outcome)
        made.started_at_ms = made.ended_at_ms = 0
        return made

    Spool.record = timeless  # type: ignore[method-assign]


@fault("usage.units", "which the method's options do not declare")
def invents_units() -> None:
    record = Spool.record

    def with_words(self: Spool, accepted: Accepted, outcome: Any) -> usage_pb2.UsageRecord:
        made = record(self, accepted, outcome)
        made.usage.units.add(name="words", amount=1)
        return made

    Spool.record = with_words  # type: ignore[method-assign]


@fault("usage.told", "are reported")
def tells_another_cost() -> None:
    told = Engine.told_usage

    def one_more(self: Engine, accepted: Accepted) -> Any:
        usage = told(self, accepted)
        usage.cost_nanos += 1
        return usage

    Engine.told_usage = one_more  # type: ignore[method-assign]


FAULTS["usage.failed"] = Fault(
    lambda: setattr(Engine, "outcome", lambda self, error: usage_pb2.OUTCOME_COMPLETED),
    "is reported as OUTCOME_COMPLETED; expected OUTCOME_FAILED",
)


@replaced("usage.repeated", "an unacknowledged record is not sent again", Reporter, "unsent")
def sends_once(self: Reporter, sent: dict[int, int]) -> list[tuple[int, usage_pb2.UsageRecord]]:
    items = list(self.spool.pending.items())
    for reference, _ in items:
        self.spool.settle(reference)
    return items


FAULTS["usage.acknowledged"] = Fault(
    lambda: setattr(Reporter, "acknowledged", nothing), "acknowledged as settled was sent again"
)


@replaced("usage.rejected", "a record that was rejected was sent again", Reporter, "ends")
def never_gives_up(self: Reporter, status: Any) -> bool:
    return bool(status in (Status.STATUS_SETTLED, Status.STATUS_ALREADY_SETTLED))


@fault("usage.outage", "no usage record")
def begins_anew_with_each_stream() -> None:
    stream = Reporter.stream

    async def forgetful(self: Reporter, stub: Any) -> None:
        try:
            await stream(self, stub)
        finally:
            self.spool.pending.clear()

    Reporter.stream = forgetful  # type: ignore[method-assign]


FAULTS["usage.watermark"] = Fault(
    lambda: setattr(Spool, "watermark_ms", lambda self: now_ms()), "the watermark is 0.0 s ago"
)
FAULTS["usage.watermark_holds"] = Fault(
    lambda: setattr(Spool, "watermark_ms", lambda self: now_ms() - 30_000),
    "past the issue of a grant whose record is not acknowledged",
)


# Registry -------------------------------------------------------------------------------------------------------------


def registered_with(**changes: Any) -> Callable[[], None]:
    registration = Engine.registration

    def changed(self: Engine, *, engine_id: str, address: str) -> registry_pb2.Engine:
        engine = registration(self, engine_id=engine_id, address=address)
        engine.MergeFrom(registry_pb2.Engine(**changes))
        return engine

    return lambda: setattr(Engine, "registration", changed)


FAULTS["registry.registers"] = Fault(registered_with(address="localhost:1"), "must be a literal IP address and a port")
FAULTS["registry.services"] = Fault(registered_with(grpc_services=["grpc.health.v1.Health"]), "is not for clients")
FAULTS["registry.models"] = Fault(
    registered_with(models=[registry_pb2.ServedModel(name=engines.MODEL)]), "lists a model several times"
)


@fault("registry.load", "no load report came for")
def never_reports() -> None:
    Lease.pause_s = Lease.silence_s = lambda self: 3600.0  # type: ignore[method-assign]


FAULTS["registry.busy"] = Fault(
    lambda: setattr(Engine, "load", lambda self: registry_pb2.Load()), "calls run, and no load report says so"
)
FAULTS["registry.tallies"] = Fault(
    lambda: setattr(Engine, "load", lambda self: registry_pb2.Load(active=self.active)), "is not tallied"
)


@fault("registry.returns", "without describing itself")
def introduces_itself_once() -> None:
    first = Lease.first_request

    def once(self: Lease) -> registry_pb2.RegisterRequest:
        request = first(self)
        self.engine = registry_pb2.Engine()
        return request

    Lease.first_request = once  # type: ignore[method-assign]


FAULTS["registry.silent"] = Fault(
    lambda: setattr(Lease, "silence_s", lambda self: 3600.0), "has not answered for several leases"
)


# The process ----------------------------------------------------------------------------------------------------------


@replaced("crash.reported", "is reported without any unit", Spool, "count")
def counts_in_memory(self: Spool, accepted: Accepted, unit: int, amount: int) -> None:
    accepted.amounts[unit] = accepted.amounts.get(unit, 0) + amount


@fault("crash.pending", "comes again with other contents")
def keeps_ends_in_memory() -> None:
    write = Spool.write

    def write_less(self: Spool, **event: Any) -> None:
        if event["kind"] != "final":
            write(self, **event)

    Spool.write = write_less  # type: ignore[method-assign]


@fault("crash.replayed", "after a restart, is answered")
def forgets_used_grants() -> None:
    begin = Spool.__init__

    def begin_fresh(self: Spool, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        self.used.clear()

    Spool.__init__ = begin_fresh  # type: ignore[method-assign]


FAULTS["drain.deregisters"] = Fault(
    lambda: setattr(Engine, "end_lease", nothing_later), "while the engine still holds its lease"
)


@fault("drain.refuses", "new calls are served")
def serves_to_the_end() -> None:
    Engine.refuse_new = nothing  # type: ignore[method-assign]
    Engine.word_s = 0.02


FAULTS["drain.health"] = Fault(
    lambda: setattr(Engine, "end_health", nothing_later), "while the engine drains its health is SERVING"
)
FAULTS["drain.finishes"] = Fault(
    lambda: setattr(Engine, "wait_until_idle", nothing_later), "a call that ran when SIGTERM came ends with"
)


@replaced("drain.exits", "exits with status 3", Reporter, "flush")
async def exits_badly(self: Reporter) -> None:
    await asyncio.sleep(0.2)
    raise SystemExit(3)
