"""The bound that the router reserves for a prompt: never less than what an engine reads, whatever a request holds.

The engine's tokenizer has almost no words, so that nearly every byte of a prompt is a token: no model counts more.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.api import httpbody_pb2
from google.protobuf import json_format
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest
from enginehouse.engines.inference.validation import check_generate
from enginehouse.kit.contracts import load_contracts
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.openai import read_chat, read_completion, read_embedding
from enginehouse.router.request import InferenceRequest, parse_request
from engines.inference.tests.text_engine import EngineClient, llama_model, running_engine
from engines.inference.tests.tiny_gguf import PLAIN_TEMPLATE, TOOL_TEMPLATE, write_tiny_llama

CONTRACTS = load_contracts()
GENERATE = "/enginehouse.api.inference.v1.GenerationService/Generate"
OPENAI = "/enginehouse.api.openai.v1.TextService/"

SPREADING = (
    "{%- for m in messages if m.role == 'system' and not loop.first %}{{ raise_exception('Only first') }}{% endfor %}"
    "{%- if tools %}<|im_start|>system\nYou have tools. Answer with a call as a JSON object where one helps.\n"
    "{% for tool in tools %}{{ tool | tojson(indent=4) }}\n\n{% endfor %}<|im_end|>\n{% endif %}"
    "{%- for m in messages %}<|im_start|>{{ m.role }} {{ m.name or '' }}\n"
    "{%- if m.role == 'tool' %}<tool_response id={{ m.tool_call_id }}>{{ m.content | tojson }}</tool_response>"
    "{% else %}{{ m.content }}{% endif %}"
    "{%- for call in m.tool_calls or [] %}\n<tool_call>{{ call | tojson }}</tool_call>{% endfor %}<|im_end|>\n"
    "{% endfor %}<|im_start|>assistant\n"
)
"""Writes everything that a message has, as wide as templates do."""
TEMPLATES = {"plain": PLAIN_TEMPLATE, "tools": TOOL_TEMPLATE, "spreading": SPREADING}
_CONTEXT = 65_536


class Counter:
    """An engine in a thread of its own, which counts prompts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._stack = contextlib.AsyncExitStack()
        self._engine: EngineClient | None = None

    def __enter__(self) -> Counter:
        self._thread.start()
        self._run(self._start())
        return self

    def __exit__(self, *error: object) -> None:
        self._run(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def tokens(self, request: GenerateRequest) -> int:
        """Return the number of the prompt's tokens; raise the engine's refusal."""
        return self._run(self._tokens(request))

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _start(self) -> None:
        models = []
        for name, template in TEMPLATES.items():
            path = self._folder / f"{name}.gguf"
            write_tiny_llama(path, chat_template=template, width=8, heads=1, context=_CONTEXT)
            models.append(llama_model(name, path, context=_CONTEXT))
        self._engine = await self._stack.enter_async_context(running_engine(models, directory=self._folder))

    async def _tokens(self, request: GenerateRequest) -> int:
        assert self._engine is not None
        async with self._engine.engine.models.find(request.model).hold() as loaded:
            return (await loaded.prepare(request)).input_tokens


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counter]:
    with Counter(tmp_path_factory.mktemp("counter")) as counting:
        yield counting


