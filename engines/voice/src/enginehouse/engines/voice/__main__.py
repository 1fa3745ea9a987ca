"""Starts a voice engine: `python -m enginehouse.engines.voice serve --config F`. Wires, and does nothing else."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry

from enginehouse.api.openai.v1 import audio_pb2_grpc
from enginehouse.api.voice.v1 import voice_pb2_grpc
from enginehouse.engines.voice.audio import DecoderPool, MediaLimits
from enginehouse.engines.voice.backends.base import Backend, Samples
from enginehouse.engines.voice.backends.espeak import EspeakBackend
from enginehouse.engines.voice.backends.pocketsphinx import PocketsphinxBackend
from enginehouse.engines.voice.backends.whisper import FasterWhisperBackend, OpenaiWhisperBackend
from enginehouse.engines.voice.backends.xtts import XttsBackend
from enginehouse.engines.voice.config import CLUSTER, VoiceConfig
from enginehouse.engines.voice.engine import VoiceEngine
from enginehouse.engines.voice.recognition.recordings import Recordings
from enginehouse.engines.voice.recognition.transcriber import Listeners
from enginehouse.engines.voice.registration import describe_engine, engine_load
from enginehouse.engines.voice.servicer import VoiceServicer
from enginehouse.engines.voice.synthesis.conversation import Conversations
from enginehouse.engines.voice.synthesis.synthesizer import Speeches
from enginehouse.engines.voice.voices.book import VoiceBook
from enginehouse.engines.voice.voices.clones import SAMPLE_RATE, CloneStore
from enginehouse.kit.addresses import Address
from enginehouse.kit.calls import Calls
from enginehouse.kit.catalog import load_catalog
from enginehouse.kit.config import ConfigError, load
from enginehouse.kit.grants import GrantKeys
from enginehouse.kit.loading import LoadError, load_models
from enginehouse.kit.openai import AudioServicer
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


async def _serve(config: VoiceConfig) -> None:
    registry = CollectorRegistry()
    tracing = configure_tracing(process=CLUSTER, otlp_endpoint=config.otlp_endpoint)
    keys = GrantKeys.load(config.grant_keys_file)
    backends: list[Backend] = [
        EspeakBackend(),
        PocketsphinxBackend(),
        XttsBackend(models_dir=config.models_dir),
        FasterWhisperBackend(models_dir=config.models_dir),
        OpenaiWhisperBackend(models_dir=config.models_dir),
    ]
    loaded = await load_models(
        load_catalog(config.catalog_file),
        cluster=CLUSTER,
        backends=backends,
        names=config.models,
        queue_per_model=config.queue_per_model,
    )
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(loaded.close)
        decoders = DecoderPool(size=config.decoders)
        stack.push_async_callback(decoders.close)
        await decoders.start()
        recordings = Recordings(decoders=decoders, limits=MediaLimits(most_seconds=config.most_audio_s))
        spool = Spool(directory=config.spool_dir, engine_id=config.engine_id)
        reporter = UsageReporter(spool=spool, router_address=config.router_address, metrics=ReporterMetrics(registry))
        calls = Calls(keys=keys, spool=spool, metrics=CallMetrics(registry))

        def decode(data: bytes) -> AsyncGenerator[Samples, None]:
            return recordings.read(data, rate=SAMPLE_RATE, field="sample")

        voices = VoiceBook(
            speakers={
                name: served.loaded.speaker
                for name, served in loaded.served.items()
                if served.loaded.speaker is not None
            },
            clones=CloneStore(directory=config.voices_dir),
            decode=decode,
        )
        engine = VoiceEngine(
            models=loaded.served,
            voices=voices,
            speeches=Speeches(voices=voices),
            conversations=Conversations(voices=voices, ahead_s=config.pace_ahead_s, idle_s=config.idle_s),
            listeners=Listeners(recordings=recordings, stall_s=config.stall_s),
            absent=loaded.absent,
        )
        voice = VoiceServicer(engine=engine, calls=calls)
        openai = AudioServicer(
            engine=engine,
            accept=lambda context: calls.accept(context, served_models=engine.names),
            accept_free=lambda context: calls.accept(context, served_models=None),
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
                load=lambda: engine_load(engine, tallies=calls.tallies()),
            )

        server = EngineServer(
            listen=config.listen,
            services=[
                lambda to: voice_pb2_grpc.add_VoiceServiceServicer_to_server(voice, to),
                lambda to: audio_pb2_grpc.add_AudioServiceServicer_to_server(openai, to),
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
    parser = argparse.ArgumentParser(prog="enginehouse-voice", description="The voice engine.")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="serve the models of the catalog")
    serve.add_argument("--config", type=Path, required=True, metavar="FILE", help="the YAML file")
    options = parser.parse_args(arguments)
    try:
        config = load(VoiceConfig, section=CLUSTER, path=options.config, environ=os.environ)
        configure_logging(process=CLUSTER, level=config.log_level)
        run(_serve(config))
    except (ConfigError, LoadError, SpoolError) as error:
        print(f"enginehouse-voice: {error}", file=sys.stderr)  # noqa: T201 - the command's own answer
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
