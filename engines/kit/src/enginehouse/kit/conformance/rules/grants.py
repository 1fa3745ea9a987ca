"""Grants: without a good one there is no service, and each is good for one call."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

from enginehouse.api.router.v1 import usage_pb2
from enginehouse.api.router.v1.grant_pb2 import Grant, GrantCandidate
from enginehouse.kit.conformance._rule import Need, RuleFamily, expect
from enginehouse.kit.conformance._session import Session, expect_cost, expect_refusal
from enginehouse.kit.errors import Reason
from enginehouse.kit.grants import GrantKeys, sign
from enginehouse.kit.pricing import MAX_NANOS, unit_price

FAMILY = RuleFamily("grant")
rule = FAMILY.rule

_BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_UNKNOWN_MODEL = "no-such-model-in-any-catalog"
# Field 50,000 of a message, which no version has, as a string.
UNKNOWN_FIELD = b"\x82\xb5\x18\x05later"


@rule("missing", "No grant", "A call without a grant is refused with GRANT_MISSING.", Need.METHODS)
async def _missing(session: Session) -> None:
    for method in session.methods:
        ended = await session.call(method, session.messages_for(method), token=None)
        expect_refusal(ended, Reason.GRANT_MISSING, f"{method.name} without a grant")


@rule(
    "malformed",
    "Malformed grants",
    "A header that is not of the form v1.<key id>.<grant>.<signature> is refused with GRANT_INVALID.",
    Need.METHODS,
    Need.KEYS,
)
async def _malformed(session: Session) -> None:
    for method in session.methods:
        good = session.token(method)
        version, key_id, payload, signature = good.split(".")
        cases = {
            "a word": "letmein",
            "a grant without its version": f"{key_id}.{payload}.{signature}",
            "a grant of version v2": f"v2.{key_id}.{payload}.{signature}",
            "a grant without a signature": f"{version}.{key_id}.{payload}",
            "a grant with a fifth part": f"{good}.{signature}",
        }
        for case, token in cases.items():
            ended = await session.call(method, session.messages_for(method), token=token)
            expect_refusal(ended, Reason.GRANT_INVALID, f"{method.name} with {case}")


@rule(
    "forged",
    "Forged grants",
    "A grant whose signature does not hold is refused with GRANT_INVALID.",
    Need.METHODS,
    Need.KEYS,
)
async def _forged(session: Session) -> None:
    stranger = GrantKeys({session.keys.current_id: os.urandom(32)})
    for method in session.methods:
        grant = session.grant(method)
        good, other = sign(grant, keys=session.keys), session.token(method)
        version, key_id, payload, signature = good.split(".")
        wider = Grant()
        wider.CopyFrom(grant)
        wider.expires_at_ms += 3_600_000
        cases = {
            "a grant signed with another secret": sign(grant, keys=stranger),
            "a grant that was changed after it was signed": ".".join(
                [*sign(wider, keys=session.keys).split(".")[:3], signature]
            ),
            "a grant with the signature of another": ".".join([version, key_id, payload, other.split(".")[3]]),
            "a grant with half of its signature": good[: -len(signature) // 2],
            "a grant with an empty signature": f"{version}.{key_id}.{payload}.",
        }
        for case, token in cases.items():
            ended = await session.call(method, session.messages_for(method), token=token)
            expect_refusal(ended, Reason.GRANT_INVALID, f"{method.name} with {case}")


@rule(
    "unknown_key",
    "Unknown keys",
    "A grant signed with a key that is not in the keys file is refused with GRANT_INVALID.",
    Need.METHODS,
    Need.KEYS,
)
async def _unknown_key(session: Session) -> None:
    stranger = GrantKeys({"conformance-unknown": os.urandom(32)})
    for method in session.methods:
        token = sign(session.grant(method), keys=stranger)
        ended = await session.call(method, session.messages_for(method), token=token)
        expect_refusal(ended, Reason.GRANT_INVALID, f"{method.name} with a grant of an unknown key")


@rule(
    "respelled",
    "One spelling",
    "A grant has one spelling: the same bytes in another base64 spelling are refused with GRANT_INVALID.",
    Need.METHODS,
    Need.KEYS,
)
async def _respelled(session: Session) -> None:
    for method in session.methods:
        for case, token in _spellings(session.token(method)):
            ended = await session.call(method, session.messages_for(method), token=token)
            expect_refusal(ended, Reason.GRANT_INVALID, f"{method.name} with {case}")


def _spellings(token: str) -> Iterator[tuple[str, str]]:
    head, _, signature = token.rpartition(".")
    yield "a padded signature", f"{token}="
    # 32 bytes are 43 characters, of whose last two bits nothing hangs.
    last = _BASE64URL.index(signature[-1])
    yield "a signature whose unused bits are set", f"{head}.{signature[:-1]}{_BASE64URL[last ^ 1]}"
    start, _, payload = head.rpartition(".")
    yield "a padded payload", f"{start}.{payload}=.{signature}"


@rule(
    "rotated",
    "Every key verifies",
    "A grant is accepted when it is signed with any key of the keys file, not with the first alone.",
    Need.KEYS,
    Need.EXAMPLE,
)
async def _rotated(session: Session) -> None:
    example = session.examples[0]
    for key_id in session.keys.ids:
        secret = session.keys.secret(key_id)
        assert secret is not None
        grant = session.grant(example.method, models=example.models)
        token = sign(grant, keys=GrantKeys({key_id: secret}))
        ended = await session.call(example.method, example.messages, token=token)
        expect(ended.ok, f"a grant signed with key {key_id!r} of the keys file is refused: {ended}")


@rule(
    "method",
    "Another method",
    "A grant for another method is refused with GRANT_INVALID.",
    Need.METHODS,
    Need.KEYS,
)
async def _method(session: Session) -> None:
    for method in session.methods:
        for path in (f"/{method.service}/Another", f"/another.Service/{method.name}", method.path.lower(), ""):
            grant = session.grant(method)
            grant.method = path
            ended = await session.call(method, session.messages_for(method), token=sign(grant, keys=session.keys))
            expect_refusal(ended, Reason.GRANT_INVALID, f"{method.name} with a grant for {path!r}")


@rule(
    "no_id",
    "A grant without an id",
    "A grant without a grant_id is refused with GRANT_INVALID.",
    Need.METHODS,
    Need.KEYS,
)
async def _no_id(session: Session) -> None:
    for method in session.methods:
        grant = session.grant(method)
        grant.grant_id = ""
        ended = await session.call(method, session.messages_for(method), token=sign(grant, keys=session.keys))
        expect_refusal(ended, Reason.GRANT_INVALID, f"{method.name} with a grant without an id")


@rule(
    "accept_by",
    "Used too late",
    "A grant that arrives after its accept_by_ms is refused with GRANT_EXPIRED.",
    Need.METHODS,
    Need.KEYS,
)
async def _accept_by(session: Session) -> None:
    for method in session.methods:
        token = session.token(method, accept_s=-5.0, issued_ago_s=15.0)
        ended = await session.call(method, session.messages_for(method), token=token)
        expect_refusal(ended, Reason.GRANT_EXPIRED, f"{method.name} five seconds after accept_by_ms")


@rule(
    "expires",
    "Used after its end",
    "A grant that arrives after its expires_at_ms is refused with GRANT_EXPIRED.",
    Need.METHODS,
    Need.KEYS,
)
async def _expires(session: Session) -> None:
    for method in session.methods:
        token = session.token(method, accept_s=10.0, expires_s=-5.0, issued_ago_s=15.0)
        ended = await session.call(method, session.messages_for(method), token=token)
        expect_refusal(ended, Reason.GRANT_EXPIRED, f"{method.name} five seconds after expires_at_ms")


@rule(
    "window",
    "Issued too long ago",
    "A grant that was issued more than 30 s ago is refused with GRANT_EXPIRED, whatever its accept_by_ms says.",
    Need.METHODS,
    Need.KEYS,
)
async def _window(session: Session) -> None:
    for method in session.methods:
        token = session.token(method, accept_s=600.0, issued_ago_s=120.0)
        ended = await session.call(method, session.messages_for(method), token=token)
        expect_refusal(ended, Reason.GRANT_EXPIRED, f"{method.name} with a grant issued two minutes ago")


@rule(
    "replayed",
    "A grant twice",
    "A grant is good for one call: the next one with the same grant_id is refused with GRANT_REPLAYED.",
    Need.KEYS,
    Need.EXAMPLE,
)
async def _replayed(session: Session) -> None:
    for example in session.examples:
        grant = session.grant(example.method, models=example.models)
        token = sign(grant, keys=session.keys)
        await session.answer(example, token=token)
        again = Grant()
        again.CopyFrom(grant)
        again.request_id = "conformance-another-request"
        for case, second in {
            "a grant that was used": token,
            "a grant with a grant_id that was used": sign(again, keys=session.keys),
        }.items():
            ended = await session.call(example.method, example.messages, token=second)
            expect_refusal(ended, Reason.GRANT_REPLAYED, f"{example.method.name} with {case}")


@rule(
    "raced",
    "A grant twice at once",
    "Of several calls with the same grant at the same time, one is served.",
    Need.KEYS,
    Need.EXAMPLE,
)
async def _raced(session: Session) -> None:
    example = session.examples[0]
    for _ in range(3):
        token = session.example_token(example)
        ended = await asyncio.gather(*(session.call(example.method, example.messages, token=token) for _ in range(8)))
        served = [end for end in ended if end.ok]
        expect(len(served) == 1, f"{len(served)} of 8 calls with one grant at the same time were served; expected 1")
        for end in ended:
            if not end.ok:
                expect_refusal(end, Reason.GRANT_REPLAYED, "a call with a grant that another call uses")


@rule(
    "model_absent",
    "A model that is not served",
    "A grant for models that the engine does not serve is refused with NO_ENDPOINT and a RetryInfo, before any work.",
    Need.KEYS,
    Need.PAID_EXAMPLE,
)
async def _model_absent(session: Session) -> None:
    for example in session.paid:
        token = session.token(example.method, models=[_UNKNOWN_MODEL])
        ended = await session.call(example.method, example.messages[:1], token=token)
        expect_refusal(ended, Reason.NO_ENDPOINT, f"{example.method.name} with a grant for {_UNKNOWN_MODEL!r}")
        expect(ended.retry_infos, "NO_ENDPOINT without a RetryInfo: the gateway cannot tell that a retry helps")


@rule(
    "model_absent_reported",
    "A refusal frees the money",
    "A grant that is refused for its models is reported with OUTCOME_REFUSED and no units.",
    Need.KEYS,
    Need.PAID_EXAMPLE,
    Need.ROUTER,
)
async def _model_absent_reported(session: Session) -> None:
    example = session.paid[0]
    token = session.token(example.method, models=[_UNKNOWN_MODEL])
    ended = await session.call(example.method, example.messages, token=token)
    expect(not ended.ok, f"{example.method.name} with a grant for {_UNKNOWN_MODEL!r} is answered")
    record = await session.record(token)
    outcome = usage_pb2.Outcome.Name(record.outcome)
    expect(
        record.outcome == usage_pb2.OUTCOME_REFUSED, f"the refusal is reported as {outcome}; expected OUTCOME_REFUSED"
    )
    expect(not record.usage.units and not record.usage.cost_nanos, "the refusal is reported with units or a cost")


@rule(
    "candidates",
    "The first model that is served",
    "Of the models that a grant names, the first that the engine serves answers; x-enginehouse-model in the initial "
    "metadata names it, and its prices count.",
    Need.KEYS,
    Need.PAID_EXAMPLE,
    Need.ROUTER,
)
async def _candidates(session: Session) -> None:
    for example in session.paid:
        model = example.models[0]
        grant = session.grant(example.method, models=[_UNKNOWN_MODEL])
        prices = [unit_price(unit, price * 3) for unit, price in session.prices.items()]
        grant.candidates.append(GrantCandidate(model=model, prices=prices, cap_nanos=MAX_NANOS))
        token = sign(grant, keys=session.keys)
        ended = await session.call(example.method, example.messages, token=token)
        expect(ended.ok, f"a grant whose second model is served is refused: {ended}")
        named = ended.leading.get("x-enginehouse-model")
        expect(named == model, f"x-enginehouse-model is {named!r} in the initial metadata; {model!r} answers")
        record = await session.record(token)
        expect(record.model == model, f"the record names the model {record.model!r}; {model!r} answered")
        expect_cost(record, {unit: price * 3 for unit, price in session.prices.items()})


@rule(
    "unknown_fields",
    "Grants of later versions",
    "A grant with fields that the engine does not know is accepted.",
    Need.KEYS,
    Need.EXAMPLE,
)
async def _unknown_fields(session: Session) -> None:
    example = session.examples[0]
    grant = session.grant(example.method, models=example.models)
    later = Grant.FromString(grant.SerializeToString() + UNKNOWN_FIELD)
    ended = await session.call(example.method, example.messages, token=sign(later, keys=session.keys))
    expect(ended.ok, f"a grant with an unknown field is refused: {ended}")
