from __future__ import annotations

from pathlib import Path

import pytest

from enginehouse.kit.addresses import Address, parse_address, parse_addresses, parse_listen
from enginehouse.kit.config import ConfigError, Section, load


class Limits(Section):
    renamed = {"most_per_minute": "per_minute"}

    per_minute: int = 60


class Router(Section):
    http_listen: str
    database_url: str = ""
    replicas: int = 1
    models: tuple[str, ...] = ()
    limits: Limits = Limits()


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_environment_lies_over_the_file_and_reaches_into_nested_sections(tmp_path: Path) -> None:
    path = write(tmp_path, "router: {http_listen: 'a:1', limits: {per_minute: 5}}\ngateway: {x: 1}")
    environ = {
        "ENGINEHOUSE_ROUTER__HTTP_LISTEN": "b:2",
        "ENGINEHOUSE_ROUTER__LIMITS__PER_MINUTE": "7",
        "ENGINEHOUSE_ROUTER__MODELS": "[x, y]",
        "ENGINEHOUSE_GATEWAY__X": "9",
        "ENGINEHOUSE_URL": "ignored",
    }
    router = load(Router, section="router", path=path, environ=environ)
    assert router == Router(http_listen="b:2", models=("x", "y"), limits=Limits(per_minute=7))


def test_a_section_is_frozen(tmp_path: Path) -> None:
    router = load(Router, section="router", path=None, environ={"ENGINEHOUSE_ROUTER__HTTP_LISTEN": "a:1"})
    with pytest.raises(ValueError, match="frozen"):
        router.replicas = 2


@pytest.mark.parametrize(
    ("text", "environ", "words"),
    [
        ("router: {http_listenn: a, http_listen: a}", {}, ["config.yaml", "listenn", "did you mean 'http_listen'"]),
        ("router: {http_listen: a, limits: {per_minut: 5}}", {}, ["router.limits.per_minut", "'per_minute'"]),
        (
            "router: {http_listen: a, limits: {most_per_minute: 5}}",
            {},
            ["config.yaml: router.limits.most_per_minute", "key 'most_per_minute' was renamed; write 'per_minute'"],
        ),
        (
            "router: {http_listen: a}",
            {"ENGINEHOUSE_ROUTER__LIMITS__MOST_PER_MINUTE": "1"},
            ["ENGINEHOUSE_ROUTER__LIMITS__MOST_PER_MINUTE", "write 'per_minute'"],
        ),
        ("router: {}", {}, ["router.http_listen", "missing", "ENGINEHOUSE_ROUTER__HTTP_LISTEN"]),
        ("rooter: {http_listen: a}", {}, ["no section 'router'", "did you mean 'rooter'"]),
        ("router: {http_listen: a, replicas: many}", {}, ["router.replicas", "'many'"]),
        ("router: {http_listen: a}", {"ENGINEHOUSE_ROUTER__REPLICA": "1"}, ["ROUTER__REPLICA:", "'replicas'"]),
        ("router: {http_listen: a, http_listen: b}", {}, ["line 1", "duplicate key 'http_listen'"]),
        ("router: [1]", {}, ["section 'router' must be a mapping"]),
        ("router: {", {}, ["config.yaml", "not YAML"]),
        ("- 1", {}, ["must hold a mapping"]),
        ("router: {http_listen: a}", {"ENGINEHOUSE_ROUTER____X": "1"}, ["ENGINEHOUSE_ROUTER____X", "empty key"]),
    ],
)  # fmt: skip
def test_errors_name_the_place_and_the_fix(
    tmp_path: Path, text: str, environ: dict[str, str], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Router, section="router", path=write(tmp_path, text), environ=environ)
    for word in words:
        assert word in str(caught.value)


def test_secrets_are_not_repeated_in_errors(tmp_path: Path) -> None:
    path = write(tmp_path, "router: {http_listen: a, database_url: [hunter2]}")
    with pytest.raises(ConfigError) as caught:
        load(Router, section="router", path=path, environ={"ENGINEHOUSE_ROUTER__DATABASE_URL": "[hunter3]"})
    assert "hunter" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read: No such file"):
        load(Router, section="router", path=tmp_path / "absent.yaml", environ={})


def test_addresses() -> None:
    assert parse_listen("127.0.0.1:0") == Address("127.0.0.1", 0)
    assert parse_listen("localhost:80") == Address("127.0.0.1", 80)
    assert str(parse_address("[::1]:80")) == "[::1]:80"
    assert parse_addresses("a:1, b:2") == (Address("a", 1), Address("b", 2))


@pytest.mark.parametrize(
    "text", ["", "80", "host", "host:", ":80", "host:x", "host:65536", "::1:80", "host:-1", "host:٣"]
)
def test_bad_addresses_are_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_address(text)
    assert repr(text) in str(caught.value)


def test_one_cannot_connect_to_port_zero_or_listen_on_a_name() -> None:
    with pytest.raises(ConfigError, match="port 0"):
        parse_address("127.0.0.1:0")
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0"):
        parse_listen("example.com:80")
    with pytest.raises(ConfigError, match="at least one"):
        parse_addresses(" , ")
