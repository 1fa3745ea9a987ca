"""The client: text, embeddings and speech, and the administration behind its attributes."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from enginehouse.client._async.admin import AsyncAdmin
from enginehouse.client._async.billing import AsyncBilling
from enginehouse.client._async.cache import AsyncCache
from enginehouse.client._async.experiments import AsyncExperiments
from enginehouse.client._async.generation_stream import AsyncGenerationStream
from enginehouse.client._async.identity import AsyncIdentity
from enginehouse.client._async.policies import AsyncPolicies
from enginehouse.client._async.transport import AsyncTransport
from enginehouse.client._async.voice import AsyncVoiceMixin
from enginehouse.client._connection import Target, context_metadata, new_request_id, validate_api_key
from enginehouse.client.generation import Embeddings, Generation
from enginehouse.client.requests.generation import GenerationOptions, GenerationRequest, Message
from enginehouse.client.resumption import GenerationCall
from enginehouse.client.retries import RetryPolicy


class AsyncEnginehouse(AsyncVoiceMixin):
    """A mesh, through its public endpoint. Belongs to one event loop. Close it, or use it in an `async with` block.

    Args:
        url: `http://host:port` for a plain connection, `https://host:port` for TLS.
        api_key: `eh_...`.
        timeout_s: seconds for a call with all its retries, unless a call has a timeout of its own; None for no bound.
        retries: the policy for failed calls and for cut streams.
        user_id: the end user that the calls are for; brings the user's budgets and limits into scope.
        run_id: the run of a workflow that the calls are for.
        max_cost_nanos: the most that any one call may cost, in nano-dollars; an answer ends where it would cost more.

    Raises:
        ValueError: an argument is invalid.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        timeout_s: float | None = 120.0,
        retries: RetryPolicy | None = None,
        user_id: str = "",
        run_id: str = "",
        max_cost_nanos: int | None = None,
    ) -> None:
        transport = AsyncTransport(
            target=Target.parse(url),
            api_key=validate_api_key(api_key),
            context=context_metadata(user_id=user_id, run_id=run_id, max_cost_nanos=max_cost_nanos),
            timeout_s=timeout_s,
            retries=retries or RetryPolicy(),
        )
        super().__init__(transport=transport)
        self._generation = generation_pb2_grpc.GenerationServiceStub(transport.channel)
        self.admin = AsyncAdmin(transport=transport)
        self.billing = AsyncBilling(transport=transport)
        self.cache = AsyncCache(transport=transport)
        self.experiments = AsyncExperiments(transport=transport)
        self.identity = AsyncIdentity(transport=transport)
        self.policies = AsyncPolicies(transport=transport)

    async def generate(
        self,
        messages: str | Sequence[Message] | None = None,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
        **options: Unpack[GenerationOptions],
    ) -> Generation:
        """Generate a complete answer.

        Args:
            messages: a user's message, or a conversation; None with `prompt`.
            timeout_s: seconds for this call with all its retries; None takes the client's.
            request_id: 1-64 of [A-Za-z0-9_-]; None makes one.
            options: see `GenerationOptions`.

        Raises:
            EnginehouseError: the call failed.
            ValueError: the arguments contradict each other.
        """
        async with self.stream(messages, timeout_s=timeout_s, request_id=request_id, **options) as stream:
            async for _ in stream.messages():
                pass
            return stream.result

    def stream(
        self,
        messages: str | Sequence[Message] | None = None,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
        **options: Unpack[GenerationOptions],
    ) -> AsyncGenerationStream:
        """Generate an answer piece by piece. The arguments are those of `generate`; iterating raises its errors."""
        request_id = request_id or new_request_id()
        request = GenerationRequest(messages=messages, **options)
        message, routing = request.message(request_id), request.routing_metadata()
        message.resumable = self._transport.retries.max_resumes > 0
        state = GenerationCall(message, attempts=self._transport.attempts(timeout_s))

        def send() -> Any:
            metadata = self._transport.metadata(request_id, attempt=state.attempt) + routing
            return self._generation.Generate(state.request, metadata=metadata, timeout=state.remaining_s)

        return AsyncGenerationStream(state, send=send, request_id=request_id)

    async def embed(
        self,
        inputs: str | Sequence[str],
        *,
        model: str = "auto",
        dimensions: int = 0,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Embeddings:
        """Embed 1 to 2,048 texts. `dimensions` keeps that many dimensions of each vector, 0 all of them."""
        request_id = request_id or new_request_id()
        request = generation_pb2.EmbedRequest(
            request_id=request_id,
            model=model,
            inputs=[inputs] if isinstance(inputs, str) else inputs,
            dimensions=dimensions,
        )
        response = await self._transport.unary(
            self._generation.Embed, request, timeout_s=timeout_s, request_id=request_id
        )
        return Embeddings.of(response)

    async def tokenize(self, text: str, *, model: str, timeout_s: float | None = None) -> list[int]:
        """Return the text's token ids by the model's own tokenizer."""
        request = generation_pb2.TokenizeRequest(model=model, text=text)
        response = await self._transport.unary(self._generation.Tokenize, request, timeout_s=timeout_s)
        return list(response.token_ids)

    async def models(self, *, timeout_s: float | None = None) -> list[generation_pb2.Model]:
        """Return the models that serve text and embeddings now, by name."""
        models: list[generation_pb2.Model] = []
        request = generation_pb2.ListModelsRequest(page_size=1000)
        async for page in self._transport.pages(self._generation.ListModels, request, timeout_s=timeout_s):
            models.extend(page.models)
        return models

    async def close(self) -> None:
        """Close the connection. Calls that still run are cancelled."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
