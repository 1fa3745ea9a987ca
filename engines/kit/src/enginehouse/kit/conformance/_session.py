"""The things that rules work with: the engine, the doubles around it, its methods and examples, granted calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.api.router.v1 import usage_pb2
from enginehouse.api.router.v1.grant_pb2 import Grant
from enginehouse.kit.conformance._calls import CallEnd, RunningCall, call
from enginehouse.kit.conformance._doubles import Answering, DoubleServer, GatewayDouble, RouterDouble
from enginehouse.kit.conformance._engine import EngineUnderTest
from enginehouse.kit.conformance._examples import RequestExample, by_method
from enginehouse.kit.conformance._options import ConformanceOptions
from enginehouse.kit.conformance._reflection import ServedMethod
from enginehouse.kit.conformance._rule import Failed, Inapplicable, expect
from enginehouse.kit.errors import STATUS_CODES, Reason
from enginehouse.kit.grants import GRANT_HEADER, GrantKeys, sign
from enginehouse.kit.pricing import UNITS, Unit, cost_nanos, unit_name, unit_of
from enginehouse.kit.testing import GrantIssuer

# Prices begin here and differ by this, so that none is a whole number of nano-dollars for one of its unit.
_FIRST_PRICE, _PRICE_STEP = 1_000_003, 7_919

T = TypeVar("T")


class Session:
    """One run against one engine.

    Attributes:
        options: what the suite was told.
        engine: the engine under test.
        router: plays the router; records are kept there.
        gateway: plays the gateway.
        methods: the methods of the services under test; empty where reflection does not describe them.
        examples: the requests that the engine answers, in order of preference.
        unanswered: for each method without an example, the reason why.
    """

    def __init__(
        self,
        *,
        options: ConformanceOptions,
        engine: EngineUnderTest,
        keys: GrantKeys | None,
        router: RouterDouble,
        gateway: GatewayDouble,
        router_server: DoubleServer | None,
        gateway_server: DoubleServer | None,
    ) -> None:
        self.options = options
        self.engine = engine
        self.router = router
        self.gateway = gateway
        self.router_server = router_server
        self.gateway_server = gateway_server
        self.methods: Sequence[ServedMethod] = ()
        self.methods_missing = ""
        self.examples: Sequence[RequestExample] = ()
        self.unanswered: dict[str, str] = {}
        self.given_paths: set[str] = set()
        """The methods that the request file gives an example for."""
        self.whole_amounts: dict[Unit, int] = {}
        """The units that the long answer used when nothing interrupted it; empty until that was measured."""
        self.patience_s = options.patience_s
        self._keys = keys
        self._scenarios: dict[str, Any] = {}

    # What there is -------------------------------------------------------------------------------------------------

    @property
    def keys(self) -> GrantKeys:
        """The keys that the engine verifies grants with."""
        if self._keys is None:
            raise Inapplicable("the engine's grant keys are not known; give --grant-keys")
        return self._keys

    @property
    def prices(self) -> Mapping[Unit, int]:
        """A price for every unit, those included that the methods' options name; each another."""
        named = dict.fromkeys(name for method in self.methods for name in method.unit_names)
        units: list[Unit] = [*UNITS.values(), *(name for name in named if name not in UNITS)]
        return {unit: _FIRST_PRICE + _PRICE_STEP * number for number, unit in enumerate(units)}

    @property
    def has_keys(self) -> bool:
        """True if grants can be signed."""
        return self._keys is not None

    @property
    def paid(self) -> Sequence[RequestExample]:
        """The examples that a model answers for money."""
        return [example for example in self.examples if example.models and not example.method.options.free]

    @property
    def streamed(self) -> Sequence[RequestExample]:
        """The paid examples whose answer is streamed, those first in which the client sends one message."""
        found = [example for example in self.paid if example.method.streams_responses]
        return sorted(found, key=lambda example: example.method.streams_requests)

    @property
    def stream(self) -> RequestExample:
        """The streamed example that rules interrupt."""
        return self.streamed[0]

    @property
    def registration(self) -> registry_pb2.Engine | None:
        """The engine's description of itself at the registry, or None while it is not registered."""
        port = self.engine.target.rpartition(":")[2]
        for engine in self.gateway.live.values():
            if engine.address.rpartition(":")[2] == port:
                return engine
        # An engine whose address is wrong is registered all the same.
        return next(iter(self.gateway.live.values()), None)

    @property
    def known_models(self) -> Sequence[str]:
        """The models that the engine registers, and those that the suite was told of."""
        registration = self.registration
        registered = [model.name for model in registration.models] if registration is not None else []
        return list(dict.fromkeys([*self.options.models, *registered]))

    def messages_for(self, method: ServedMethod) -> Sequence[bytes]:
        """The first message of the method's example; an empty message where it has none. For calls that are refused
        before a message is read."""
        example = by_method(self.examples).get(method.path)
        return example.messages[:1] if example is not None else (method.new_request().SerializeToString(),)

    # Grants --------------------------------------------------------------------------------------------------------

    def grant(self, method: ServedMethod, *, models: Sequence[str] = (), **changes: Any) -> Grant:
        """A grant for one call; changes as `GrantIssuer.grant` takes them."""
        # A router's grant lists every unit that the method names itself; free, where it has no price.
        free: dict[Unit, int] = {name: 0 for name in method.unit_names if name not in UNITS}
        changes["prices"] = {**free, **changes.get("prices", self.prices)}
        return GrantIssuer(self.keys).grant(method.path, models=models, **changes)

    def token(self, method: ServedMethod, *, models: Sequence[str] = (), **changes: Any) -> str:
        """A signed grant for one call."""
        return sign(self.grant(method, models=models, **changes), keys=self.keys)

    def example_token(self, example: RequestExample, **changes: Any) -> str:
        """A signed grant for an example."""
        changes.setdefault("models", example.models)
        return self.token(example.method, **changes)

    # Calls ---------------------------------------------------------------------------------------------------------

    async def call(
        self, method: ServedMethod, messages: Sequence[bytes], *, token: str | None, timeout_s: float | None = None
    ) -> CallEnd:
        """Call a method and return how that ended."""
        return await call(
            self.engine.channel,
            method.path,
            messages,
            metadata=() if token is None else ((GRANT_HEADER, token),),
            timeout_s=self.patience_s * 3 if timeout_s is None else timeout_s,
        )

    async def begin(
        self,
        example: RequestExample,
        *,
        token: str,
        timeout_s: float | None = None,
    ) -> RunningCall:
        """Begin the example's long request."""
        running = RunningCall(
            self.engine.channel,
            example.method.path,
            example.long_messages,
            metadata=((GRANT_HEADER, token),),
            timeout_s=60.0 + self.patience_s if timeout_s is None else timeout_s,
        )
        await running.send()
        return running

    async def answer(self, example: RequestExample, *, token: str | None = None, **changes: Any) -> CallEnd:
        """Call an example with a new grant and fail the rule unless it is answered."""
        token = self.example_token(example, **changes) if token is None else token
        ended = await self.call(example.method, example.messages, token=token)
        expect(ended.ok, f"{example.method.name} with a good grant is not answered: {ended}")
        return ended

    async def answer_or_end(self, example: RequestExample, **changes: Any) -> CallEnd:
        """Call an example with a new grant and return how that ended."""
        return await self.call(example.method, example.messages, token=self.example_token(example, **changes))

    async def answer_recorded(self, example: RequestExample, **changes: Any) -> tuple[CallEnd, usage_pb2.UsageRecord]:
        """Call an example with a new grant; return the end, and the record that was reported for it."""
        token = self.example_token(example, **changes)
        ended = await self.answer(example, token=token)
        return ended, await self.record(token)

    async def sample(self, example: RequestExample) -> tuple[CallEnd, usage_pb2.UsageRecord]:
        """The end and the record of one answer to the example, the same for all rules that only look at it."""
        return await self.scenario(f"sample {example.method.path}", lambda session: session.answer_recorded(example))

    # What comes of them --------------------------------------------------------------------------------------------

    async def record(self, token: str) -> usage_pb2.UsageRecord:
        """Wait for the record of a grant and return it; fail the rule where none comes."""
        try:
            await self.router.wait_until(lambda router: bool(self.router.records_of(token)), timeout_s=self.patience_s)
        except TimeoutError:
            raise Failed(f"no usage record for the call's grant came within {self.patience_s:g} s") from None
        return self.router.records_of(token)[-1]

    async def wait_for(self, holds: Callable[[], T | None], failure: str, *, timeout_s: float | None = None) -> T:
        """Wait until a condition holds and return its value; fail the rule where it does not in time."""
        until = time.monotonic() + (self.patience_s if timeout_s is None else timeout_s)
        while not (value := holds()):
            if time.monotonic() >= until:
                raise Failed(failure)
            await asyncio.sleep(0.02)
        return value

    async def wait_for_report(self) -> None:
        """Wait until the engine has opened a stream to the router and said something on it."""
        watermarks, received = len(self.router.watermarks), len(self.router.received)
        await self.wait_for(
            lambda: len(self.router.watermarks) > watermarks or len(self.router.received) > received,
            "the engine does not report to the router again after its stream broke",
        )

    async def break_router_streams(self) -> None:
        """Break the engine's stream to the router; it can open another at once."""
        assert self.router_server is not None
        await self.router_server.restart()

    async def scenario(self, name: str, play: Callable[[Session], Awaitable[T]]) -> T:
        """Play a scenario that several rules look at, once; where it fails, each of those rules fails."""
        if name not in self._scenarios:
            try:
                self._scenarios[name] = await play(self)
            except (Failed, Inapplicable) as error:
                self._scenarios[name] = error
        outcome = self._scenarios[name]
        if isinstance(outcome, Failed | Inapplicable):
            raise type(outcome)(str(outcome))
        played: T = outcome
        return played

    @property
    def died(self) -> bool:
        """True if the engine's process ended although nobody told it to."""
        return self.engine.started_here and self.engine.exit_status is not None and not self.engine.told_to_end

    async def reset(self, scenario: str) -> None:
        """Bring doubles and engine back to normal before a rule. For one that looks at a scenario that was played, the
        engine need not run."""
        if self.router.answering is not Answering.SETTLED:
            self.router.answering = Answering.SETTLED
            if self.router_server is not None:
                await self.router_server.restart()
        ended = self.engine.started_here and self.engine.exit_status is not None
        if ended and (not scenario or scenario not in self._scenarios):
            await self.engine.start()


