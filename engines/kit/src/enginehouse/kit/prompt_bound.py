"""The most tokens that a prompt can have, whichever model reads it: what is reserved for it, before it is counted.

The router bounds requests by it, and so do engines that cannot count, so that one is never below the other. A token
stands for at least one byte of what the model reads. That is the request's own text, spread out and escaped as chat
templates do it, and words of the template around each part.
"""

from __future__ import annotations

import orjson

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest, Message, Tool, ToolCall

# The most that a chat template adds to a conversation, and to each part of it, in tokens.
CONVERSATION_OVERHEAD = 64
MESSAGE_OVERHEAD = 16
_RESULT_OVERHEAD = 64
_CALL_OVERHEAD = 96
_TOOL_OVERHEAD = 192
# Blanks before each line of a schema, by the levels that it stands within: a tool, its function.
_OUTER_INDENT = 12
# How to call tools, in general.
_TOOLS_OVERHEAD = 512


def prompt_tokens_bound(request: GenerateRequest) -> int:
    """Return an upper bound on the tokens of a request's prompt, and of the answer that it resumes."""
    messages = request.messages
    # The whole message's size bounds every text and token id in it that a prompt may have.
    total = request.ByteSize() - request.sampling.ByteSize() + CONVERSATION_OVERHEAD + MESSAGE_OVERHEAD * len(messages)
    for message in messages:
        if message.role == generation_pb2.ROLE_TOOL or message.tool_calls:
            total += _of_tools(message)
    if request.tools:
        total += _TOOLS_OVERHEAD + sum([_of_tool(tool) for tool in request.tools])
    if request.format.json_schema:
        total += _spread(request.format.json_schema)
    return total


def input_tokens_bound(text: str) -> int:
    """Return an upper bound on the tokens of a text to embed."""
    return (len(text) if text.isascii() else len(text.encode())) + MESSAGE_OVERHEAD


def _of_tools(message: Message) -> int:
    """Return what a message takes besides its own size where it calls tools, or answers a call."""
    if message.role == generation_pb2.ROLE_TOOL:
        return _RESULT_OVERHEAD + _quoted(message.content)
    return sum([_of_call(call) for call in message.tool_calls])


def _of_call(call: ToolCall) -> int:
    return _CALL_OVERHEAD + _quoted(call.name) + max(_quoted(call.arguments), _spread(call.arguments))


def _of_tool(tool: Tool) -> int:
    return _TOOL_OVERHEAD + _quoted(tool.description) + _spread(tool.parameters_json_schema)


def _quoted(text: str) -> int:
    """Return how many bytes a text grows by as a JSON string."""
    return len(orjson.dumps(text)) - len(text.encode())


def _spread(text: str) -> int:
    """Return how many bytes a JSON text grows by at most when a template writes it within another value, with four
    blanks a level.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        # It is not written as JSON, or refused.
        return 0
    compact, spaced = orjson.dumps(value), orjson.dumps(value, option=orjson.OPT_INDENT_2)
    outer = _OUTER_INDENT * spaced.count(b"\n")
    return max(0, 2 * len(spaced) - len(compact) + outer - len(text.encode()))
