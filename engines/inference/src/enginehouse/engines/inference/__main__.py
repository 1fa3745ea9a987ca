"""Starts a text engine: `python -m enginehouse.engines.inference serve --config F`. Wires, and does nothing else."""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry

from enginehouse.api.inference.v1 import generation_pb2_grpc
from enginehouse.api.openai.v1 import text_pb2_grpc
from enginehouse.engines.inference.backends.base import Backend, LoadedModel
from enginehouse.engines.inference.backends.llamacpp import LlamaCppBackend
from enginehouse.engines.inference.backends.upstream import UpstreamBackend
from enginehouse.engines.inference.backends.vllm import VllmBackend
from enginehouse.engines.inference.config import CLUSTER, InferenceConfig
from enginehouse.engines.inference.engine import TextEngine
from enginehouse.engines.inference.receipts import Receipts
from enginehouse.engines.inference.registration import describe_engine, engine_load
from enginehouse.engines.inference.servicer import GenerationServicer
from enginehouse.kit.addresses import Address
from enginehouse.kit.answers import AnswerSender, KeepingEngine
from enginehouse.kit.calls import Call, Calls
from enginehouse.kit.catalog import load_catalog
from enginehouse.kit.config import ConfigError, load
from enginehouse.kit.grants import GrantKeys
from enginehouse.kit.loading import LoadedModels, LoadError, load_models
from enginehouse.kit.openai import TextServicer
from enginehouse.kit.registry import RegistryLease
from enginehouse.kit.server import EngineServer, run
from enginehouse.kit.telemetry import (
    CallMetrics,
    MetricsServer,
    ReporterMetrics,
    RpcMetrics,
    configure_logging,
    configure_tracing,
)
from enginehouse.kit.usage import Spool, SpoolError, UsageReporter

_log = logging.getLogger(__name__)

_CLOSE_S = 5.0


def _end_this_process(why: str) -> None:
    _log.critical("%s; this engine ends, to be restarted", why)
    os.kill(os.getpid(), signal.SIGTERM)


async def _close(loaded: LoadedModels[LoadedModel]) -> None:
    # A runtime that hangs does so in a thread that nothing can end, and its destructor waits for that thread while it
    # holds the interpreter: no timeout of ours would ever run. This one is a thread in C; it prints where every thread
    # is and ends the process with status 1.
    faulthandler.dump_traceback_later(_CLOSE_S, exit=True, file=2)
    await loaded.close()
    faulthandler.cancel_dump_traceback_later()


async def _serve(config: InferenceConfig) -> None:
    registry = CollectorRegistry()
    tracing = configure_tracing(process=CLUSTER, otlp_endpoint=config.otlp_endpoint)
    keys = GrantKeys.load(config.grant_keys_file)
    upstream = UpstreamBackend(environ=os.environ)
    backends: list[Backend] = [
        LlamaCppBackend(models_dir=config.models_dir, hang_s=config.hang_s, on_hang=_end_this_process),
        upstream,
        VllmBackend(models_dir=config.models_dir, environ=os.environ),
    ]
    loaded = await load_models(
        load_catalog(config.catalog_file),
        cluster=CLUSTER,
        backends=backends,
        names=config.models,
        queue_per_model=config.queue_per_model,
    )
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(_close, loaded)
        spool = Spool(directory=config.spool_dir, engine_id=config.engine_id)
        reporter = UsageReporter(spool=spool, router_address=config.router_address, metrics=ReporterMetrics(registry))
        calls = Calls(keys=keys, spool=spool, metrics=CallMetrics(registry))
        engine = TextEngine(models=loaded.served, receipts=Receipts(keys=keys), absent=loaded.absent)
        sender = AnswerSender()
        stack.push_async_callback(sender.close)
        keeping: KeepingEngine[Call] = KeepingEngine(engine=engine, sender=sender)
        generation = GenerationServicer(engine=engine, answering=keeping, calls=calls)
        openai = TextServicer(
            engine=keeping,
            accept=lambda context: calls.accept(context, served_models=engine.names),
            max_body_bytes=config.max_message_bytes,
        )

        def lease(address: Address) -> RegistryLease:
            assert config.gateway_address is not None
            description = describe_engine(
                engine, engine_id=config.engine_id, address=str(address), services=server.service_names
            )
            return RegistryLease(
                gateway_address=config.gateway_address,
                engine=description,
                load=lambda: engine_load(engine, tallies=calls.tallies(refusing=upstream.refusing())),
            )

        server = EngineServer(
            listen=config.listen,
            services=[
                lambda to: generation_pb2_grpc.add_GenerationServiceServicer_to_server(generation, to),
                lambda to: text_pb2_grpc.add_TextServiceServicer_to_server(openai, to),
            ],
            lease=lease if config.gateway_address else None,
            reporter=reporter,
            spool=spool,
            metrics=RpcMetrics(registry),
            tracing=tracing,
            drain_s=config.drain_s,
            max_message_bytes=config.max_message_bytes,
        )
        metrics = MetricsServer(listen=config.http_listen, registry=registry, ready=lambda: server.ready)
        await metrics.start()
        stack.push_async_callback(metrics.close)
        await server.start()
        await server.serve_until_signal()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="enginehouse-inference", description="The text engine.")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="serve the models of the catalog")
    serve.add_argument("--config", type=Path, required=True, metavar="FILE", help="the YAML file")
    options = parser.parse_args(arguments)
    try:
        config = load(InferenceConfig, section=CLUSTER, path=options.config, environ=os.environ)
        configure_logging(process=CLUSTER, level=config.log_level)
        run(_serve(config))
    except (ConfigError, LoadError, SpoolError) as error:
        print(f"enginehouse-inference: {error}", file=sys.stderr)  # noqa: T201 - the command's own answer
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
