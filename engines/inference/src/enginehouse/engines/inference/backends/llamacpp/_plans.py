"""Translation of a request for llama.cpp: the route, the body, and the grammar that bounds the output."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest, Message
from enginehouse.engines.inference.backends.llamacpp._bodies import message_body, sampling_body, tool_bodies
from enginehouse.engines.inference.backends.llamacpp._options import SamplingDefaults
from enginehouse.engines.inference.backends.llamacpp._server import LlamaCppServer
from enginehouse.engines.inference.generation.conversations import TemplateRefusal, forms_of
from enginehouse.engines.inference.generation.tagged_calls import TaggedCallReader
from enginehouse.engines.inference.generation.tool_calls import (
    CallOrFormReader,
    ForcedCallReader,
    ToolReader,
    call_grammar,
    call_or_form_grammar,
    forced_tools,
    instructed,
    without_tools,
)
from enginehouse.engines.inference.grammar import schema_grammar
from enginehouse.engines.inference.grammar.schemas import parse_object_schema
from enginehouse.engines.inference.validation import calls_tools
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError

# No vocabulary has longer tokens on average; a text that is too long even so is refused without being counted.
_MAX_BYTES_PER_TOKEN = 256


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """A request as llama.cpp takes it."""

    chat: bool
    """True for the chat route, which applies the template itself and reads tool calls and reasoning."""
    body: dict[str, Any]
    """Everything but the number of choices, their seed and their length."""
    input_tokens: int
    """The number of tokens that llama.cpp will count, exactly."""
    constrained: bool
    """True if a grammar bounds the output."""
    stops: Sequence[str] = ()
    """Texts that end a choice."""
    tool_reader: Callable[[], ToolReader] | None = None
    """Makes the reader of one choice's tool calls, if llama.cpp does not read them itself."""
    resumable: bool = False
    """True if the answer is made in steps from which another engine can go on."""
    greedy: bool = False
    """True if the likeliest token is always taken."""
    scored: bool = False
    """True if every token is to have its log probability, or none is to be made."""
    parsed: bool = False
    """True if llama.cpp reads calls or reasoning out of the answer, which may fail."""
    added_tokens: int = 0
    """How many tokens at the prompt's beginning are no part of its text."""


