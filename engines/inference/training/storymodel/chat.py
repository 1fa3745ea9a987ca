"""Prompts to a finished GGUF file through llama.cpp, the way the inference engine does it.

Also measures the longest run of words that an answer shares with the training texts, so that a
sample shown in the model card is the model's own.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xllamacpp

from engines.inference.training.storymodel.corpus import load_corpus, plain_words

ANSWER_TOKENS = 300


def start_server(model: Path, *, context: int = 1024) -> Any:
    """Return an in-process llama.cpp server, whose HTTP listener has a random key."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model)
    parameters.n_ctx = context
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = 1
    parameters.api_keys = [secrets.token_urlsafe(24)]
    parameters.verbosity = 0
    return xllamacpp.Server(parameters)


def longest_shared_run(answer: str, running: str) -> int:
    """Return the length in words of the longest run of ``answer`` that occurs in ``running`` text."""
    words = plain_words(answer).split()
    longest = 0
    for start in range(len(words)):
        while start + longest < len(words):
            if f" {' '.join(words[start : start + longest + 1])} " not in running:
                break
            longest += 1
    return longest


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The model's answer, the reason why it stopped ("stop" or "length"), and its number of tokens."""

    content: str
    finish_reason: str
    tokens: int


def ask(server: Any, prompt: str, *, system: str | None, temperature: float, seed: int) -> Answer:
    """Ask one question in a fresh conversation, with the recommended sampling."""
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": prompt})
    request = {
        "messages": messages,
        "temperature": temperature,
        "top_p": 0.95,
        "min_p": 0.05,
        "seed": seed,
        "max_tokens": ANSWER_TOKENS,
    }
    reply = server.handle_chat_completions(request)
    if "error" in reply:
        raise RuntimeError(f"llama.cpp refused the prompt {prompt!r}: {reply['error']}")
    choice = reply["choices"][0]
    return Answer(
        content=choice["message"]["content"],
        finish_reason=choice["finish_reason"],
        tokens=reply["usage"]["completion_tokens"],
    )


def training_words(data: Path) -> str:
    """Return all texts that the model may have memorised, as one line of plain words."""
    corpus = load_corpus(data)
    groups = (corpus.stories_en, corpus.stories_te, corpus.classics_te, corpus.novels)
    return "".join(plain_words(document.text) for group in groups for document in group)


def answers(
    model: Path,
    prompts: Sequence[str],
    *,
    system: str | None,
    temperature: float,
    seed: int,
    data: Path | None,
) -> Iterator[str]:
    """Return each prompt with its answer, the reason why it ended and the copied part of it."""
    running = training_words(data) if data else ""
    server = start_server(model)
    for prompt in prompts:
        answer = ask(server, prompt, system=system, temperature=temperature, seed=seed)
        copied = ""
        if running:
            copied = f", longest shared run {longest_shared_run(answer.content, running)} words"
        yield f"> {prompt}\n{answer.content}\n[{answer.finish_reason}, {answer.tokens} tokens{copied}]\n"
