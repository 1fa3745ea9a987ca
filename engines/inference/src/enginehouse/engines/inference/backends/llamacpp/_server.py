"""One llama.cpp server object: it loads a model and exchanges JSON with it.

Generation and embedding call it in process, from threads of its own. Calls that the binding lacks (tokens, templates)
go over the server's own listener: a Unix socket in a private folder, with a key that never leaves the process.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import xllamacpp  # type: ignore[import-untyped]

from enginehouse.engines.inference.backends.llamacpp._chunks import to_error
from enginehouse.engines.inference.backends.llamacpp._options import LlamaCppOptions
from enginehouse.engines.inference.backends.llamacpp._unix_http import UnixHttpClient
from enginehouse.kit.errors import Reason, ServiceError

_POOLING = {
    "mean": xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN,
    "cls": xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_CLS,
    "last": xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_LAST,
}

# From 64 tokens a step on, attention adds in another order (a tiled loop): a token read in such a step differs in its
# last bits from the same token generated.
_EXACT_STEP = 32


class LlamaCppServer:
    """A loaded model, created by `load` in a thread: loading takes as long as reading the weights."""

    def __init__(self, *, server: Any, socket_dir: Path, client: UnixHttpClient, threads: ThreadPoolExecutor) -> None:
        self._server = server
        self._socket_dir = socket_dir
        self._client = client
        self._threads = threads
        self._streams: set[Future[None]] = set()
        self._last_sign = time.monotonic()

    @classmethod
    def load(cls, path: Path, *, context_tokens: int, embedding: bool, options: LlamaCppOptions) -> LlamaCppServer:
        """Load the weights at `path`; raise BACKEND_FAILED where llama.cpp cannot."""
        socket_dir = Path(tempfile.mkdtemp(prefix="eh-llama-"))
        # This ending makes it take the address for a Unix socket.
        socket = socket_dir / "llama.sock"
        key = secrets.token_urlsafe(32)
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_parallel = options.slots
        params.n_ctx = context_tokens * options.slots
        params.kv_unified = False
        # A context shrunk to fit the memory would break the catalog's promise.
        params.fit_params = False
        params.sampling.temp = options.sampling.temperature
        params.sampling.top_p = options.sampling.top_p
        params.sampling.top_k = options.sampling.top_k
        params.sampling.min_p = options.sampling.min_p
        # The penalties on repetition come with each request, since not all take them.
        params.n_batch = options.batch_tokens
        params.n_ubatch = min(options.batch_tokens, _EXACT_STEP if options.resumable else 512)
        params.cpuparams.n_threads = options.threads or max(1, len(os.sched_getaffinity(0)) - 1)
        params.n_gpu_layers = options.gpu_layers
        params.cache_ram_mib = options.prompt_cache_mib
        params.chat_template = options.chat_template
        params.hostnames = [str(socket)]
        params.api_keys = [key]
        params.n_threads_http = 4
        params.sse_ping_interval = -1
        params.ui = False
        # An assistant's message at the end is a message like any other, not the beginning of the answer.
        params.prefill_assistant = False
        params.verbosity = -1
        if embedding:
            params.embedding = True
            # A text to embed is read in one step.
            params.n_batch = params.n_ubatch = context_tokens
            if options.pooling:
                params.pooling_type = _POOLING[options.pooling]
        try:
            server = xllamacpp.Server(params)
        except (RuntimeError, ValueError) as error:
            shutil.rmtree(socket_dir, ignore_errors=True)
            raise ServiceError(
                Reason.BACKEND_FAILED,
                f"llama.cpp cannot load {path}: {error} (is it a whole GGUF file of an architecture that it knows, and "
                f"is there memory for {options.slots} slots of {context_tokens} tokens?)",
            ) from error
        client = UnixHttpClient(socket=socket, key=key)
        # A request may take a thread for each of eight choices; a cancelled request keeps its threads for a moment.
        threads = ThreadPoolExecutor(max_workers=2 * options.slots + 8, thread_name_prefix="llama")
        return cls(server=server, socket_dir=socket_dir, client=client, threads=threads)

    async def ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Post to the server's own listener; raise the error of an error answer."""
        try:
            answer: dict[str, Any] = await self._client.post(path, body)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            raise ServiceError(Reason.BACKEND_FAILED, f"llama.cpp did not answer {path}: {error!r}") from error
        if "error" in answer:
            raise to_error(answer["error"], constrained=False)
        return answer

    async def properties(self) -> dict[str, Any]:
        """Return the properties of the model: the template, its abilities, the context of a slot."""
        answer: dict[str, Any] = await self._client.get("/props")
        return answer

    async def vocabulary_size(self) -> int:
        """Return the number of the model's tokens."""
        models: dict[str, Any] = await self._client.get("/v1/models")
        return int(models["data"][0]["meta"]["n_vocab"])

    async def busy_slots(self) -> int:
        """Return the number of its slots at work."""
        slots: list[dict[str, Any]] = await self._client.get("/slots")
        return sum(bool(slot["is_processing"]) for slot in slots)

    async def made_by(self, mark: int, *, input_tokens: int) -> tuple[int, bool] | None:
        """Return how many tokens the last request with this `n_discard` made, and whether it has ended; None if its
        slot has another since, or the server does not say.

        Args:
            mark: the request's `n_discard`, which has no effect where contexts are not shifted.
            input_tokens: tokens of its prompt.
        """
        try:
            slots: list[dict[str, Any]] = await self._client.get("/slots")
        except (OSError, EOFError, TimeoutError, ValueError):
            # A busy server: the answer ends all the same.
            return None
        for slot in slots:
            if slot.get("params", {}).get("n_discard") == mark:
                # A slot holds all tokens but the last, which was not read again.
                return max(0, int(slot["n_prompt_tokens"]) - input_tokens + 1), not slot["is_processing"]
        return None

    async def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Return the text's tokens; `special` adds those that a prompt begins with, and reads special words as such."""
        answer = await self.ask("/tokenize", {"content": text, "add_special": special, "parse_special": special})
        tokens: list[int] = answer["tokens"]
        return tokens

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """Return the tokens' text; bytes that are not a whole character become U+FFFD."""
        text: str = (await self.ask("/detokenize", {"tokens": list(tokens)}))["content"]
        return text

    def stream(self, *, chat: bool, body: bytes, on_chunk: Callable[[bytes], bool]) -> Future[None]:
        """Run a request in a thread until it ends or `on_chunk` returns True, which frees the slot."""
        handle = self._server.handle_chat_completions if chat else self._server.handle_completions

        def noted(data: bytes) -> bool:
            self._last_sign = time.monotonic()
            return on_chunk(data)

        if not self._streams:
            self._last_sign = time.monotonic()
        stream = self._threads.submit(handle, body, noted)
        self._streams.add(stream)
        stream.add_done_callback(self._streams.discard)
        return stream

    @property
    def silent_s(self) -> float:
        """Seconds since the last output of any running stream; 0 if none runs."""
        return time.monotonic() - self._last_sign if self._streams else 0.0

    async def embed(self, body: bytes) -> bytes:
        """Run an embedding request, which cannot be cancelled."""
        answer: bytes = await asyncio.wrap_future(self._threads.submit(self._server.handle_embeddings, body))
        return answer

    async def close(self) -> None:
        """Wait for its threads, then free the model. Its streams must have been told to stop."""
        await self._client.close()
        await asyncio.to_thread(self._free)

    def _free(self) -> None:
        # Threads first: a thread inside the server needs the interpreter to return, and the server's destructor holds
        # it.
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._server = None
        shutil.rmtree(self._socket_dir, ignore_errors=True)