# Letters of several scripts, what JSON escapes, joiners, control characters, and special tokens' own words.
TEXT = st.text(st.sampled_from('ab {}[]"\\/\n\t\x01\x7fé\u200cక్షనमी字\U0001f426<>|'), max_size=24) | st.sampled_from(
    ["<|im_start|>", "</tool_call>", "the theer", "\\u0c15", "\ufdfa" * 3]
)
WORD = st.text("abcXYZ019_-", min_size=1, max_size=12)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
SCHEMA = st.dictionaries(
    st.sampled_from(["title", "description", "examples", "default", "x-any"]), VALUE, max_size=4
).map(lambda schema: {"type": "object", **schema})
CONTENT = st.one_of(
    TEXT, st.none(), st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": TEXT}), max_size=3)
)
ARGUMENTS = st.one_of(TEXT, st.dictionaries(TEXT, VALUE, max_size=4).map(json.dumps), st.dictionaries(TEXT, VALUE))
CALL = st.fixed_dictionaries(
    {"id": st.text("abc1", max_size=30), "function": st.fixed_dictionaries({"name": TEXT, "arguments": ARGUMENTS})},
    optional={"type": st.just("function"), "index": st.integers(0, 3)},
)
NAMED = {"name": TEXT}
MESSAGE = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user"]), "content": CONTENT}, optional=NAMED),
    st.fixed_dictionaries(
        {"role": st.just("assistant")},
        optional={
            "content": CONTENT, "refusal": TEXT, "tool_calls": st.lists(CALL, max_size=3), "reasoning_content": TEXT,
            "function_call": st.fixed_dictionaries({"name": TEXT, "arguments": TEXT}), "annotations": st.just([]),
            "audio": st.none(), "parsed": VALUE, **NAMED,
        },
    ),
    st.fixed_dictionaries(
        {"role": st.just("tool"), "content": CONTENT, "tool_call_id": st.text("abc1", min_size=1, max_size=30)},
        optional=NAMED,
    ),
)  # fmt: skip
TOOL = st.fixed_dictionaries(
    {"type": st.just("function"), "function": st.fixed_dictionaries(
        {"name": WORD}, optional={"description": TEXT, "parameters": SCHEMA, "strict": st.booleans()})}
)  # fmt: skip
NUMBERS: dict[str, Any] = {
    "n": st.sampled_from([1, 2.0, 3.0, 8]),
    "temperature": st.sampled_from([0, 1.5]),
    "seed": st.integers(0, 9),
    "user": st.sampled_from(["క్\u200cష", "ana"]),
}
BOUND = st.sampled_from([1, 60, 60.0, 1e2])
CHAT = st.fixed_dictionaries(
    {"model": st.sampled_from(list(TEMPLATES)), "messages": st.lists(MESSAGE, min_size=1, max_size=5)},
    optional={
        **NUMBERS, "max_tokens": BOUND,
        "tools": st.lists(TOOL, max_size=4, unique_by=lambda tool: tool["function"]["name"]),
        "tool_choice": st.sampled_from(["auto", "none", "required"]), "stop": st.lists(st.just("x"), max_size=2),
        "response_format": st.fixed_dictionaries(
            {"type": st.just("json_schema"), "json_schema": st.fixed_dictionaries({"name": WORD, "schema": SCHEMA})}
        ),
    },
)  # fmt: skip
COMPLETION = st.fixed_dictionaries(
    {
        "model": st.sampled_from(list(TEMPLATES)),
        "prompt": TEXT.filter(bool) | st.lists(TEXT.filter(bool), min_size=1, max_size=4),
    },
    optional={**NUMBERS, "max_tokens": BOUND, "echo": st.booleans()},
)

_WRITERS: list[Callable[[Any], str]] = [
    json.dumps,
    lambda body: json.dumps(body, ensure_ascii=False, separators=(",", ":")),
    lambda body: json.dumps(body, ensure_ascii=False, indent=8),
]
# How fast examples come says something of the machine, not of the code.
PATIENT = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=150)


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def asked(method: str, body: bytes) -> InferenceRequest:
    """The request as the router reads it."""
    message = httpbody_pb2.HttpBody(content_type="application/json", data=body).SerializeToString()
    return parse_request(CONTRACTS, OPENAI + method, framed(message))


def counted(counter: Counter, request: GenerateRequest) -> int:
    """The tokens of the prompt; an example that an engine refuses anyway is of no interest."""
    try:
        check_generate(request)
        return counter.tokens(request)
    except ServiceError as error:
        assume(error.reason not in (Reason.INVALID_REQUEST, Reason.INVALID_SCHEMA))
        raise


