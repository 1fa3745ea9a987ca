"""Grants: what was signed is what is read, and nothing else is."""

from __future__ import annotations

import stat
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.api.router.v1.grant_pb2 import Grant
from enginehouse.kit.config import ConfigError
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.grants import GrantKeys, authenticate, peek, sign, verify
from enginehouse.kit.testing import GrantIssuer

METHOD = "/package.Service/Method"
KEYS = GrantKeys({"new": b"n" * 32, "old": b"o" * 32})
NOW = 1_700_000_000_000
GRANT = Grant(
    grant_id="g-1", request_id="r-1", attempt=1, method=METHOD, issued_at_ms=NOW, accept_by_ms=NOW + 10_000,
    expires_at_ms=NOW + 60_000,
)  # fmt: skip
TOKEN = sign(GRANT, keys=KEYS)


def reason(token: str, *, keys: GrantKeys = KEYS, method: str = METHOD, now_ms: int = NOW) -> Reason:
    with pytest.raises(ServiceError) as caught:
        verify(token, keys=keys, method=method, now_ms=now_ms)
    return caught.value.reason


def test_a_signed_grant_is_read_back() -> None:
    assert verify(TOKEN, keys=KEYS, method=METHOD, now_ms=NOW) == GRANT
    assert peek(TOKEN) == GRANT


def test_keys_rotate() -> None:
    old = sign(GRANT, keys=GrantKeys({"old": b"o" * 32}))
    assert verify(old, keys=KEYS, method=METHOD, now_ms=NOW) == GRANT
    assert reason(old, keys=GrantKeys({"new": b"n" * 32})) is Reason.GRANT_INVALID
    assert reason(old, keys=GrantKeys({"old": b"x" * 32})) is Reason.GRANT_INVALID


def test_missing_and_misplaced_and_late() -> None:
    assert reason("") is Reason.GRANT_MISSING
    assert reason(TOKEN, method="/package.Service/Other") is Reason.GRANT_INVALID
    assert verify(TOKEN, keys=KEYS, method=METHOD, now_ms=GRANT.accept_by_ms) == GRANT
    assert reason(TOKEN, now_ms=GRANT.accept_by_ms + 1) is Reason.GRANT_EXPIRED
    expired = Grant.FromString(GRANT.SerializeToString())
    expired.expires_at_ms = NOW
    assert reason(sign(expired, keys=KEYS)) is Reason.GRANT_EXPIRED
    nameless = Grant.FromString(GRANT.SerializeToString())
    nameless.grant_id = ""
    assert reason(sign(nameless, keys=KEYS)) is Reason.GRANT_INVALID
    assert reason("v1." + "x" * 20_000) is Reason.GRANT_INVALID


def test_changing_any_byte_breaks_it() -> None:
    for index in range(len(TOKEN)):
        for bit in range(7):
            forged = TOKEN[:index] + chr(ord(TOKEN[index]) ^ (1 << bit)) + TOKEN[index + 1 :]
            assert reason(forged) is Reason.GRANT_INVALID
        assert reason(TOKEN[:index] + TOKEN[index + 1 :]) is Reason.GRANT_INVALID


@given(st.text(min_size=1) | st.text("v1.newold_-AZaz09=+/", min_size=1))
def test_no_text_is_a_grant(text: str) -> None:
    assert reason(text) is Reason.GRANT_INVALID
    with pytest.raises(ServiceError):
        authenticate(TOKEN + text, keys=KEYS)


@given(st.integers(0, len(TOKEN)), st.text(min_size=1, max_size=5))
def test_nothing_can_be_put_in(position: int, text: str) -> None:
    assert reason(TOKEN[:position] + text + TOKEN[position:]) is Reason.GRANT_INVALID


def test_the_secret_is_in_no_text(tmp_path: Path) -> None:
    assert "nnnn" not in repr(KEYS)
    path = tmp_path / "keys"
    path.write_text("k1:" + "A" * 8)
    with pytest.raises(ConfigError) as caught:
        GrantKeys.load(path)
    assert "AAAA" not in str(caught.value)
    assert "under 32" in str(caught.value)


def test_a_keys_file_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    made = GrantKeys.generate(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    loaded = GrantKeys.load(path)
    assert verify(sign(GRANT, keys=made), keys=loaded, method=METHOD, now_ms=NOW) == GRANT
    with pytest.raises(ConfigError, match="exists"):
        GrantKeys.generate(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no grant key"),
        ("# only a comment\n\n", "no grant key"),
        ("k1", "line 1"),
        ("k.1:" + "A" * 44, "'k.1'"),
        ("k1:???", "line 1: the secret of 'k1' is not base64"),
        ("\n".join(["k1:" + "A" * 44] * 2), "line 2: key id 'k1' is given twice"),
    ],
)
def test_bad_keys_files_are_explained(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        GrantKeys.load(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_absent_keys_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        GrantKeys.load(tmp_path / "absent")


def test_an_issuer_of_tests_signs_what_engines_accept() -> None:
    issuer = GrantIssuer()
    ((_, token),) = issuer.metadata(METHOD, models=["m"])
    grant = verify(token, keys=issuer.keys, method=METHOD, now_ms=time.time_ns() // 1_000_000)
    assert [candidate.model for candidate in grant.candidates] == ["m"]
