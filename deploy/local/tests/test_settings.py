"""The user's file over the generated configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from enginehouse.engines.inference.config import InferenceConfig
from enginehouse.engines.voice.config import VoiceConfig
from enginehouse.gateway.config import GatewaySection
from enginehouse.kit.addresses import Address
from enginehouse.kit.config import load
from enginehouse.kit.engine import EngineSection
from enginehouse.local.endpoints import PortBlock
from enginehouse.local.errors import LocalError
from enginehouse.local.settings import Settings, process_environment
from enginehouse.router.settings import RouterSettings

SHIPPED = Path(__file__).parents[2] / "config"
DATABASE = {"ENGINEHOUSE_ROUTER__DATABASE_URL": "postgresql://x@/y"}


def written(settings: Settings, data: Any, tmp_path: Path) -> dict[str, Path]:
    block = PortBlock()
    try:
        endpoints = block.endpoints(
            settings.public(None),
            engines={"inference": settings.local.inference_replicas, "voice": settings.local.voice_replicas},
            router_replicas=settings.local.router_replicas,
        )
    finally:
        block.close()
    return settings.write(settings.documents(data, settings.place(endpoints)), tmp_path)


@pytest.mark.parametrize("file", [None, "development.yaml", "staging.yaml", "production.yaml"])
def test_every_process_takes_what_is_generated_for_it(file: str | None, make_data: Any, tmp_path: Path) -> None:
    settings = Settings(SHIPPED / file if file else None, environ={})
    files = written(settings, make_data(), tmp_path)
    gateway = load(GatewaySection, section="gateway", path=files["gateway"], environ={})
    router = load(RouterSettings, section="router", path=files["router"], environ=DATABASE)
    assert router.gateway_address == str(gateway.grpc_listen)
    assert [str(address) for address in gateway.router_http] == [router.http_listen]
    engines = [name for name in files if name.startswith(("inference-", "voice-"))]
    assert len(engines) == settings.local.inference_replicas + settings.local.voice_replicas
    seen = set()
    for name in engines:
        kind = name.partition("-")[0]
        section: type[EngineSection] = VoiceConfig if kind == "voice" else InferenceConfig
        engine = load(section, section=kind, path=files[name], environ={})
        assert engine.router_address == router.grpc_listen
        assert engine.gateway_address == router.gateway_address
        assert engine.grant_keys_file == router.grant_keys_file
        assert engine.catalog_file == router.catalog_file
        assert engine.drain_s < settings.local.stop_timeout_s
        seen |= {engine.engine_id, str(engine.spool_dir), engine.listen, engine.http_listen}
    assert len(seen) == 4 * len(engines)


def test_a_moved_door_is_moved_for_everybody(make_data: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("gateway:\n  grpc_listen: 127.0.0.1:28123\n  edge: {max_connections: 5}\n")
    files = written(Settings(file, environ={}), make_data(), tmp_path)
    gateway = load(GatewaySection, section="gateway", path=files["gateway"], environ={})
    router = load(RouterSettings, section="router", path=files["router"], environ=DATABASE)
    assert str(gateway.grpc_listen) == router.gateway_address == "127.0.0.1:28123"
    assert gateway.edge.max_connections == 5


def test_the_port_of_the_command_line_wins(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("gateway: {public_listen: '0.0.0.0:9000'}\n")
    settings = Settings(file, environ={})
    assert settings.public(None) == Address("0.0.0.0", 9000)
    assert settings.public(9001) == Address("0.0.0.0", 9001)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rooter: {}\n", "unknown section 'rooter'; did you mean 'router'"),
        ("local: {inference_replica: 2}\n", "unknown key 'inference_replica'; did you mean 'inference_replicas'"),
        ("local: {inference_replicas: -1}\n", "inference_replicas: .*greater than or equal to 0"),
        ("local: {router_replicas: 0}\n", "router_replicas: .*greater than or equal to 1"),
        ("router: [1]\n", "section 'router' must be a mapping"),
        ("router: {a: 1, a: 2}\n", "key 'a' is given twice"),
        (":", "is not YAML|must hold a mapping"),
    ],
)
def test_what_cannot_be_is_told(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(LocalError, match=problem):
        Settings(file, environ={})


def test_the_environment_moves_no_door_of_a_process() -> None:
    environ = {
        "PATH": "/bin",
        "ENGINEHOUSE_URL": "http://x",
        "ENGINEHOUSE_ROUTER__LOG_LEVEL": "DEBUG",
        "ENGINEHOUSE_ROUTER__HTTP_LISTEN": "127.0.0.1:1",
        "ENGINEHOUSE_GATEWAY__ROUTER_HTTP": "127.0.0.1:1",
        "ENGINEHOUSE_INFERENCE__ENGINE_ID": "me",
    }
    kept = process_environment(environ)
    assert kept == {"PATH": "/bin", "ENGINEHOUSE_URL": "http://x", "ENGINEHOUSE_ROUTER__LOG_LEVEL": "DEBUG"}


def test_several_routers_share_everything_but_their_doors(make_data: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "local: {router_replicas: 3}\nrouter: {engine_id: mine, http_listen: '127.0.0.1:28124', grant_ttl_s: 77}\n"
    )
    files = written(Settings(file, environ={}), make_data(), tmp_path)
    names = [name for name in files if name.startswith("router")]
    assert names == ["router-1", "router-2", "router-3"]
    routers = [load(RouterSettings, section="router", path=files[name], environ=DATABASE) for name in names]
    gateway = load(GatewaySection, section="gateway", path=files["gateway"], environ={})
    engine = load(InferenceConfig, section="inference", path=files["inference-1"], environ={})
    assert [str(address) for address in gateway.router_http] == [router.http_listen for router in routers]
    assert engine.router_address == ",".join(router.grpc_listen for router in routers)
    assert {router.grant_ttl_s for router in routers} == {77}
    endpoints = {
        address for router in routers for address in (router.http_listen, router.grpc_listen, router.admin_http_listen)
    }
    assert len(endpoints) == 9
    assert "127.0.0.1:28124" not in endpoints
    assert len({router.engine_id for router in routers}) == 3


def test_the_door_of_a_router_alone_is_moved_for_envoy_too(make_data: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("router: {http_listen: '127.0.0.1:28124', grpc_listen: '127.0.0.1:28125'}\n")
    files = written(Settings(file, environ={}), make_data(), tmp_path)
    gateway = load(GatewaySection, section="gateway", path=files["gateway"], environ={})
    engine = load(InferenceConfig, section="inference", path=files["inference-1"], environ={})
    assert [str(address) for address in gateway.router_http] == ["127.0.0.1:28124"]
    assert engine.router_address == "127.0.0.1:28125"
