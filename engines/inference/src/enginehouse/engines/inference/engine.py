"""The text engine: validate, admit, bound by the grant's cap, run a model and account for its output.

It knows neither gRPC nor which runtime answers. `GenerationServicer` and OpenAI's endpoints both serve it.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TypeAlias

from enginehouse.api.common.v1.usage_pb2 import UNIT_CACHED_INPUT_TOKENS, UNIT_INPUT_TOKENS, UNIT_OUTPUT_TOKENS
from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.engines.inference.backends.base import LoadedTextModel, TextModelInfo
from enginehouse.engines.inference.generation.choices import Choices
from enginehouse.engines.inference.generation.compact import compact_schemas
from enginehouse.engines.inference.generation.events import FinishReason, GenerationEvent, OutputPiece, TokenCounts
from enginehouse.engines.inference.generation.limits import reserve_output
from enginehouse.engines.inference.resume_tokens import ResumeToken, ResumeTokens, seeded
from enginehouse.engines.inference.tenant_prompt_history import PromptMatch, TenantPromptHistory
from enginehouse.engines.inference.validation import calls_tools, check_embed, check_generate, check_tokenize
from enginehouse.kit import loading
from enginehouse.kit.calls import GrantedCall
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError
from enginehouse.kit.loading import ServedModels
from enginehouse.kit.usage.meter import Meter

ServedModel: TypeAlias = loading.ServedModel[TextModelInfo, LoadedTextModel]
TextModels: TypeAlias = ServedModels[TextModelInfo, LoadedTextModel]

# The marks that a tokenizer puts around a text.
_INPUT_OVERHEAD = 16


class TextEngine:
    """A text engine over the models that it serves.

    Args:
        models: the models that can be loaded here.
        resume_tokens: let a cut answer be continued on another engine.
    """

    def __init__(self, *, models: TextModels, resume_tokens: ResumeTokens) -> None:
        self._resume_tokens = resume_tokens
        self._own_prompts = TenantPromptHistory()
        self.models = models
        """The models that can be loaded here."""

    def generate(
        self, request: generation_pb2.GenerateRequest, call: GrantedCall
    ) -> AsyncGenerator[generation_pb2.GenerateResponse, None]:
        """Yield the messages of one generation; the last has a summary, whose usage is the whole call's so far.

        Where the model fails before any output, the next one that the grant names takes over, if it is served here.
        Closing the generator frees the model's slot at once.

        Raises:
            ServiceError: the request is invalid, or no model can answer it.
        """
        _complete(request, call)
        return self.models.stream(
            call,
            lambda: self._generate(request, call),
            # The tokens that an answer is resumed from are its own model's.
            may_fall_back=not request.HasField("resume"),
        )

    async def _generate(
        self, request: generation_pb2.GenerateRequest, call: GrantedCall
    ) -> AsyncGenerator[generation_pb2.GenerateResponse, None]:
        _, served = self.models.granted(call)
        _check_capabilities(request, served.catalog)
        meter = call.meter
        async with served.hold() as loaded:
            if request.resumable and loaded.info.may_resume:
                request = seeded(request, call.request_id)
            prepared = await loaded.prepare(request)
            # A call that another model can serve does not wait for a provider.
            prepared.patience_s = 0.0 if call.alternatives else call.time_left_s()
            resume_token = self._resume_tokens.open(
                request, prepared, request_id=call.request_id, model=served.catalog.name
            )
            received = len(request.resume.token_ids) if request.HasField("resume") else 0
            limit = await reserve_output(
                call,
                input_tokens=prepared.input_tokens,
                choices=request.choices or 1,
                requested=request.max_output_tokens,
                model_default=served.catalog.max_output_tokens,
                context_tokens=loaded.info.context_tokens,
                received_tokens=received,
                prompt_only=request.prompt_only,
            )
            likely = prepared.likely_input_tokens
            prompt = self._own_prompts.match(request, tenant=call.tenant_id, model=served.catalog.name)
            account = _Account(
                meter,
                input_tokens=prepared.input_tokens if likely is None else likely,
                read_again=received > 0,
                new_tokens=await _new_tokens(prompt, loaded),
                on_read=lambda: self._own_prompts.remember(prompt),
            )
            echo = (request.prompt or prepared.prompt_text) if request.echo and not received else ""
            output = Choices(count=request.choices or 1, limit=limit, echo=echo)
            response = generation_pb2.GenerateResponse(
                request_id=call.request_id, model=served.catalog.name, resumable=resume_token is not None
            )
            if limit.tokens == 0 and not request.prompt_only:
                # The answer is complete already: the prompt need not be read.
                output.merge([OutputPiece(0, finish=FinishReason.LENGTH)], response.deltas)
                yield _last(response, call)
                return
            begun = False
            try:
                async with aclosing(loaded.generate(prepared, max_output_tokens=limit.tokens)) as batches:
                    async for batch in batches:
                        pieces = account.count_pieces(batch)
                        if pieces is None:
                            if not account.has_room(batch):
                                await account.reserve(batch, call)
                            pieces = account.count(batch)
                        deltas = response.deltas
                        output.merge(pieces, deltas)
                        if account.capped:
                            output.end_all(deltas)
                            break
                        if not deltas:
                            continue
                        if not begun:
                            begun = True
                            call.mark_first_output()
                        # The last deltas wait for the usage, which is complete when the runtime ends.
                        if not output.ended:
                            if resume_token is not None:
                                _add_receipts(response, resume_token, meter)
                            yield response
                            response = generation_pb2.GenerateResponse()
            finally:
                account.settle_prompt()
        if not output.ended:
            raise ServiceError(
                Reason.BACKEND_FAILED, f"the runtime of {served.catalog.name!r} ended before the answer was complete"
            )
        if output.cut_by_budget:
            meter.capped = True
        yield _last(response, call)

    async def embed(self, request: generation_pb2.EmbedRequest, call: GrantedCall) -> generation_pb2.EmbedResponse:
        """Embed texts; raise ServiceError."""
        check_embed(request)
        _, served = self.models.granted(call)
        if "embeddings" not in served.catalog.capabilities:
            raise _unsupported(served.catalog, "embeddings")
        if request.dimensions > served.info.embedding_dimensions:
            description = f"{request.dimensions} is more than the model's {served.info.embedding_dimensions}"
            raise ServiceError(
                Reason.INVALID_REQUEST,
                f"dimensions: {description}",
                violations=[FieldViolation("dimensions", description)],
            )
        await call.reserve(UNIT_INPUT_TOKENS, sum(len(text.encode()) + _INPUT_OVERHEAD for text in request.inputs))
        async with served.hold() as loaded:
            embedded = await loaded.embed(request.inputs, max_input_tokens=call.meter.affordable(UNIT_INPUT_TOKENS))
        call.meter.add(UNIT_INPUT_TOKENS, embedded.input_tokens)
        call.mark_first_output()
        response = generation_pb2.EmbedResponse(
            request_id=call.request_id, model=served.catalog.name, usage=call.meter.usage()
        )
        for vector in embedded.vectors:
            response.embeddings.add(values=_shortened(vector, request.dimensions))
        return response

    async def tokenize(self, request: generation_pb2.TokenizeRequest, model: str) -> generation_pb2.TokenizeResponse:
        """Split a text into the tokens of a model; raise ServiceError."""
        check_tokenize(request)
        served = self.models.find(model)
        async with served.use() as loaded:
            return generation_pb2.TokenizeResponse(token_ids=await loaded.tokenize(request.text))

    async def count_tokens(
        self, request: generation_pb2.GenerateRequest, call: GrantedCall, model: str
    ) -> generation_pb2.CountTokensResponse:
        """Count the prompt that a generation by a model would read, just as the generation would; raise ServiceError.

        It takes no slot of the model, and does not load it.
        """
        _complete(request, call)
        served = self.models.find(model)
        _check_capabilities(request, served.catalog)
        if served.loaded is None:
            raise ServiceError(
                Reason.FAILED_PRECONDITION, f"model {served.catalog.name!r} is not loaded; a generation loads it"
            )
        async with served.use() as loaded:
            if request.resumable and loaded.info.may_resume:
                request = seeded(request, call.request_id)
            prepared = await loaded.prepare(request)
        if prepared.likely_input_tokens is not None:
            raise ServiceError(
                Reason.UNSUPPORTED_CAPABILITY,
                f"only the provider of {served.catalog.name!r} has its tokenizer; its generations tell what they read",
            )
        return generation_pb2.CountTokensResponse(
            input_tokens=prepared.input_tokens + len(request.resume.token_ids), model=served.catalog.name
        )

    def describe(self, served: ServedModel) -> generation_pb2.Model:
        """Return a model as `ListModels` shows it."""
        return generation_pb2.Model(
            name=served.catalog.name,
            context_tokens=served.info.context_tokens,
            capabilities=capabilities_of(served),
            embedding_dimensions=served.info.embedding_dimensions,
        )


class _Account:
    """The account of one call, which counts the tokens that the runtime reports before they are sent."""

    def __init__(
        self, meter: Meter, *, input_tokens: int, read_again: bool, new_tokens: int, on_read: Callable[[], None]
    ) -> None:
        self._meter = meter
        self._input_tokens = input_tokens
        # This many of the prompt's tokens are new to the tenant: they count as read, even if they were cached.
        self._new_tokens = new_tokens
        self._on_read = on_read
        # The prompt of a resumed answer was read, and billed, before.
        self._read_again = read_again
        self._prompt_counted = False
        self._output_tokens = 0
        self.capped = False

    def count_pieces(self, batch: Sequence[GenerationEvent]) -> Sequence[OutputPiece] | None:
        """Count a batch that has pieces alone and fits under the cap as it is; None for any other, uncounted."""
        tokens = 0
        pieces: list[OutputPiece] = []
        for event in batch:
            if not isinstance(event, OutputPiece):
                return None
            tokens += event.tokens
            pieces.append(event)
        if not self._meter.take_all(UNIT_OUTPUT_TOKENS, tokens):
            return None
        self._output_tokens += tokens
        return pieces

    def has_room(self, batch: Sequence[GenerationEvent]) -> bool:
        """Return whether a batch surely fits under the cap as it is."""
        tokens = 0
        for event in batch:
            if isinstance(event, OutputPiece):
                tokens += event.tokens
            elif self._meter.would_exceed(UNIT_INPUT_TOKENS, event.input_tokens) or event.output_tokens is not None:
                return False
        return not self._meter.would_exceed(UNIT_OUTPUT_TOKENS, tokens)

    async def reserve(self, batch: Sequence[GenerationEvent], call: GrantedCall) -> None:
        """Have enough reserved for a batch, where a runtime counts more than was expected of it."""
        for event in batch:
            if isinstance(event, TokenCounts):
                if not self._prompt_counted:
                    await call.reserve(UNIT_INPUT_TOKENS, event.input_tokens)
                await call.reserve(UNIT_OUTPUT_TOKENS, max(0, (event.output_tokens or 0) - self._output_tokens))
        tokens = sum([event.tokens for event in batch if isinstance(event, OutputPiece)])
        await call.reserve(UNIT_OUTPUT_TOKENS, tokens)

    def count(self, batch: Sequence[GenerationEvent]) -> list[OutputPiece]:
        """Count a batch; return the pieces that were paid for, and set `capped` if not all were."""
        tokens = 0
        pieces: list[OutputPiece] = []
        for event in batch:
            if isinstance(event, OutputPiece):
                tokens += event.tokens
                pieces.append(event)
            elif pieces:
                # In their order: what a total adds depends on the pieces before it.
                return self._count_in_order(batch)
            else:
                self._count_totals(event)
        if self._meter.take_all(UNIT_OUTPUT_TOKENS, tokens):
            self._output_tokens += tokens
            return pieces
        return self._count_in_order(pieces)

    def _count_in_order(self, batch: Sequence[GenerationEvent]) -> list[OutputPiece]:
        paid: list[OutputPiece] = []
        for event in batch:
            if isinstance(event, TokenCounts):
                self._count_totals(event)
                continue
            if event.tokens and self._meter.would_exceed(UNIT_OUTPUT_TOKENS, event.tokens):
                self.capped = True
                break
            self._meter.take(UNIT_OUTPUT_TOKENS, event.tokens)
            self._output_tokens += event.tokens
            paid.append(event)
        return paid

    def _count_totals(self, counts: TokenCounts) -> None:
        if not self._prompt_counted:
            self._prompt_counted = True
            self._on_read()
            own = max(0, counts.input_tokens - self._new_tokens)
            cached = counts.input_tokens if self._read_again else min(counts.cached_input_tokens, own)
            self._meter.take(UNIT_INPUT_TOKENS, counts.input_tokens - cached)
            self._meter.take(UNIT_CACHED_INPUT_TOKENS, cached)
        if counts.output_tokens is not None and counts.output_tokens > self._output_tokens:
            self._meter.take(UNIT_OUTPUT_TOKENS, counts.output_tokens - self._output_tokens)
            self._output_tokens = counts.output_tokens

    def settle_prompt(self) -> None:
        """Count the prompt as it was estimated, if there was output and the runtime never reported the prompt."""
        if self._output_tokens and not self._prompt_counted:
            self._prompt_counted = True
            self._meter.take(UNIT_CACHED_INPUT_TOKENS if self._read_again else UNIT_INPUT_TOKENS, self._input_tokens)


async def _new_tokens(prompt: PromptMatch, loaded: LoadedTextModel) -> int:
    """Return an upper bound on the tokens of a prompt that its tenant has not sent before."""
    if not prompt.known:
        return 2**31 - 1
    if not prompt.rest:
        return 0
    try:
        tokens = len(await loaded.tokenize(prompt.rest))
    except ServiceError:
        # Without a tokenizer, every byte may be a token.
        tokens = len(prompt.rest.encode("utf-8", "surrogatepass"))
    return tokens + prompt.margin


def capabilities_of(served: ServedModel) -> list[str]:
    """Return a model's capabilities here: the catalog's, and `resume` where answers can be continued exactly."""
    return sorted({*served.catalog.capabilities, "resume"} if served.info.may_resume else served.catalog.capabilities)


def _add_receipts(response: generation_pb2.GenerateResponse, resume_token: ResumeToken, meter: Meter) -> None:
    for delta in response.deltas:
        resume_token.add(delta.token_ids)
        delta.receipt = resume_token.receipt()
    response.usage_so_far.CopyFrom(meter.usage())


def _last(response: generation_pb2.GenerateResponse, call: GrantedCall) -> generation_pb2.GenerateResponse:
    summary = response.summary
    call.meter.put_usage(summary.usage)
    summary.time_to_first_token_ms = call.first_output_ms
    summary.total_ms = call.elapsed_ms()
    return response


def _complete(request: generation_pb2.GenerateRequest, call: GrantedCall) -> None:
    """Check a request for text, and bring it into the form in which a model gets it."""
    check_generate(request)
    compact_schemas(request)
    if call.system_prompt:
        _put_before(request, call.system_prompt)


def _put_before(request: generation_pb2.GenerateRequest, text: str) -> None:
    """Put a system message before the conversation. Templates allow one at most, so an existing one is extended."""
    if not request.messages:
        return
    first = request.messages[0]
    if first.role == generation_pb2.ROLE_SYSTEM:
        first.content = f"{text}\n\n{first.content}"
    else:
        request.messages.insert(0, generation_pb2.Message(role=generation_pb2.ROLE_SYSTEM, content=text))


def _check_capabilities(request: generation_pb2.GenerateRequest, model: CatalogModel) -> None:
    needed = ["chat" if request.messages else "completion"]
    if calls_tools(request):
        needed.append("tools")
    form = request.format.WhichOneof("form")
    if form is not None:
        needed.append("grammar" if form == "grammar" else "json_schema")
    if request.logprobs:
        needed.append("logprobs")
    for capability in needed:
        if capability not in model.capabilities:
            raise _unsupported(model, capability)


def _unsupported(model: CatalogModel, capability: str) -> ServiceError:
    known = ", ".join(sorted(model.capabilities)) or "nothing"
    return ServiceError(
        Reason.UNSUPPORTED_CAPABILITY, f"model {model.name!r} lacks the capability {capability!r}; it has: {known}"
    )


def _shortened(vector: Sequence[float], dimensions: int) -> Sequence[float]:
    if not dimensions or dimensions >= len(vector):
        return vector
    kept = vector[:dimensions]
    length = math.sqrt(sum(value * value for value in kept))
    return [value / length for value in kept] if length else kept
