"""The command `chat`: one answer, or a conversation."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from enginehouse.cli.connection import ApiKeyOption, DataOption, TimeoutOption, UrlOption, connect
from enginehouse.cli.output import JsonFlag, dollars, print_json, print_text, reported
from enginehouse.cli.values import MAX_INT32, decimal_option, whole_option
from enginehouse.client import Enginehouse, EnginehouseError, Generation, Message
from enginehouse.client.requests.generation import GenerationOptions
from enginehouse.local.datadir import DEFAULT


@reported
def chat(
    prompt: Annotated[
        str | None, typer.Argument(help="The prompt. Default: standard input, or a conversation in a terminal.")
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="A model's name, or auto.")] = "auto",
    system: Annotated[str | None, typer.Option("--system", "-s", help="The system prompt.")] = None,
    max_tokens: Annotated[
        int | None, whole_option("--max-tokens", least=1, most=MAX_INT32, help="The maximum length of an answer.")
    ] = None,
    temperature: Annotated[
        float | None, decimal_option("--temperature", "-t", least=0, most=2, help="Sampling temperature; 0 is greedy.")
    ] = None,
    seed: Annotated[
        int | None, whole_option("--seed", least=0, most=2**32 - 1, help="Seed for reproducible sampling.")
    ] = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    timeout: TimeoutOption = 300.0,
    json_: JsonFlag = False,
) -> None:
    """Ask a model, and show the answer while it is generated."""
    options: GenerationOptions = {"model": model}
    if system is not None:
        options["system"] = system
    if max_tokens is not None:
        options["max_output_tokens"] = max_tokens
    if temperature is not None:
        options["temperature"] = temperature
    if seed is not None:
        options["seed"] = seed
    with connect(url=url, api_key=api_key, data=data, timeout_s=timeout) as mesh:
        if prompt is None and not json_ and sys.stdin.isatty():
            _converse(mesh, options)
            return
        text = prompt if prompt is not None else sys.stdin.read()
        if not text.strip():
            raise ValueError("no prompt: give one as argument or on standard input")
        if json_:
            print_json(describe(mesh.generate(text, **options)))
        else:
            _answer(mesh, [Message("user", text)], options)


def describe(answer: Generation) -> dict[str, Any]:
    """Return the answer as `chat --json` prints it."""
    return {
        "text": answer.text,
        "model": answer.model,
        "request_id": answer.request_id,
        "finish_reason": answer.finish_reason,
        "stopped_by": answer.stopped_by,
        "usage": dict(answer.usage),
        "cost_nanos": answer.cost_nanos,
        "time_to_first_token_ms": answer.time_to_first_token_ms,
        "total_ms": answer.total_ms,
    }


def _answer(mesh: Enginehouse, messages: list[Message], options: GenerationOptions) -> Generation:
    with mesh.stream(messages, **options) as stream:
        for text in stream:
            sys.stdout.write(text)
            sys.stdout.flush()
        result = stream.result
    sys.stdout.write("\n")
    ended = f", stopped by {result.stopped_by.replace('_', ' ')}" if result.stopped_by else ""
    sys.stderr.write(
        f"[{result.model}, {result.usage.get('output_tokens', 0)} tokens in {result.total_ms} ms, "
        f"{dollars(result.cost_nanos)}{ended}]\n"
    )
    sys.stderr.flush()
    return result


def _converse(mesh: Enginehouse, options: GenerationOptions) -> None:
    print_text("Type a message; /clear starts over, /quit or Ctrl-D ends.")
    history: list[Message] = []
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            print_text("")
            return
        if line == "/quit":
            return
        if line == "/clear":
            history = []
            continue
        if not line:
            continue
        messages = [*history, Message("user", line)]
        try:
            answer = _answer(mesh, messages, options)
        except EnginehouseError as error:
            hint = "; /clear starts over" if error.reason == "CONTEXT_LENGTH_EXCEEDED" and history else ""
            sys.stderr.write(f"{error.message}{hint}\n")
            continue
        except KeyboardInterrupt:
            # Leaving the stream has cancelled the answer. The conversation goes on without it.
            print_text("")
            continue
        history = [*messages, Message("assistant", answer.text)]
