"""The number of tokens that a request may produce, and the bound that determines it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from enginehouse.api.common.v1.usage_pb2 import UNIT_CACHED_INPUT_TOKENS, UNIT_INPUT_TOKENS, UNIT_OUTPUT_TOKENS
from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.kit.calls import GrantedCall
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.pricing import MAX_NANOS, PER_MILLION, Unit, affordable, price_numerator


@dataclass(slots=True)
class OutputLimit:
    """The bound on each choice's output."""

    tokens: int
    """At least 1; 0 if a resumed answer was already complete, or if only the prompt is to be read."""
    stopped_by: generation_pb2.StoppedBy.ValueType
    """The reason that a choice which reaches the bound was stopped by."""


def output_limit(
    *,
    input_tokens: int,
    choices: int,
    requested: int,
    model_default: int,
    context_tokens: int,
    prices: Mapping[Unit, int],
    spent: Mapping[Unit, int],
    cap_nanos: int,
    received_tokens: int = 0,
    prompt_only: bool = False,
) -> OutputLimit:
    """Return the bound on each choice's tokens.

    The prompt is priced as if none of it were cached, since that is not known before it runs; so a request may stop a
    little below its cap, but no request can pass it.

    Args:
        input_tokens: tokens of the prompt.
        choices: how many answers share the budget.
        requested: the request's own bound; 0 for none.
        model_default: the model's bound where the request has none; 0 for none.
        context_tokens: most tokens of prompt and one answer together.
        prices: nano-dollars for a million of each unit.
        spent: the call's counts so far.
        cap_nanos: the bound on the cost of the whole call.
        received_tokens: tokens of the answer that an earlier attempt made; they count towards its length and the
            context, and are read again, with the prompt, as cached input.
        prompt_only: true if nothing is to be produced.

    Raises:
        ServiceError: CONTEXT_LENGTH_EXCEEDED if the prompt leaves no room for one token, BUDGET_EXHAUSTED if the cap
            cannot pay for the prompt and one token a choice.
    """
    price = prices.get(UNIT_OUTPUT_TOKENS, 0)
    prompt = _prompt_numerator(prices, spent, input_tokens=input_tokens, received_tokens=received_tokens)
    room = context_tokens - input_tokens - received_tokens
    own = requested or model_default
    if received_tokens and own and received_tokens >= own:
        return OutputLimit(tokens=0, stopped_by=generation_pb2.STOPPED_BY_MAX_OUTPUT_TOKENS)
    if received_tokens and room < 1:
        return OutputLimit(tokens=0, stopped_by=generation_pb2.STOPPED_BY_CONTEXT)
    if room < 1:
        raise ServiceError(
            Reason.CONTEXT_LENGTH_EXCEEDED,
            f"the prompt is too long: its {input_tokens} tokens and one of answer do not fit the model's context of "
            f"{context_tokens}",
            metadata={"prompt_tokens": str(input_tokens), "context_tokens": str(context_tokens)},
        )
    payable = affordable(price, spent_numerator=prompt, cap_nanos=cap_nanos)
    least = 0 if prompt_only else choices
    if _nanos(prompt) > cap_nanos or payable < least:
        raise ServiceError(
            Reason.BUDGET_EXHAUSTED,
            f"budget exhausted: the prompt of {input_tokens} tokens and one token for each of {choices} choices may "
            f"cost {_nanos(prompt + price * least)} nano-dollars; the budget reserved {cap_nanos}",
            metadata={"cap_nanos": str(cap_nanos)},
        )
    if prompt_only:
        return OutputLimit(tokens=0, stopped_by=generation_pb2.STOPPED_BY_MAX_OUTPUT_TOKENS)
    # The first of equal bounds: the caller's own bound explains the end better than another that it happens to equal.
    tokens, stopped_by = room, generation_pb2.STOPPED_BY_CONTEXT
    if own and own - received_tokens <= room:
        tokens, stopped_by = own - received_tokens, generation_pb2.STOPPED_BY_MAX_OUTPUT_TOKENS
    if payable // choices < tokens:
        tokens, stopped_by = payable // choices, generation_pb2.STOPPED_BY_BUDGET
    return OutputLimit(tokens, stopped_by)


async def reserve_output(
    call: GrantedCall,
    *,
    input_tokens: int,
    choices: int,
    requested: int,
    model_default: int,
    context_tokens: int,
    received_tokens: int = 0,
    prompt_only: bool = False,
) -> OutputLimit:
    """Have enough reserved for the prompt as the model's tokenizer counts it, and for the longest answer; where that is
    not to be had, for one token a choice. Arguments as for `output_limit`, whose result is returned.

    Raises:
        ServiceError: LEDGER_UNAVAILABLE; else as `output_limit` does.
    """
    prices, spent = call.meter.prices, call.meter.amounts
    room = context_tokens - input_tokens - received_tokens
    own = requested or model_default
    longest = min(room, own - received_tokens) if own else room
    if longest >= 1:
        prompt = _prompt_numerator(prices, spent, input_tokens=input_tokens, received_tokens=received_tokens)
        price = prices.get(UNIT_OUTPUT_TOKENS, 0) * choices
        for tokens in (longest, 1):
            needed = _nanos(prompt + price * tokens)
            if needed <= MAX_NANOS and await call.reserve_cost(needed):
                break
    return output_limit(
        input_tokens=input_tokens,
        choices=choices,
        requested=requested,
        model_default=model_default,
        context_tokens=context_tokens,
        prices=prices,
        spent=spent,
        cap_nanos=call.meter.cap_nanos,
        received_tokens=received_tokens,
        prompt_only=prompt_only,
    )


def _nanos(numerator: int) -> int:
    return -(-numerator // PER_MILLION)


def _prompt_numerator(
    prices: Mapping[Unit, int], spent: Mapping[Unit, int], *, input_tokens: int, received_tokens: int
) -> int:
    """Return the cost once the prompt is read, as if it had to be read at its dearest, in millionths of a
    nano-dollar.
    """
    price = prices.get(UNIT_CACHED_INPUT_TOKENS, 0)
    if not received_tokens:
        price = max(price, prices.get(UNIT_INPUT_TOKENS, 0))
    return price_numerator(prices, spent) + price * (input_tokens + received_tokens)