class RequestPlanner:
    """A planner of requests for one loaded model.

    Args:
        server: counts tokens and applies the template.
        context_tokens: the bound on the tokens of prompt and answer together.
        native_tools: true if the model's template writes tools and llama.cpp reads its calls.
        plain_chat: true if a chat's answer is only its text, without separate reasoning.
        sampling: the defaults of requests.
        vocabulary_size: the number of the model's tokens.
        resumes: true if the model computes exactly enough for answers to be continued.
    """

    def __init__(
        self,
        *,
        server: LlamaCppServer,
        context_tokens: int,
        native_tools: bool,
        plain_chat: bool,
        sampling: SamplingDefaults,
        vocabulary_size: int,
        resumes: bool,
    ) -> None:
        self._server = server
        self._context_tokens = context_tokens
        self._native_tools = native_tools
        self._plain_chat = plain_chat
        self._sampling = sampling
        self._vocabulary_size = vocabulary_size
        self._resumes = resumes

    async def plan(self, request: GenerateRequest) -> RequestPlan:
        """Return the plan of a request, with its prompt counted.

        Raises:
            ServiceError: CONTEXT_LENGTH_EXCEEDED for a prompt too long to be worth counting, INVALID_SCHEMA,
                INVALID_REQUEST.
        """
        refused = None
        for messages in forms_of(request.messages):
            try:
                return await self._plan(request, messages)
            except TemplateRefusal as error:
                # What it says of the conversation as it came explains most.
                refused = refused or error
        assert refused is not None
        raise refused

    async def _plan(self, request: GenerateRequest, messages: Sequence[Message]) -> RequestPlan:
        self.refuse_overlong(sum(len(message.content) for message in request.messages) + len(request.prompt), "prompt")
        body = sampling_body(request, self._sampling)
        if not request.messages:
            prompt = request.prompt or self._known_tokens(request.prompt_token_ids)
            return await self._from_prompt(request, body, prompt, grammar=await _format_grammar(request))
        if not self._native_tools:
            messages = without_tools(messages)
        if not calls_tools(request):
            if self._resumable(request) or self._scored(request):
                template = {"messages": [message_body(message) for message in messages]}
                prompt = (await self._server.ask("/apply-template", template))["prompt"]
                return await self._from_prompt(request, body, prompt, grammar="")
            return await self._chat(request, body, messages, tools=False)
        forced = forced_tools(request)
        form = request.format.WhichOneof("form")
        if not forced and form == "grammar":
            description = "cannot bound an answer that may be a tool call; give a JSON schema, or require a call"
            raise ServiceError(
                Reason.INVALID_REQUEST,
                f"format.grammar: {description}",
                violations=[FieldViolation("format.grammar", description)],
            )
        if not forced and self._native_tools and not form:
            return await self._chat(request, body, messages, tools=True)
        # Schemas may take a while; others' tokens must not wait for it.
        grammar = ""
        if forced:
            grammar = await asyncio.to_thread(call_grammar, request, forced)
        elif form:
            grammar = await asyncio.to_thread(_call_or_form, request)
        shown = forced or list(request.tools)
        template = {}
        if self._native_tools:
            template["tools"] = tool_bodies(request, shown)
        else:
            messages = instructed(messages, shown, forced=bool(forced))
        template["messages"] = [message_body(message) for message in messages]
        prompt = (await self._server.ask("/apply-template", template))["prompt"]
        names = [tool.name for tool in shown]
        if forced:
            return await self._from_prompt(
                request, body, prompt, grammar=grammar, reader=lambda: ForcedCallReader(names)
            )
        most = 1 if request.HasField("parallel_tool_calls") and not request.parallel_tool_calls else None
        known = frozenset(names)
        return await self._from_prompt(
            request,
            body,
            prompt,
            grammar=grammar,
            reader=lambda: CallOrFormReader(TaggedCallReader(known, most)) if form else TaggedCallReader(known, most),
        )

    def refuse_overlong(self, size: int, field: str) -> None:
        """Raise CONTEXT_LENGTH_EXCEEDED for a text of so many bytes, or characters, that it cannot fit."""
        if size > self._context_tokens * _MAX_BYTES_PER_TOKEN:
            raise too_long(field, size // _MAX_BYTES_PER_TOKEN, self._context_tokens, at_least=True)

    async def _chat(
        self, request: GenerateRequest, body: dict[str, Any], messages: Sequence[Message], *, tools: bool
    ) -> RequestPlan:
        body["messages"] = [message_body(message) for message in messages]
        if tools:
            body["tools"] = tool_bodies(request, request.tools)
            # llama.cpp would read one call at most, and show a second one as text.
            body["parallel_tool_calls"] = not request.HasField("parallel_tool_calls") or request.parallel_tool_calls
        grammar = await _format_grammar(request)
        if grammar:
            body["grammar"] = grammar
        if request.logprobs:
            body["logprobs"] = True
            # Without alternatives, llama.cpp reports no log probabilities at all.
            body["top_logprobs"] = max(1, request.top_logprobs)
        counted = await self._server.ask("/v1/chat/completions/input_tokens", body)
        # A tool's schema bounds the output as well, once the model begins to call it.
        return RequestPlan(
            chat=True,
            body=body,
            input_tokens=int(counted["input_tokens"]),
            constrained=bool(grammar) or tools,
            stops=request.stop,
            parsed=tools or not self._plain_chat,
        )

    async def _from_prompt(
        self,
        request: GenerateRequest,
        body: dict[str, Any],
        prompt: str | Sequence[int],
        *,
        grammar: str,
        reader: Callable[[], ToolReader] | None = None,
    ) -> RequestPlan:
        if isinstance(prompt, str):
            tokens = await self._server.tokenize(prompt, special=True)
            added = await self._server.tokenize("", special=True)
        else:
            tokens, added = list(prompt), []
        body["prompt"] = tokens
        if grammar:
            body["grammar"] = grammar
        if request.logprobs:
            body["logprobs"] = max(1, request.top_logprobs)
        return RequestPlan(
            chat=False,
            body=body,
            input_tokens=len(tokens),
            constrained=bool(grammar),
            # A stop text inside the arguments of a required call would cut the call in half.
            stops=() if forced_tools(request) else request.stop,
            tool_reader=reader,
            resumable=self._resumable(request),
            greedy=self._greedy(request),
            scored=request.prompt_only or self._scored(request) or (request.echo and request.logprobs),
            added_tokens=len(added),
        )

    def _known_tokens(self, tokens: Sequence[int]) -> Sequence[int]:
        for index, token in enumerate(tokens):
            if token >= self._vocabulary_size:
                field = f"prompt_token_ids[{index}]"
                description = f"{token} is no token of this model, which has {self._vocabulary_size}"
                raise ServiceError(
                    Reason.INVALID_REQUEST, f"{field}: {description}", violations=[FieldViolation(field, description)]
                )
        return tokens

    def _scored(self, request: GenerateRequest) -> bool:
        # A stream of llama.cpp leaves out tokens that end within a character.
        return (
            request.logprobs
            and (self._plain_chat or not request.messages)
            and not calls_tools(request)
            and request.format.WhichOneof("form") is None
        )

    def _greedy(self, request: GenerateRequest) -> bool:
        sampling = request.sampling
        return (sampling.temperature if sampling.HasField("temperature") else self._sampling.temperature) == 0

    def _resumable(self, request: GenerateRequest) -> bool:
        # The state of a grammar and text held back for a call cannot be restored from tokens; and without a seed no
        # engine could sample the same tokens.
        return (
            self._resumes
            and request.resumable
            and (self._plain_chat or not request.messages)
            and not request.prompt_only
            and not calls_tools(request)
            and request.format.WhichOneof("form") is None
            and request.choices <= 1
            and (request.sampling.HasField("seed") or self._greedy(request))
        )


async def _format_grammar(request: GenerateRequest) -> str:
    form = request.format.WhichOneof("form")
    if form in ("json_object", "json_schema"):
        schema, field = _format_schema(request)
        # It may take a while; others' tokens must not wait for it.
        return await asyncio.to_thread(schema_grammar, schema, field=field)
    return request.format.grammar if form == "grammar" else ""


def _format_schema(request: GenerateRequest) -> tuple[dict[str, Any], str]:
    """Return the schema of a JSON answer and the field that it came in."""
    if request.format.WhichOneof("form") == "json_object":
        return {"type": "object"}, "format.json_object"
    field = "format.json_schema"
    return parse_object_schema(request.format.json_schema, field=field), field


def _call_or_form(request: GenerateRequest) -> str:
    schema, field = _format_schema(request)
    return call_or_form_grammar(request, schema, field=field)


def too_long(field: str, tokens: int, context_tokens: int, *, at_least: bool = False) -> ServiceError:
    """Return CONTEXT_LENGTH_EXCEEDED with both numbers, about one field."""
    description = f"{'at least ' if at_least else ''}{tokens} tokens do not fit the model's context of {context_tokens}"
    return ServiceError(
        Reason.CONTEXT_LENGTH_EXCEEDED,
        f"{field}: {description}",
        violations=[FieldViolation(field, description)],
        metadata={"prompt_tokens": str(tokens), "context_tokens": str(context_tokens)},
    )