def expect_refusal(ended: CallEnd, reason: Reason, case: str) -> None:
    """Fail the rule unless a call was refused for the reason, with the gRPC status that the reason stands for."""
    if ended.ok:
        raise Failed(f"{case} is answered; expected {reason.value}")
    expect(ended.reason == reason.value, f"{case} is refused with {ended}; expected {reason.value}")
    code = STATUS_CODES[reason]
    expect(ended.code is code, f"{case} is refused with gRPC status {ended.code.name}; {reason.value} is {code.name}")


def amounts_of(record: usage_pb2.UsageRecord) -> dict[Unit, int]:
    """The amounts of a record by unit."""
    return {unit_of(entry): entry.amount for entry in record.usage.units}


def expect_cost(record: usage_pb2.UsageRecord, prices: Mapping[Unit, int]) -> None:
    """Fail the rule unless a record's cost is that of its amounts, rounded up once."""
    amounts = amounts_of(record)
    expect(all(amount >= 0 for amount in amounts.values()), f"the record has a negative amount: {named(amounts)}")
    cost = cost_nanos(prices, amounts)
    told = record.usage.cost_nanos
    expect(
        told == cost,
        f"the reported cost is {told} nano-dollars; {named(amounts)} at the grant's prices, rounded up once, is {cost}",
    )


def named(amounts: Mapping[Unit, int]) -> str:
    """Amounts in words."""
    return ", ".join(f"{amount} {unit_name(unit)}" for unit, amount in amounts.items()) or "no units"
