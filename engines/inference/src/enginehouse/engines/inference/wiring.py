"""The wiring of a text engine from its configuration, and nothing else."""

from __future__ import annotations

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.api.inference.v1 import generation_pb2_grpc
from enginehouse.api.openai.v1 import text_pb2_grpc
from enginehouse.engines.inference.backends.base import LoadedTextModel, TextBackend, TextModelInfo
from enginehouse.engines.inference.backends.llamacpp import LlamaCppBackend
from enginehouse.engines.inference.backends.onnxruntime import OnnxRuntimeBackend
from enginehouse.engines.inference.backends.upstream import UpstreamBackend
from enginehouse.engines.inference.backends.vllm import VllmBackend
from enginehouse.engines.inference.config import InferenceConfig
from enginehouse.engines.inference.engine import ServedModel, TextEngine, capabilities_of
from enginehouse.engines.inference.resume_tokens import ResumeTokens
from enginehouse.engines.inference.servicer import GenerationServicer
from enginehouse.kit.answers import AnswerSender, KeepingEngine
from enginehouse.kit.calls import Call
from enginehouse.kit.engine.context import BuiltEngine, EngineContext
from enginehouse.kit.openai import TextServicer

_CLOSE_S = 5.0


async def build(context: EngineContext[InferenceConfig]) -> BuiltEngine[TextModelInfo, LoadedTextModel]:
    """Inspect the models and return what serves them.

    Raises:
        LoadError: a model cannot be served or warmed up, or there is none.
    """
    config = context.config
    upstream = UpstreamBackend(environ=context.environ)
    backends: list[TextBackend] = [
        LlamaCppBackend(
            models_dir=config.models_dir,
            packages=context.packages,
            hang_s=config.hang_s,
            on_hang=context.end_process,
        ),
        OnnxRuntimeBackend(models_dir=config.models_dir, packages=context.packages),
        upstream,
        VllmBackend(models_dir=config.models_dir, packages=context.packages, environ=context.environ),
    ]
    models = await context.serve_models(backends, close_timeout_s=_CLOSE_S)
    engine = TextEngine(models=models, resume_tokens=ResumeTokens(keys=context.keys))
    sender = AnswerSender()
    context.stack.push_async_callback(sender.close)
    keeping: KeepingEngine[Call] = KeepingEngine(engine=engine, sender=sender)
    generation = GenerationServicer(engine=engine, answering=keeping, calls=context.calls)
    openai = TextServicer(
        engine=keeping,
        accept=lambda call: context.calls.accept(call, served_models=models.names),
        max_body_bytes=config.max_message_bytes,
    )
    return BuiltEngine(
        services=[
            lambda server: generation_pb2_grpc.add_GenerationServiceServicer_to_server(generation, server),
            lambda server: text_pb2_grpc.add_TextServiceServicer_to_server(openai, server),
        ],
        models=models,
        describe=describe,
        refusing=upstream.refusing,
        kv_cache_used=lambda: max(
            (loaded.kv_cache_used() for served in models.all if (loaded := served.loaded) is not None), default=0.0
        ),
    )


def describe(served: ServedModel) -> registry_pb2.ServedModel:
    """Return a model as the registry shows it."""
    return registry_pb2.ServedModel(
        name=served.catalog.name,
        capabilities=capabilities_of(served),
        context_tokens=served.info.context_tokens,
        languages=served.catalog.languages,
    )
