"""URLs, keys, and the waits between attempts."""

from __future__ import annotations

import grpc
import hypothesis
import pytest
from hypothesis import strategies

from enginehouse.client import Enginehouse, RetryPolicy, Unavailable
from enginehouse.client._connection import Target
from enginehouse.client.retries import Attempts


@pytest.mark.parametrize(
    ("url", "address", "tls"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:8080", False),
        ("http://mesh.example", "mesh.example:80", False),
        ("https://mesh.example/", "mesh.example:443", True),
        ("https://[::1]:8443", "[::1]:8443", True),
    ],
)
def test_valid_urls_are_parsed(url: str, address: str, tls: bool) -> None:
    assert Target.parse(url) == Target(address=address, tls=tls)


@pytest.mark.parametrize(
    "url",
    ["", "mesh:8080", "ftp://mesh", "http://", "http://mesh/v1", "http://mesh?x=1", "http://mesh:99999", "http://["],
)
def test_invalid_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="invalid url"):
        Target.parse(url)


def test_a_url_with_a_password_is_refused_without_repeating_it() -> None:
    with pytest.raises(ValueError, match="give the key as api_key") as failed:
        Target.parse("http://user:s3cret@mesh")
    assert "s3cret" not in str(failed.value)


@pytest.mark.parametrize("key", ["", "eh_a b", "eh_\n", "eh_é"])
def test_invalid_keys_are_refused_without_repeating_them(key: str) -> None:
    with pytest.raises(ValueError, match="invalid api_key") as failed:
        Enginehouse("http://127.0.0.1:1", key)
    assert len(key) < 2 or key not in str(failed.value)


@hypothesis.given(
    attempts=strategies.integers(1, 8),
    first=strategies.floats(0.001, 1),
    growth=strategies.floats(1, 4),
    asked=strategies.none() | strategies.floats(0, 3),
)
def test_waits_grow_within_their_bounds_and_end(
    attempts: int, first: float, growth: float, asked: float | None
) -> None:
    policy = RetryPolicy(max_attempts=attempts, initial_backoff_s=first, max_backoff_s=2.0, backoff_multiplier=growth)
    call = Attempts(policy, timeout_s=None)
    error = Unavailable("no", code=grpc.StatusCode.UNAVAILABLE, retry_after_s=asked)
    longest = first
    for _ in range(attempts - 1):
        delay = call.delay_before_next(error)
        assert delay is not None
        assert max(longest / 2, asked or 0) <= delay <= max(longest, asked or 0)
        longest = min(longest * growth, 2.0)
    assert call.delay_before_next(error) is None
