"""The command line against a real gRPC server in place of a mesh."""

from __future__ import annotations

import concurrent.futures
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from typer.testing import CliRunner

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from enginehouse.api.router.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    feedback_pb2,
    feedback_pb2_grpc,
    identity_pb2,
    identity_pb2_grpc,
    policy_pb2,
    policy_pb2_grpc,
)
from enginehouse.api.voice.v1 import voice_pb2, voice_pb2_grpc
from enginehouse.cli.app import make_app

KEY = "eh_right"


class Service(generation_pb2_grpc.GenerationServiceServicer, admin_pb2_grpc.AdminServiceServicer):
    """A service with the answers that a test sets. It accepts one key."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.requests: list[Any] = []
        self.refusals: dict[str, Any] = {}
        """By method, what refuses a request: it aborts the call."""

    def Generate(self, request: Any, context: Any) -> Any:
        self._check(context)
        self.requests.append(request)
        yield from self.answers["Generate"]

    def ExportSpend(self, request: Any, context: Any) -> Any:
        self._check(context)
        self.requests.append(request)
        given = self.answers["ExportSpend"]
        yield from given(request) if callable(given) else given

    def Synthesize(self, request: Any, context: Any) -> Any:
        self._check(context)
        self.requests.append(request)
        yield from self.answers["Synthesize"](context)

    def StreamingRecognize(self, requests: Any, context: Any) -> Any:
        self._check(context)
        yield from self.answers["StreamingRecognize"](requests, context)

    def _check(self, context: Any) -> None:
        given = dict(context.invocation_metadata()).get("authorization")
        if given != f"Bearer {KEY}":
            status = status_pb2.Status(code=16, message="the API key is unknown, revoked or expired")
            status.details.add().Pack(error_details_pb2.ErrorInfo(reason="KEY_INVALID", domain="enginehouse"))
            context.abort_with_status(rpc_status.to_status(status))


def _method(name: str) -> Callable[[Service, Any, Any], Any]:
    def answer(self: Service, request: Any, context: Any) -> Any:
        self._check(context)
        self.requests.append(request)
        if name in self.refusals:
            self.refusals[name](self, request, context)
        given = self.answers[name]
        return given(request) if callable(given) else given

    return answer


for _file, _service in (
    (admin_pb2, "AdminService"),
    (identity_pb2, "IdentityService"),
    (policy_pb2, "PolicyService"),
    (feedback_pb2, "FeedbackService"),
    (voice_pb2, "VoiceService"),
):
    for _name in [method.name for method in _file.DESCRIPTOR.services_by_name[_service].methods]:
        if _name not in Service.__dict__:
            setattr(Service, _name, _method(_name))
for _name in ("Embed", "Tokenize", "ListModels"):
    if _name not in Service.__dict__:
        setattr(Service, _name, _method(_name))
Service.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]


class Cli:
    """Runner of commands, in a folder and an environment of their own."""

    def __init__(self, url: str, folder: Path) -> None:
        self._runner = CliRunner()
        self._app = make_app()
        self.environment: dict[str, str | None] = {
            "ENGINEHOUSE_URL": url,
            "ENGINEHOUSE_API_KEY": KEY,
            "ENGINEHOUSE_DATA": str(folder / "data"),
        }

    def __call__(self, *arguments: str, stdin: str = "") -> Any:
        return self._runner.invoke(self._app, list(arguments), env=self.environment, input=stdin)

    def json(self, *arguments: str) -> Any:
        """Run a command with --json; return the document that it prints."""
        done = self(*arguments, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def cli(service: Service, tmp_path: Path) -> Iterator[Cli]:
    running = grpc.server(concurrent.futures.ThreadPoolExecutor(2), options=(("grpc.so_reuseport", 0),))
    generation_pb2_grpc.add_GenerationServiceServicer_to_server(service, running)
    admin_pb2_grpc.add_AdminServiceServicer_to_server(service, running)
    identity_pb2_grpc.add_IdentityServiceServicer_to_server(service, running)
    policy_pb2_grpc.add_PolicyServiceServicer_to_server(service, running)
    feedback_pb2_grpc.add_FeedbackServiceServicer_to_server(service, running)
    voice_pb2_grpc.add_VoiceServiceServicer_to_server(service, running)
    port = running.add_insecure_port("127.0.0.1:0")
    running.start()
    yield Cli(f"http://127.0.0.1:{port}", tmp_path)
    running.stop(None).wait()


@pytest.fixture
def speech() -> Callable[[Any], Iterator[Any]]:
    """Three samples of WAV in two chunks."""
    header = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\1\0\1\0\x22\x56\0\0\x44\xac\0\0\2\0\x10\0data\xff\xff\xff\xff"
    summary = voice_pb2.SpeechSummary(time_to_first_audio_ms=2, total_ms=3, audio_ms=1500)
    summary.usage.cost_nanos = 1500
    summary.usage.units.add(unit=usage_pb2.UNIT_CHARACTERS, amount=15)

    def speak(context: Any) -> Iterator[Any]:
        info = voice_pb2.AudioInfo(
            encoding=voice_pb2.AUDIO_ENCODING_WAV, content_type="audio/wav", sample_rate=22_050, chunks=2
        )
        yield voice_pb2.SynthesizeResponse(request_id="r1", model="espeak", info=info, audio=header[:40])
        done = voice_pb2.ChunkDone(chunk=0, characters=10)
        yield voice_pb2.SynthesizeResponse(audio=header[40:] + b"aabb", done=[done])
        yield voice_pb2.SynthesizeResponse(audio=b"cc", done=[voice_pb2.ChunkDone(chunk=1)], summary=summary)

    return speak


@pytest.fixture
def answer() -> tuple[Any, ...]:
    """A complete generation."""
    summary = generation_pb2.GenerationSummary(time_to_first_token_ms=2, total_ms=3)
    summary.usage.cost_nanos = 1500
    summary.usage.units.add(unit=2, amount=4)
    ended = generation_pb2.ChoiceDelta(text="crow.", finish_reason=generation_pb2.FINISH_REASON_STOP)
    return (
        generation_pb2.GenerateResponse(request_id="r1", model="tiny", deltas=[{"text": "A clever "}]),
        generation_pb2.GenerateResponse(deltas=[ended], summary=summary),
    )
