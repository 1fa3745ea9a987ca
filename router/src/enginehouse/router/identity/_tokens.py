"""Tokens of identity providers (JWT), verified once and remembered by their hash until they expire.

The claims follow RFC 7519, the precautions RFC 8725: the configuration and the key choose the algorithm, never the
token; issuer and audience are compared exactly; nothing that a token names is fetched.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jwt
from jwt.api_jws import PyJWS

from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.identity._index import Caller
from enginehouse.router.identity._provider import ProviderKeys
from enginehouse.router.identity._roles import Role
from enginehouse.router.identity._settings import Claim, IssuerSettings
from enginehouse.router.identity._user_index import TokenUser, UserIndex

_MAX_CHARACTERS = 8192
_MAX_KNOWN = 50_000
_NAME = re.compile(r"[\x21-\x7e]{1,128}").fullmatch
# Tokens for other purposes, such as a logout, have other types.
_TYPES = (None, "jwt", "at+jwt", "application/at+jwt")
_ROLES = tuple(Role)


@dataclasses.dataclass(slots=True)
class IdentityProvider:
    """An issuer with its keys."""

    settings: IssuerSettings
    keys: ProviderKeys


@dataclasses.dataclass(frozen=True, slots=True)
class _VerifiedToken:
    user: TokenUser
    until_ms: float
    provider: IdentityProvider
    generation: int


class TokenVerifier:
    """Verifies tokens, and finds the caller of each.

    Args:
        issuers: the providers whose tokens are accepted.
        users: tenants and users.
    """

    def __init__(self, *, issuers: Sequence[IssuerSettings], users: UserIndex) -> None:
        self._providers = {issuer.issuer: IdentityProvider(issuer, ProviderKeys(settings=issuer)) for issuer in issuers}
        self._users = users
        self._known: dict[bytes, _VerifiedToken] = {}
        self._signatures = PyJWS()

    def __bool__(self) -> bool:
        return bool(self._providers)

    def start(self) -> None:
        """Start reading the providers' keys."""
        for provider in self._providers.values():
            provider.keys.start()

    async def close(self) -> None:
        """Stop."""
        for provider in self._providers.values():
            await provider.keys.close()

    def authenticate(self, token: bytes, *, now_ms: int) -> Caller:
        """Return a token's caller.

        Raises:
            ServiceError: TOKEN_INVALID; with a time to retry while the provider's keys are being read.
        """
        if len(token) > _MAX_CHARACTERS:
            raise _invalid(f"{len(token)} characters, over the {_MAX_CHARACTERS} allowed")
        digest = hashlib.sha256(token).digest()
        known = self._known.get(digest)
        if known is None or known.until_ms <= now_ms or known.generation != known.provider.keys.generation:
            known = self._verify(token, now_ms)
            if len(self._known) >= _MAX_KNOWN and digest not in self._known:
                del self._known[next(iter(self._known))]
            self._known[digest] = known
        caller = self._users.caller(known.user)
        if caller is None:
            raise _invalid(
                f"the user {known.user.name!r} has no role in the tenant {known.user.tenant[:64]!r}, or is disabled; "
                "create the user with 'enginehouse users create'"
            )
        return caller

    def _verify(self, token: bytes, now_ms: int) -> _VerifiedToken:
        header, claims = _parts(token)
        issuer = claims.get("iss")
        provider = self._providers.get(issuer) if isinstance(issuer, str) else None
        if provider is None:
            raise _invalid("its issuer is not configured")
        settings = provider.settings
        algorithm, key_id, kind = header.get("alg"), header.get("kid", ""), header.get("typ")
        if algorithm not in settings.algorithms:
            raise _invalid(f"its algorithm is none of {', '.join(settings.algorithms)}")
        if "crit" in header or "b64" in header:
            raise _invalid("its header needs extensions that are not supported")
        if (kind.lower() if isinstance(kind, str) else kind) not in _TYPES:
            raise _invalid("its type is not that of an access token")
        if not isinstance(key_id, str):
            raise _invalid("its key id is not a string")
        key = provider.keys.find(key_id, str(algorithm))
        if key is None:
            raise self._without_key(provider, key_id)
        try:
            # This verifies what was read above: the same bytes, split at the same dots.
            self._signatures.decode(token, key, algorithms=[str(algorithm)])
        except jwt.PyJWTError:
            raise _invalid("its signature is not made with the issuer's key") from None
        until_ms = _check_claims(claims, settings, now_ms)
        generation = provider.keys.generation
        return _VerifiedToken(_user(claims, settings), until_ms, provider, generation)

    def _without_key(self, provider: IdentityProvider, key_id: str) -> ServiceError:
        if provider.keys.loaded and provider.keys.knows(key_id):
            return _invalid("the issuer's key with its key id is for another algorithm")
        provider.keys.request_read()
        return ServiceError(
            Reason.TOKEN_INVALID,
            "invalid token: signed with an unknown key; the issuer's keys are being read, retry shortly",
            retry_after_s=1.0,
        )


