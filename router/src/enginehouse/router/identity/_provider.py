"""An identity provider's keys, read in the background: periodically, and when a token names an unknown key.

No decision waits for a read. Only the provider's key set decides which key verifies a token; a token's own pointers to
its key (`jku`, `x5u`, `jwk`) are ignored.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from typing import Any

import httpx
import jwt

from enginehouse.kit.tasks import BackgroundTask
from enginehouse.router.identity._settings import IssuerSettings, check_provider_url

_log = logging.getLogger(__name__)

_MAX_BYTES = 1 << 20
_MAX_KEYS = 100
_TIMEOUT_S = 5.0
_FIRST_RETRY_S = 0.5
_MIN_RSA_BITS = 2048
# The curve of each signature algorithm; other pairs are refused.
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


class ProviderKeysError(Exception):
    """The provider's answer is not a usable set of keys."""


class ProviderKeys:
    """The keys of one issuer. `generation` rises when they change; tokens verified before are verified again then."""

    def __init__(self, *, settings: IssuerSettings) -> None:
        self._settings = settings
        self._keys: dict[str, list[dict[str, Any]]] = {}
        self._made: dict[tuple[str, str], jwt.PyJWK | None] = {}
        self._wanted = asyncio.Event()
        self._task = BackgroundTask(self._run, name="identity-provider-keys")
        self.generation = 0
        self.loaded = False
        """True once the keys have been read."""
        self.reads = 0
        """The number of attempts to read them."""

    def start(self) -> None:
        """Start reading."""
        self._task.start()

    async def close(self) -> None:
        """Stop."""
        await self._task.close()

    def find(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        """Return the key with that id (for an empty id the only key) if it can verify that kind of signature."""
        made = self._made.get((key_id, algorithm))
        if made is None and (key_id, algorithm) not in self._made:
            fitting = [key for key in self._candidates(key_id) if _fits(key, algorithm)]
            if len(fitting) != 1:
                return None
            made = self._made[key_id, algorithm] = _make(fitting[0], algorithm)
        return made

    def knows(self, key_id: str) -> bool:
        """Return whether there is a key with that id."""
        return bool(self._candidates(key_id))

    def request_read(self) -> None:
        """Have the keys read soon."""
        self._wanted.set()

    def _candidates(self, key_id: str) -> list[dict[str, Any]]:
        if key_id:
            return self._keys.get(key_id, [])
        return [key for keys in self._keys.values() for key in keys]

    async def _run(self) -> None:
        retry = _FIRST_RETRY_S
        url = self._settings.jwks_url
        while True:
            began = time.monotonic()
            pause = self._settings.refresh_s
            try:
                async with httpx.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False) as client:
                    if not url:
                        url = await self._discover(client)
                    self._take(await _get(client, url))
                retry = _FIRST_RETRY_S
            except (httpx.HTTPError, ProviderKeysError) as error:
                _log.warning(
                    "could not read an identity provider's keys; the known keys stay in use",
                    extra={"issuer": self._settings.issuer, "error": str(error) or type(error).__name__},
                )
                pause, retry = min(retry, pause), min(retry * 2, 60.0)
            self.reads += 1
            self._wanted.clear()
            # `asyncio.wait_for` would lose a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wanted.wait()
                # Limit the reads: anybody can send tokens with unknown keys.
                await asyncio.sleep(max(0.0, self._settings.unknown_key_s - (time.monotonic() - began)))

    async def _discover(self, client: httpx.AsyncClient) -> str:
        issuer = self._settings.issuer
        document = await _get(client, f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if document.get("issuer") != issuer:
            raise ProviderKeysError(f"its configuration names another issuer, {str(document.get('issuer'))[:200]!r}")
        url = document.get("jwks_uri")
        if not isinstance(url, str):
            raise ProviderKeysError("its configuration names no jwks_uri")
        try:
            check_provider_url(url)
        except ValueError as error:
            raise ProviderKeysError(f"jwks_uri: {error}") from None
        return url

    def _take(self, document: Mapping[str, Any]) -> None:
        listed = document.get("keys")
        if not isinstance(listed, list) or len(listed) > _MAX_KEYS:
            raise ProviderKeysError(f"its key set has no list of at most {_MAX_KEYS} keys")
        keys: dict[str, list[dict[str, Any]]] = {}
        for key in listed:
            if isinstance(key, dict) and key.get("use", "sig") == "sig" and key.get("kty") in ("RSA", "EC", "OKP"):
                key_id = key.get("kid", "")
                keys.setdefault(key_id if isinstance(key_id, str) else "", []).append(key)
        if keys != self._keys:
            self._keys, self._made = keys, {}
            self.generation += 1
            _log.info("read new keys of an issuer", extra={"issuer": self._settings.issuer, "keys": len(keys)})
        self.loaded = True


async def _get(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    async with client.stream("GET", url, headers={"accept": "application/json"}) as response:
        if response.status_code != 200:
            raise ProviderKeysError(f"{url} answered with status {response.status_code}")
        parts, size = [], 0
        async for part in response.aiter_bytes():
            parts.append(part)
            size += len(part)
            if size > _MAX_BYTES:
                raise ProviderKeysError(f"the answer of {url} is over {_MAX_BYTES} bytes")
    try:
        document = httpx.Response(200, content=b"".join(parts)).json()
    except ValueError:
        raise ProviderKeysError(f"the answer of {url} is not JSON") from None
    if not isinstance(document, dict):
        raise ProviderKeysError(f"the answer of {url} is not a JSON object")
    return document


def _fits(key: Mapping[str, Any], algorithm: str) -> bool:
    if key.get("alg", algorithm) != algorithm:
        return False
    if algorithm[:2] in ("RS", "PS"):
        return key.get("kty") == "RSA"
    if algorithm in _CURVES:
        return key.get("kty") == "EC" and key.get("crv") == _CURVES[algorithm]
    return key.get("kty") == "OKP" and key.get("crv") in ("Ed25519", "Ed448")


def _make(key: dict[str, Any], algorithm: str) -> jwt.PyJWK | None:
    try:
        made = jwt.PyJWK(key, algorithm=algorithm)
    except jwt.PyJWTError:
        return None
    bits = getattr(made.key, "key_size", _MIN_RSA_BITS)
    return None if algorithm[:2] in ("RS", "PS") and bits < _MIN_RSA_BITS else made