@PATIENT
@given(CHAT, st.sampled_from(_WRITERS))
def test_a_chat_is_bounded_in_openais_form_in_ours_and_in_grpc(
    counter: Counter, body: dict[str, Any], write: Callable[[Any], str]
) -> None:
    data = write(body).encode()
    try:
        generate = read_chat(data).generate
    except ServiceError:
        with pytest.raises(ServiceError):
            asked("CreateChatCompletion", data)
        assume(False)
    tokens = counted(counter, generate)
    bound = asked("CreateChatCompletion", data)
    assert bound.input_bytes >= tokens
    assert (bound.choices, bound.max_output_tokens) == (generate.choices or 1, generate.max_output_tokens)
    for snake in (False, True):
        # The gateway reads our JSON by the same contract.
        native = json_format.Parse(
            json_format.MessageToJson(generate, preserving_proto_field_name=snake), GenerateRequest()
        )
        typed = parse_request(CONTRACTS, GENERATE, framed(native.SerializeToString()))
        assert typed.input_bytes >= tokens
        assert (typed.choices, typed.max_output_tokens) == (bound.choices, bound.max_output_tokens)


@PATIENT
@given(COMPLETION, st.sampled_from(_WRITERS))
def test_prompts_are_bounded_one_by_one_and_together(
    counter: Counter, body: dict[str, Any], write: Callable[[Any], str]
) -> None:
    data = write(body).encode()
    completion = read_completion(data)
    tokens = [counted(counter, prompt) for prompt in completion.prompts]
    bound = asked("CreateCompletion", data)
    assert bound.input_bytes >= sum(tokens)
    assert all(size >= count for size, count in zip(bound.inputs, tokens, strict=False))
    assert bound.choices == completion.choices * len(tokens)
    assert bound.max_output_tokens == completion.prompts[0].max_output_tokens


@PATIENT
@given(st.lists(TEXT.filter(bool), min_size=1, max_size=4), st.sampled_from(_WRITERS))
def test_each_input_is_bounded(counter: Counter, texts: list[str], write: Callable[[Any], str]) -> None:
    data = write({"model": "m", "input": texts}).encode()
    sizes = asked("CreateEmbedding", data).inputs
    assert list(read_embedding(data).embed.inputs) == texts
    for text, size in zip(texts, sizes, strict=True):
        # What begins and ends an input.
        assert size >= counter.tokens(GenerateRequest(model="plain", prompt=text)) + 2


_DEEP: Any = "x"
for _ in range(12):
    _DEEP = {"a": [_DEEP], "b": 1}
_MANY_CALLS = [
    {"id": f"c{n}", "type": "function", "function": {"name": "look", "arguments": arguments}}
    for n, arguments in enumerate(["{}", '{"a":[1,2,3,4,5,6,7,8]}', json.dumps(_DEEP), '{"cut', '"\\n\\n\\n"', ""] * 4)
]


@pytest.mark.parametrize("model", TEMPLATES)
@pytest.mark.parametrize(
    "extra",
    [
        {"messages": [{"role": "user", "content": ""}] * 100},
        {"messages": [{"role": "tool", "tool_call_id": "c", "content": ""}] * 100},
        {"messages": [{"role": "tool", "tool_call_id": "c", "content": '\x01\n"\\' * 100}]},
        *({"messages": [{"role": "assistant", "tool_calls": [call] * 24}]} for call in _MANY_CALLS[:6]),
        {"messages": [{"role": "assistant", "tool_calls": _MANY_CALLS}]},
        {"tools": [{"type": "function", "function": {"name": f"t{n}"}} for n in range(100)]},
        {
            "tools": [
                {"type": "function", "function": {"name": f"t{n}", "description": '"\n' * 20, "parameters": _DEEP}}
                for n in range(40)
            ]
        },
    ],
)
def test_many_of_one_kind_are_bounded(counter: Counter, model: str, extra: dict[str, Any]) -> None:
    begun = [{"role": "user", "content": "hi"}, *extra.get("messages", [])]
    data = json.dumps({**extra, "model": model, "messages": begun}).encode()
    assert asked("CreateChatCompletion", data).input_bytes >= counter.tokens(read_chat(data).generate)