def _parts(token: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    pieces = token.split(b".")
    if len(pieces) != 3:
        raise _invalid("not a signed JWT")
    try:
        header, claims = (
            json.loads(base64.b64decode(piece + b"=" * (-len(piece) % 4), b"-_", validate=True)) for piece in pieces[:2]
        )
    except (binascii.Error, ValueError, RecursionError):
        raise _invalid("not a signed JWT") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise _invalid("not a signed JWT")
    return header, claims


def _check_claims(claims: Mapping[str, Any], settings: IssuerSettings, now_ms: int) -> float:
    """Return the token's expiry in milliseconds since 1970 UTC, skew included."""
    audience = claims.get("aud")
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or not any(value in settings.audiences for value in named if isinstance(value, str)):
        raise _invalid(f"its audience is none of {', '.join(settings.audiences)}")
    skew_ms = settings.skew_s * 1000
    expires = _time(claims, "exp")
    if expires is None:
        raise _invalid("no expiry")
    if expires + skew_ms <= now_ms:
        raise _invalid("expired; get a new one from the identity provider")
    for claim in ("nbf", "iat"):
        begins = _time(claims, claim)
        if begins is not None and begins - skew_ms > now_ms:
            raise _invalid(f"its {claim} is in the future")
    return expires + skew_ms


def _time(claims: Mapping[str, Any], claim: str) -> float | None:
    value = claims.get(claim)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or abs(value) > 1e12:
        raise _invalid(f"its {claim} is not a time")
    return value * 1000.0


def _user(claims: Mapping[str, Any], settings: IssuerSettings) -> TokenUser:
    name = _claim(claims, settings.user_claim)
    if not isinstance(name, str) or not _NAME(name):
        raise _invalid(f"its {_path_of(settings.user_claim)} is not 1-128 printable ASCII characters without spaces")
    tenant: Any = settings.tenant
    if not tenant:
        tenant = _claim(claims, settings.tenant_claim)
        if settings.tenants and isinstance(tenant, str):
            tenant = settings.tenants.get(tenant)
        if not isinstance(tenant, str) or not tenant:
            raise _invalid(f"its {_path_of(settings.tenant_claim)} names no tenant")
    role = settings.default_role
    if settings.role_claim:
        words = _claim(claims, settings.role_claim)
        words = [words] if isinstance(words, str) else words
        given = [_role(word, settings.roles) for word in words] if isinstance(words, list) else []
        role = max((value for value in given if value is not None), key=_ROLES.index, default=role)
    return TokenUser(tenant, name, role)


def _role(word: object, roles: Mapping[str, Role]) -> Role | None:
    if not isinstance(word, str):
        return None
    if roles:
        return roles.get(word)
    return Role(word) if word in _ROLES else None


def _claim(claims: Mapping[str, Any], path: Claim) -> Any:
    value: Any = claims
    for name in (path,) if isinstance(path, str) else path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _path_of(path: Claim) -> str:
    return path if isinstance(path, str) else ".".join(path)


def _invalid(fault: str) -> ServiceError:
    return ServiceError(Reason.TOKEN_INVALID, f"invalid token: {fault}")
