"""The process of one engine: wires what every engine has around what the engine builds."""

from __future__ import annotations

import contextlib
from collections.abc import MutableMapping
from typing import Any

from prometheus_client import CollectorRegistry

from enginehouse.kit.addresses import Address
from enginehouse.kit.backends.packages import PackagedWeights
from enginehouse.kit.calls import Calls
from enginehouse.kit.engine._registration import describe_engine, engine_load
from enginehouse.kit.engine._section import EngineSection
from enginehouse.kit.engine._spec import EngineSpec
from enginehouse.kit.engine.context import EngineContext, EngineFailure
from enginehouse.kit.grants import GrantKeys
from enginehouse.kit.server import EngineServer
from enginehouse.kit.server.registry import RegistryLease
from enginehouse.kit.telemetry import CallMetrics, MetricsServer, ReporterMetrics, RpcMetrics, configure_tracing
from enginehouse.kit.usage import GrantExtensions, Spool, UsageReporter


async def serve(spec: EngineSpec[Any], config: EngineSection, *, environ: MutableMapping[str, str]) -> None:
    """Build the engine, serve until a signal, and close everything in order.

    Raises:
        ConfigError, LoadError, SpoolError: the engine cannot start; the message says why and what to do.
    """
    registry = CollectorRegistry()
    tracing = configure_tracing(process=spec.kind, otlp_endpoint=config.otlp_endpoint)
    keys = GrantKeys.load(config.grant_keys_file)
    async with contextlib.AsyncExitStack() as stack:
        spool = Spool(directory=config.spool_dir, engine_id=config.engine_id)
        stack.callback(spool.close)
        reporter = UsageReporter(spool=spool, router_address=config.router_address, metrics=ReporterMetrics(registry))
        extensions = GrantExtensions()
        stack.push_async_callback(extensions.close)
        calls = Calls(keys=keys, spool=spool, metrics=CallMetrics(registry), extensions=extensions)
        context = EngineContext(
            kind=spec.kind,
            config=config,
            environ=environ,
            keys=keys,
            calls=calls,
            packages=PackagedWeights(table=spec.read_weights(), models_dir=config.models_dir),
            stack=stack,
        )
        engine = await spec.build(context)

        def lease(address: Address) -> RegistryLease:
            assert config.gateway_address is not None
            return RegistryLease(
                gateway_address=config.gateway_address,
                engine=describe_engine(
                    spec, engine, engine_id=config.engine_id, address=str(address), services=server.service_names
                ),
                load=lambda: engine_load(engine, tallies=calls.tallies(refusing=engine.refusing())),
            )

        server = EngineServer(
            listen=config.listen,
            services=engine.services,
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
        if context.failures:
            raise EngineFailure("; ".join(context.failures))
