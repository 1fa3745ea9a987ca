"""Prompts counted by the engines that would serve them, for requests that a budget cannot pay at their bound."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence

import grpc
from google.api import httpbody_pb2

from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from enginehouse.api.openai.v1 import text_pb2
from enginehouse.api.router.v1 import grant_pb2
from enginehouse.kit.address_channels import AddressChannels
from enginehouse.kit.grants import GRANT_HEADER, GrantKeys, sign
from enginehouse.kit.openai import read_chat, read_completion
from enginehouse.kit.tasks import in_task
from enginehouse.router.admission.admitting import Admitting, Check
from enginehouse.router.clock import Clock
from enginehouse.router.decision.decide import Candidate
from enginehouse.router.ids import new_id
from enginehouse.router.request import InferenceRequest, first_message

_GENERATION = f"/{generation_pb2.DESCRIPTOR.services_by_name['GenerationService'].full_name}/"
_OPENAI = f"/{text_pb2.DESCRIPTOR.services_by_name['TextService'].full_name}/"


class ExactInput:
    """Lowers the bounds of requests for text to what their prompts cost exactly.

    A bound counts every byte of a prompt as a token. An engine has the tokenizer, and counts as it would for the
    generation; so the lower bound is still one that no answer passes, and the answer may be as long as before.

    Args:
        grant_keys: the keys that sign grants.
        channels: to engines.
        clock: milliseconds since 1970 UTC.
        timeout_s: how long an engine may take; 0 to ask none.
        max_body_bytes: the most that a compressed body may grow to.
        asked: is told of each count that was asked for, and whether it came.
    """

    def __init__(
        self,
        *,
        grant_keys: GrantKeys,
        channels: AddressChannels,
        clock: Clock,
        timeout_s: float,
        max_body_bytes: int,
        asked: Callable[[bool], None],
    ) -> None:
        self._grant_keys = grant_keys
        self._channels = channels
        self._clock = clock
        self._timeout_s = timeout_s
        self._max_body_bytes = max_body_bytes
        self._asked = asked

    async def lower(
        self,
        admitting: Admitting,
        candidates: Sequence[Candidate],
        grant: grant_pb2.Grant,
        *,
        unspent_nanos: int | None,
    ) -> tuple[Candidate, ...]:
        """Return the candidates with lower bounds, where their engines count the prompt in time.

        Args:
            admitting: the request.
            candidates: the models that may serve it.
            grant: the request's, unsigned.
            unspent_nanos: what the budget that lacks money has at most, whatever comes back; None if it is not known.
        """
        request = admitting.request
        if self._timeout_s <= 0 or request is None or request.inputs:
            return tuple(candidates)
        outputs = max([_bound(candidate, request, tokens=0) for candidate in candidates])
        if unspent_nanos is not None and unspent_nanos <= outputs:
            # The answer alone is more than the budget has.
            return tuple(candidates)
        prompt = _prompt(admitting.check, max_bytes=self._max_body_bytes)
        if prompt is None:
            return tuple(candidates)
        await in_task()
        return tuple(
            await asyncio.gather(*[self._lowered(candidate, request, prompt, grant) for candidate in candidates])
        )

    async def close(self) -> None:
        """Close the connections to engines."""
        await self._channels.close()

    async def _lowered(
        self,
        candidate: Candidate,
        request: InferenceRequest,
        prompt: generation_pb2.GenerateRequest,
        grant: grant_pb2.Grant,
    ) -> Candidate:
        tokens = await self._count(candidate, prompt, grant)
        if tokens is None:
            return candidate
        bound = _bound(candidate, request, tokens=tokens)
        return dataclasses.replace(candidate, bound_nanos=min(candidate.bound_nanos, bound))

    async def _count(
        self, candidate: Candidate, prompt: generation_pb2.GenerateRequest, grant: grant_pb2.Grant
    ) -> int | None:
        now, life_ms = self._clock(), int(self._timeout_s * 1000) + 1000
        own = grant_pb2.Grant(
            grant_id=new_id("grn"),
            request_id=new_id("req"),
            attempt=1,
            method=f"{_GENERATION}CountTokens",
            principal=grant.principal,
            candidates=[grant_pb2.GrantCandidate(model=candidate.model.name)],
            system_prompt=grant.system_prompt,
            issued_at_ms=now,
            accept_by_ms=now + life_ms,
            expires_at_ms=now + life_ms,
            offered_engines=1,
        )
        try:
            stub: generation_pb2_grpc.GenerationServiceAsyncStub = generation_pb2_grpc.GenerationServiceStub(
                await self._channels.to(candidate.endpoints[0].address)
            )
            counted = await stub.CountTokens(
                generation_pb2.CountTokensRequest(generate=prompt),
                metadata=((GRANT_HEADER, sign(own, keys=self._grant_keys)),),
                timeout=self._timeout_s,
            )
        except grpc.aio.AioRpcError:
            self._asked(False)
            return None
        self._asked(True)
        return counted.input_tokens


def _bound(candidate: Candidate, request: InferenceRequest, *, tokens: int) -> int:
    return candidate.offer.bound_nanos(dataclasses.replace(request, input_bytes=tokens))


def _prompt(check: Check, *, max_bytes: int) -> generation_pb2.GenerateRequest | None:
    """Return the request that an engine makes of a call's body; None for a call that is none for text."""
    method = check.method
    if method not in (f"{_GENERATION}Generate", f"{_OPENAI}CreateChatCompletion", f"{_OPENAI}CreateCompletion"):
        return None
    encoding = check.headers.get(b"grpc-encoding", b"").decode("latin-1")
    # It was read once before, for its bounds.
    message = first_message(check.body, encoding=encoding, max_bytes=max_bytes)
    if method.startswith(_GENERATION):
        return generation_pb2.GenerateRequest.FromString(message)
    body = httpbody_pb2.HttpBody.FromString(message).data
    if method.endswith("CreateChatCompletion"):
        return read_chat(body).generate
    return read_completion(body).prompts[0]
