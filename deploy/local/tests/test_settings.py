"""The user's settings, and the configuration of the processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from enginehouse.gateway.config import GatewaySection
from enginehouse.kit.addresses import Address
from enginehouse.kit.config import load
from enginehouse.kit.engine import EngineSection, EngineSpec, installed_engines
from enginehouse.local.endpoints import PortBlock
from enginehouse.local.errors import LocalError
from enginehouse.local.settings import Settings, process_environment
from enginehouse.router.settings import RouterSettings

SHIPPED = Path(__file__).parents[2] / "config"
ENGINES = installed_engines()
DATABASE = {"ENGINEHOUSE_ROUTER__DATABASE_URL": "postgresql://x@/y"}


class PlainConfig(EngineSection):
    """The section of an engine without keys of its own."""


def spec(kind: str, **fields: Any) -> EngineSpec[Any]:
    async def build(context: Any) -> Any:
        raise NotImplementedError

    return EngineSpec(kind=kind, package=kind, distribution=kind, config=PlainConfig, build=build, **fields)


def read_settings(
    file: Path | None, *, environ: dict[str, str] | None = None, engines: dict[str, EngineSpec[Any]] | None = None
) -> Settings:
    return Settings(file, environ=environ or {}, engines=ENGINES if engines is None else engines)


def written(settings: Settings, data: Any, tmp_path: Path) -> dict[str, Path]:
    block = PortBlock()
    try:
        endpoints = block.endpoints(
            settings.public(None),
            engines=settings.wanted_engines(),
            router_replicas=settings.local.router_replicas,
        )
    finally:
        block.close()
    return settings.write(settings.process_configs(data, settings.apply_addresses(endpoints)), tmp_path)


@pytest.mark.parametrize("file", [None, "development.yaml", "staging.yaml", "production.yaml"])
def test_every_process_accepts_its_generated_configuration(file: str | None, make_data: Any, tmp_path: Path) -> None:
    settings = read_settings(SHIPPED / file if file else None)
    files = written(settings, make_data(), tmp_path)
    gateway = load(GatewaySection, section="gateway", path=files["gateway"], environ={})
    router = load(RouterSettings, section="router", path=files["router"], environ=DATABASE)
    assert router.gateway_address == str(gateway.grpc_listen)
    assert [str(address) for address in gateway.router_http] == [router.http_listen]
    engines = [name for name in files if name.rpartition("-")[0] in ENGINES]
    assert len(engines) == sum(settings.wanted_engines().values()) >= len(ENGINES) > 0
    seen = set()
    for name in engines:
        kind = name.partition("-")[0]
        engine = load(ENGINES[kind].config, section=kind, path=files[name], environ={})
        assert engine.router_address == router.grpc_listen
        assert engine.gateway_address == router.gateway_address
        assert engine.grant_keys_file == router.grant_keys_file
        assert engine.catalog_file == router.catalog_file
        assert engine.drain_s < settings.local.stop_timeout_s
        seen |= {engine.engine_id, str(engine.spool_dir), engine.listen, engine.http_listen}
    assert len(seen) == 4 * len(engines)


def test_a_configured_address_reaches_all_processes(make_data: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("gateway:\n  grpc_listen: 127.0.0.1:28123\n  edge: {max_connections: 5}\n")
    files = written(read_settings(file), make_data(), tmp_path)
    gateway = load(GatewaySection, section="gateway", path=files["gateway"], environ={})
    router = load(RouterSettings, section="router", path=files["router"], environ=DATABASE)
    assert str(gateway.grpc_listen) == router.gateway_address == "127.0.0.1:28123"
    assert gateway.edge.max_connections == 5


def test_the_port_of_the_command_line_wins(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("gateway: {public_listen: '0.0.0.0:9000'}\n")
    settings = read_settings(file)
    assert settings.public(None) == Address("0.0.0.0", 9000)
    assert settings.public(9001) == Address("0.0.0.0", 9001)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rooter: {}\n", "unknown section 'rooter'; did you mean 'router'"),
        ("local: {router_replica: 2}\n", "unknown key 'router_replica'; did you mean 'router_replicas'"),
        ("local: {engines: {inferense: 2}}\n", "unknown kind of engine 'inferense'; did you mean 'inference'"),
        ("local: {engines: {inference: -1}}\n", "local.engines.inference: must be 0 to 32"),
        ("local: {inference_replicas: 1}\n", "'inference_replicas' was renamed; write 'engines: {inference: N}'"),
        ("local: {voice_replicas: 1}\n", "'voice_replicas' was renamed; write 'engines: {voice: N}'"),
        ("local: {router_replicas: 0}\n", "router_replicas: .*greater than or equal to 1"),
        ("router: [1]\n", "section 'router' must be a mapping"),
        ("router: {a: 1, a: 2}\n", "duplicate key 'a'"),
        (":", "is not YAML|must hold a mapping"),
    ],
)
def test_invalid_settings_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(LocalError, match=problem):
        read_settings(file)


def test_an_old_variable_is_refused_with_the_new_key() -> None:
    with pytest.raises(LocalError, match="INFERENCE_REPLICAS: .*was renamed; write 'engines: {inference: N}'"):
        read_settings(None, environ={"ENGINEHOUSE_LOCAL__INFERENCE_REPLICAS": "2"})


def test_each_kind_with_a_model_runs_once_unless_the_file_says_otherwise(make_data: Any, tmp_path: Path) -> None:
    engines = {kind: spec(kind) for kind in ("paint", "sing", "dance")}
    catalog = tmp_path / "catalog.yaml"
    entry = "{{name: {0}, cluster: {0}, backend: b, source: 'file:x', capabilities: [chat], quality: 1, prices: {{}}}}"
    catalog.write_text("models:\n" + "".join(f"  - {entry.format(kind)}\n" for kind in ("paint", "sing")))
    data = make_data()
    environ = {"ENGINEHOUSE_LOCAL__CATALOG_FILE": str(catalog)}
    assert read_settings(None, environ=environ, engines=engines).engines_to_start(data) == {"paint": 1, "sing": 1}
    environ |= {"ENGINEHOUSE_LOCAL__ENGINES__SING": "3", "ENGINEHOUSE_LOCAL__ENGINES__PAINT": "0"}
    settings = read_settings(None, environ=environ, engines=engines)
    assert settings.engines_to_start(data) == {"sing": 3}
    assert settings.wanted_engines() == {"sing": 3, "dance": 1}


def test_an_engines_own_section_and_folders_reach_its_process(make_data: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("paint: {log_level: DEBUG}\nlocal: {engines: {paint: 2}}\n")
    data = make_data()
    settings = read_settings(file, engines={"paint": spec("paint", data_folders={"canvas_dir": "canvases"})})
    sections = [yaml.safe_load(written(settings, data, tmp_path)[f"paint-{n}"].read_text())["paint"] for n in (1, 2)]
    assert [section["engine_id"] for section in sections] == ["paint-1", "paint-2"]
    assert {section["canvas_dir"] for section in sections} == {str(data.root / "canvases")}
    assert {section["log_level"] for section in sections} == {"DEBUG"}


def test_the_environment_changes_no_address() -> None:
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


def test_several_routers_share_everything_but_their_addresses(make_data: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "local: {router_replicas: 3}\nrouter: {engine_id: mine, http_listen: '127.0.0.1:28124', grant_ttl_s: 77}\n"
    )
    files = written(read_settings(file), make_data(), tmp_path)
    names = [name for name in files if name.startswith("router")]
    assert names == ["router-1", "router-2", "router-3"]
    routers = [load(RouterSettings, section="router", path=files[name], environ=DATABASE) for name in names]
    gateway = load(GatewaySection, section="gateway", path=files["gateway"], environ={})
    engine = load(ENGINES["inference"].config, section="inference", path=files["inference-1"], environ={})
    assert [str(address) for address in gateway.router_http] == [router.http_listen for router in routers]
    assert engine.router_address == ",".join(router.grpc_listen for router in routers)
    assert {router.grant_ttl_s for router in routers} == {77}
    endpoints = {
        address for router in routers for address in (router.http_listen, router.grpc_listen, router.admin_http_listen)
    }
    assert len(endpoints) == 9
    assert "127.0.0.1:28124" not in endpoints
    assert len({router.engine_id for router in routers}) == 3


def test_the_address_of_a_single_router_reaches_envoy_too(make_data: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("router: {http_listen: '127.0.0.1:28124', grpc_listen: '127.0.0.1:28125'}\n")
    files = written(read_settings(file), make_data(), tmp_path)
    gateway = load(GatewaySection, section="gateway", path=files["gateway"], environ={})
    engine = load(ENGINES["inference"].config, section="inference", path=files["inference-1"], environ={})
    assert [str(address) for address in gateway.router_http] == ["127.0.0.1:28124"]
    assert engine.router_address == "127.0.0.1:28125"
