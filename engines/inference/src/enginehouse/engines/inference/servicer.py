"""`inference.v1.GenerationService` over the text engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc

from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from enginehouse.engines.inference.engine import TextEngine
from enginehouse.engines.inference.validation import check_list_models
from enginehouse.kit.calls import Call, Calls
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError
from enginehouse.kit.last_message import ends_with
from enginehouse.kit.openai import InProcessTextEngine

_DEFAULT_PAGE = 100

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class GenerationServicer(generation_pb2_grpc.GenerationServiceServicer):
    """The service: it accepts each call's grant and lets the engine answer.

    Args:
        engine: has the models.
        answering: answers granted calls: the engine, or a wrapper that caches its answers.
        calls: accepts grants and records the usage of calls.
    """

    def __init__(self, *, engine: TextEngine, answering: InProcessTextEngine[Call], calls: Calls) -> None:
        self._engine = engine
        self._answering = answering
        self._calls = calls

    @ends_with(lambda response: response.HasField("summary"))
    async def Generate(
        self, request: generation_pb2.GenerateRequest, context: Context
    ) -> AsyncIterator[generation_pb2.GenerateResponse]:
        """Generate text; see the contract."""
        async with (
            self._calls.accept(context, served_models=self._engine.models.names) as call,
            aclosing(self._answering.generate(request, call)) as responses,
        ):
            async for response in responses:
                yield response

    async def Embed(self, request: generation_pb2.EmbedRequest, context: Context) -> generation_pb2.EmbedResponse:
        """Embed texts; see the contract."""
        async with self._calls.accept(context, served_models=self._engine.models.names) as call:
            return await self._answering.embed(request, call)

    async def Tokenize(
        self, request: generation_pb2.TokenizeRequest, context: Context
    ) -> generation_pb2.TokenizeResponse:
        """Split a text into tokens; see the contract."""
        async with self._calls.accept(context, served_models=None) as call:
            # The request may name an alias or "auto"; the grant names what that stands for.
            granted = [candidate.model for candidate in call.grant.candidates]
            return await self._engine.tokenize(request, granted[0] if granted else request.model)

    async def CountTokens(
        self, request: generation_pb2.CountTokensRequest, context: Context
    ) -> generation_pb2.CountTokensResponse:
        """Count a prompt's tokens; see the contract."""
        async with self._calls.accept(context, served_models=None) as call:
            granted = [candidate.model for candidate in call.grant.candidates]
            return await self._engine.count_tokens(
                request.generate, call, granted[0] if granted else request.generate.model
            )

    async def ListModels(
        self, request: generation_pb2.ListModelsRequest, context: Context
    ) -> generation_pb2.ListModelsResponse:
        """List the models that can be loaded here, by name; see the contract."""
        async with self._calls.accept(context, served_models=None):
            check_list_models(request)
            # The token is the last name of the previous page, which stays valid when models come and go.
            if len(request.page_token) > 128:
                description = "is not a token of this service"
                raise ServiceError(
                    Reason.INVALID_REQUEST,
                    f"page_token: {description}",
                    violations=[FieldViolation("page_token", description)],
                )
            after = [served for served in self._engine.models.all if served.catalog.name > request.page_token]
            page = after[: request.page_size or _DEFAULT_PAGE]
            response = generation_pb2.ListModelsResponse(models=[self._engine.describe(served) for served in page])
            if len(page) < len(after):
                response.next_page_token = page[-1].catalog.name
            return response
