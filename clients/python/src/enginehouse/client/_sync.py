"""The synchronous client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc

from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from enginehouse.api.voice.v1 import voice_pb2_grpc
from enginehouse.client import _connection
from enginehouse.client._sync_admin import Admin
from enginehouse.client._sync_billing import Billing
from enginehouse.client._sync_cache import Cache
from enginehouse.client._sync_experiments import Experiments
from enginehouse.client._sync_identity import Identity
from enginehouse.client._sync_policies import Policies
from enginehouse.client._sync_voice import VoiceCalls
from enginehouse.client.errors import EnginehouseError, from_rpc_error
from enginehouse.client.generation import Embeddings, Generation
from enginehouse.client.requests.generation import GenerationOptions, GenerationRequest, Message
from enginehouse.client.resumption import GenerationCall
from enginehouse.client.retries import Attempts, RetryPolicy

Response = TypeVar("Response")


class GenerationStream:
    """An answer as it is written: iterate over its texts, and find the whole in `result`.

    Leaving the `with` block, or `close()`, before the end cancels the request, which frees the model at once; what had
    been sent until then is billed.
    """

    def __init__(self, send: Callable[[GenerationCall], Any], *, continuation: GenerationCall, request_id: str) -> None:
        self._send = send
        self._continuation = continuation
        self.request_id = request_id
        self._call: Any = None
        self._closed = False

    @property
    def result(self) -> Generation:
        """What has come so far; whole once the iteration has ended."""
        return self._continuation.generation

    @property
    def attempts(self) -> int:
        """How many times the request has been sent: more than 1 where a try failed or a cut stream was continued."""
        return self._continuation.attempt

    def messages(self) -> Iterator[generation_pb2.GenerateResponse]:
        """The contract's messages, for callers who want more than text. Instead of iterating, not besides it.

        They are those of one answer, however many attempts it took: the first names the request and the model, the last
        has the usage and cost of all attempts.
        """
        while True:
            self._call = self._send(self._continuation)
            try:
                for message in self._call:
                    yield self._continuation.take(message)
                return
            except grpc.RpcError as raised:
                error = from_rpc_error(raised, request_id=self.request_id)
                error.__cause__ = raised
                if self._continuation.complete:
                    return
            time.sleep(self._continuation.delay_after(error, closed=self._closed))

    def __iter__(self) -> Iterator[str]:
        for message in self.messages():
            text = "".join(delta.text for delta in message.deltas if delta.index == 0)
            if text:
                yield text

    def close(self) -> None:
        """Ends the request, if it has not ended."""
        self._closed = True
        if self._call is not None:
            self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Enginehouse(VoiceCalls):
    """A mesh, through its public door. Safe to share between threads; close it, or use it in a `with` block.

    Args:
        url: `http://host:port` for a plain connection, `https://host:port` for TLS.
        api_key: `eh_...`.
        timeout_s: seconds for a call with all its retries, where a call gives none of its own; None for no bound.
        retries: when a call that nobody took is sent again, and a stream that was cut is continued.
        user_id: the end user that the calls are for; brings the user's budgets and limits into scope.
        run_id: the run of a workflow that the calls are for.
        max_cost_nanos: the most that any one call may cost, in nano-dollars; an answer ends where it would cost more.

    Raises:
        ValueError: an argument has an impossible form.
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
        self._api_key = _connection.check_key(api_key)
        self._purpose = _connection.purpose_metadata(user_id=user_id, run_id=run_id, max_cost_nanos=max_cost_nanos)
        self._channel = _connection.Target.parse(url).channel()
        self._timeout_s = timeout_s
        self._retries = retries or RetryPolicy()
        self._generation = generation_pb2_grpc.GenerationServiceStub(self._channel)
        self._voice = voice_pb2_grpc.VoiceServiceStub(self._channel)
        self.admin = Admin(self._channel, self._unary)
        self.cache = Cache(
            self._channel,
            self._unary,
            lambda: _connection.call_metadata(self._api_key, _connection.new_request_id()),
        )
        self.identity = Identity(self._channel, self._unary)
        self.billing = Billing(self._channel, self._unary, api_key=self._api_key)
        self.policies = Policies(self._channel, self._unary)
        self.experiments = Experiments(self._channel, self._unary)

    def generate(
        self,
        messages: str | Sequence[Message] | None = None,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
        **options: Unpack[GenerationOptions],
    ) -> Generation:
        """Generates a whole answer.

        Args:
            messages: a user's message, or a conversation; None with `prompt`.
            timeout_s: seconds for this call with all its retries; None takes the client's.
            request_id: 1-64 of [A-Za-z0-9_-]; None makes one.
            options: see `GenerationOptions`.

        Raises:
            EnginehouseError: the call failed.
            ValueError: the arguments contradict each other.
        """
        with self.stream(messages, timeout_s=timeout_s, request_id=request_id, **options) as stream:
            for _ in stream.messages():
                pass
            return stream.result

    def stream(
        self,
        messages: str | Sequence[Message] | None = None,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
        **options: Unpack[GenerationOptions],
    ) -> GenerationStream:
        """Generates an answer piece by piece; arguments as in `generate`, errors while iterating."""
        request_id = request_id or _connection.new_request_id()
        asked = GenerationRequest(messages=messages, **options)
        request, purpose = asked.message(request_id), self._purpose + asked.routing_metadata()
        request.resumable = self._retries.max_resumes > 0

        def send(call: GenerationCall) -> Any:
            metadata = _connection.call_metadata(self._api_key, request_id, attempt=call.attempt) + purpose
            return self._generation.Generate(call.request, metadata=metadata, timeout=call.remaining_s)

        continuation = GenerationCall(request, attempts=self._attempts(timeout_s))
        return GenerationStream(send, continuation=continuation, request_id=request_id)

    def embed(
        self,
        inputs: str | Sequence[str],
        *,
        model: str = "auto",
        dimensions: int = 0,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Embeddings:
        """Embeds one or up to 2,048 texts; `dimensions` keeps the first so many of each vector, 0 all of them."""
        request_id = request_id or _connection.new_request_id()
        request = generation_pb2.EmbedRequest(
            request_id=request_id,
            model=model,
            inputs=[inputs] if isinstance(inputs, str) else inputs,
            dimensions=dimensions,
        )
        return Embeddings.of(self._unary(self._generation.Embed, request, timeout_s, request_id))

    def tokenize(self, text: str, *, model: str, timeout_s: float | None = None) -> list[int]:
        """The text's token ids by the model's own tokenizer."""
        request = generation_pb2.TokenizeRequest(model=model, text=text)
        return list(self._unary(self._generation.Tokenize, request, timeout_s).token_ids)

    def models(self, *, timeout_s: float | None = None) -> list[generation_pb2.Model]:
        """The models that can be asked for text and embeddings now, by name."""
        found: list[generation_pb2.Model] = []
        page_token = ""
        while True:
            request = generation_pb2.ListModelsRequest(page_size=1000, page_token=page_token)
            page = self._unary(self._generation.ListModels, request, timeout_s)
            found.extend(page.models)
            page_token = page.next_page_token
            if not page_token:
                return found

    def close(self) -> None:
        """Closes the connection; calls still running are cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _attempts(self, timeout_s: float | None) -> Attempts:
        return Attempts(self._retries, timeout_s=self._timeout_s if timeout_s is None else timeout_s)

    def _unary(
        self,
        method: Callable[..., Response],
        request: Any,
        timeout_s: float | None = None,
        request_id: str | None = None,
        bounds: tuple[tuple[str, str], ...] = (),
    ) -> Response:
        request_id = request_id or _connection.new_request_id()
        attempts = self._attempts(timeout_s)
        metadata = _connection.call_metadata(self._api_key, request_id) + self._purpose + bounds
        while True:
            try:
                return method(request, metadata=metadata, timeout=attempts.remaining_s)
            except grpc.RpcError as raised:
                error: EnginehouseError = from_rpc_error(raised, request_id=request_id)
                delay = attempts.delay_before_next(error)
                if delay is None:
                    raise error from raised
            time.sleep(delay)
