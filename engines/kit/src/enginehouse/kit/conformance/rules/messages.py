"""Messages: later versions, damaged and oversized ones, and readers that are slow."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from enginehouse.api.router.v1 import usage_pb2
from enginehouse.kit.conformance._examples import RequestExample
from enginehouse.kit.conformance._rule import Failed, Inapplicable, Need, RuleFamily, expect
from enginehouse.kit.conformance._session import Session, expect_cost, expect_refusal
from enginehouse.kit.conformance.rules.grants import UNKNOWN_FIELD
from enginehouse.kit.errors import Reason

FAMILY = RuleFamily("message")
rule = FAMILY.rule


@rule(
    "answered",
    "The examples are answered",
    "Every request example is answered under a good grant, with at least one message.",
    Need.KEYS,
    Need.METHODS,
)
async def _answered(session: Session) -> None:
    for path, reason in session.unanswered.items():
        if path in session.given_paths:
            raise Failed(f"{path}: the example is not answered: {reason}")
    if not session.examples:
        raise Inapplicable("no request is known that the engine answers; give --request")
    for example in session.examples:
        ended = await session.answer(example)
        expect(ended.messages, f"{example.method.name} ends with OK and without a message")


@rule(
    "granted",
    "Grants as the contract brings them",
    "A method whose options name no task is answered under a grant that names no model, as routers give it; one whose "
    "options name a task, under a grant that names a model.",
    Need.KEYS,
    Need.EXAMPLE,
)
async def _granted(session: Session) -> None:
    models = session.known_models
    for example in session.examples:
        name, task = example.method.name, example.method.options.task
        if not task:
            ended = await session.answer_or_end(example, models=())
            expect(ended.ok, f"{name} has no task; under a grant that names no model it ends with {ended}")
        elif not example.models and models:
            ended = await session.answer_or_end(example, models=models)
            expect(ended.ok, f"{name} has the task {task!r}; under a grant that names models it ends with {ended}")


@rule(
    "unknown_fields",
    "Requests of later versions",
    "A request with fields that the engine does not know is answered as if they were not there.",
    Need.KEYS,
    Need.EXAMPLE,
)
async def _unknown_fields(session: Session) -> None:
    for example in session.examples:
        token = session.example_token(example)
        messages = [message + UNKNOWN_FIELD for message in example.messages]
        ended = await session.call(example.method, messages, token=token)
        expect(ended.ok, f"{example.method.name} with an unknown field is refused: {ended}")


@rule(
    "damaged",
    "Cut and damaged messages",
    "Bytes that are not a message of the request's type are refused with INVALID_REQUEST.",
    Need.KEYS,
    Need.EXAMPLE,
)
async def _damaged(session: Session) -> None:
    for example in session.examples:
        for case, data in {"noise": b"\xff\xff\xff\xff", "a message that was cut": _cut(example)}.items():
            if data is None:
                continue
            ended = await session.call(example.method, [data], token=session.example_token(example))
            expect_refusal(ended, Reason.INVALID_REQUEST, f"{example.method.name} with {case}")
    await session.answer(session.examples[0])


def _cut(example: RequestExample) -> bytes | None:
    """The example's first message, cut so that it cannot be parsed; None where every cut can be."""
    whole = example.messages[0]
    for length in range(len(whole) - 1, 0, -1):
        try:
            example.method.new_request().MergeFromString(whole[:length])
        except DecodeError:
            return whole[:length]
    return None


@rule(
    "oversized",
    "Oversized messages",
    "A message over the engine's limit is refused with REQUEST_TOO_LARGE, and one far over it ends its call alone.",
    Need.KEYS,
    Need.EXAMPLE,
    Need.MESSAGE_LIMIT,
)
async def _oversized(session: Session) -> None:
    limit = session.options.max_message_bytes
    assert limit is not None
    for example in session.examples:
        first, *rest = example.messages
        ended = await session.call(
            example.method, [_padded(first, limit + 1), *rest], token=session.example_token(example)
        )
        expect_refusal(ended, Reason.REQUEST_TOO_LARGE, f"{example.method.name} with a message just over the limit")
    example = session.examples[0]
    ended = await session.call(
        example.method, [_padded(example.messages[0], 4 * limit)], token=session.example_token(example)
    )
    expect(not ended.ok, f"{example.method.name} with a message of four times the limit is answered")
    await session.answer(example)


def _padded(message: bytes, size: int) -> bytes:
    """The message with an unknown field that makes it `size` bytes long, or a few more."""
    length = max(0, size - len(message))
    return message + UNKNOWN_FIELD[:3] + _varint(length) + bytes(length)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


@rule(
    "slow_reader",
    "A slow reader",
    "A caller that does not read holds up no other caller, gets the whole answer once it reads, and can leave.",
    Need.KEYS,
    Need.STREAM,
    Need.ROUTER,
)
async def _slow_reader(session: Session) -> None:
    example = session.stream
    slow_token, leaving_token = session.example_token(example), session.example_token(example)
    slow = await session.begin(example, token=slow_token)
    leaving = await session.begin(example, token=leaving_token)
    try:
        if await slow.read() is None:
            raise Failed(f"the long request of {example.method.name} is not answered: {await slow.end()}")
        ended = await session.call(
            example.method, example.messages, token=session.example_token(example), timeout_s=session.patience_s
        )
        expect(ended.ok, f"while another caller does not read, {example.method.name} ends with {ended}")
        leaving.cancel()
        record = await session.record(leaving_token)
        expected = (usage_pb2.OUTCOME_CANCELLED, usage_pb2.OUTCOME_COMPLETED)
        outcome = usage_pb2.Outcome.Name(record.outcome)
        expect(record.outcome in expected, f"a caller who left without reading is reported as {outcome}")
        ended = await slow.end()
        expect(ended.ok, f"a caller that read late gets {ended}")
        record = await session.record(slow_token)
        outcome = usage_pb2.Outcome.Name(record.outcome)
        expect(record.outcome == usage_pb2.OUTCOME_COMPLETED, f"a caller that read late is reported as {outcome}")
        expect_cost(record, session.prices)
    finally:
        slow.cancel()
        leaving.cancel()
