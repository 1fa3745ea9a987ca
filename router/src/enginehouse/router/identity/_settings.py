"""The configuration of identity providers."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

import pydantic

from enginehouse.kit.config import Section
from enginehouse.router.identity._roles import Role

# Signatures by a key that only the provider holds. Shared secrets and "none" are excluded, because whoever verifies
# such a token could also make one.
Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]  # fmt: skip
Claim = str | tuple[str, ...]


class IssuerSettings(Section):
    """One identity provider, whose tokens (JWT) are accepted besides keys.

    A token represents a user of a tenant: of `tenant`, or of the one that `tenant_claim` names. The user's role is the
    one set here, if the user was created here. Otherwise it is the one that `role_claim` names, or else `default_role`;
    without a role the token is refused. A claim is a name, or a list of names for a nested claim.
    """

    issuer: str
    """The tokens' "iss", compared exactly; an https URL (http on this machine's own addresses)."""
    audiences: tuple[str, ...] = pydantic.Field(min_length=1)
    """The audiences, of which the tokens' "aud" must hold one."""
    jwks_url: str = ""
    """The URL of the provider's keys; if empty, `issuer`/.well-known/openid-configuration gives it."""
    algorithms: tuple[Algorithm, ...] = pydantic.Field(default=("RS256", "ES256", "EdDSA"), min_length=1)
    """The signature algorithms that are accepted."""
    skew_s: float = pydantic.Field(default=30.0, ge=0, le=300)
    """Seconds that the provider's clock may differ from this one."""
    refresh_s: float = pydantic.Field(default=600.0, ge=1)
    """Seconds between two reads of the provider's keys."""
    unknown_key_s: float = pydantic.Field(default=5.0, ge=0.1)
    """The least seconds between two reads that tokens with unknown keys cause."""
    tenant: str = ""
    """The name or id of the tenant that every user belongs to."""
    tenant_claim: Claim = ""
    """The claim that names the tenant, if `tenant` is empty."""
    tenants: Mapping[str, str] = {}
    """The tenants by the values of that claim; if empty, the values are the tenants' names or ids."""
    user_claim: Claim = "sub"
    """The claim that names the user: 1-128 printable ASCII characters without spaces."""
    role_claim: Claim = ""
    """The claim that gives the role: a word, or a list of words of which the highest role counts."""
    roles: Mapping[str, Role] = {}
    """The roles by the words of that claim; if empty, the words are roles."""
    default_role: Role | None = None
    """The role of users without another; if empty, they are refused."""

    @pydantic.field_validator("issuer", "jwks_url")
    @classmethod
    def _safe(cls, url: str) -> str:
        if url:
            check_provider_url(url)
        return url

    @pydantic.model_validator(mode="after")
    def _one_tenant(self) -> IssuerSettings:
        if bool(self.tenant) == bool(self.tenant_claim):
            raise ValueError(f"issuer {self.issuer}: set either tenant or tenant_claim")
        if self.tenants and not self.tenant_claim:
            raise ValueError(f"issuer {self.issuer}: tenants without tenant_claim; set tenant_claim too")
        if self.roles and not self.role_claim:
            raise ValueError(f"issuer {self.issuer}: roles without role_claim; set role_claim too")
        return self


def check_provider_url(url: str) -> None:
    """Raise ValueError unless the URL is one of https, or of http on a loopback address."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        raise ValueError(f"{url[:200]!r} is not a URL") from None
    if parts.username or parts.password or parts.fragment:
        raise ValueError(f"{parts.scheme}://{host}: must not carry a user, a password or a fragment")
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))):
        raise ValueError(f"{url[:200]!r} must be an https URL; only on 127.0.0.1 and ::1 it may be http")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
