"""Identity providers, as they are configured."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

import pydantic

from enginehouse.kit.config import Section
from enginehouse.router.identity._roles import Role

# Signatures by a key that only the provider holds. Shared secrets and "none" are not among them: whoever can check
# such a token could make one.
Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]  # fmt: skip
Claim = str | tuple[str, ...]


class IssuerSettings(Section):
    """One identity provider, whose tokens (JWT) are taken besides keys.

    A token speaks for a user of a tenant: of `tenant`, or of the one that `tenant_claim` names. Its role is the one
    that the user was given here; for users that were not made here, the one that `role_claim` names, else
    `default_role`; with none the token is refused. A claim is a name, or a list of names for a nested one.
    """

    issuer: str
    """What the tokens' "iss" must be, to the letter; an https URL (http on this machine's own addresses)."""
    audiences: tuple[str, ...] = pydantic.Field(min_length=1)
    """What the tokens' "aud" must hold one of."""
    jwks_url: str = ""
    """Where the provider's keys are; empty means where `issuer`/.well-known/openid-configuration says."""
    algorithms: tuple[Algorithm, ...] = pydantic.Field(default=("RS256", "ES256", "EdDSA"), min_length=1)
    """The signatures taken."""
    skew_s: float = pydantic.Field(default=30.0, ge=0, le=300)
    """How far the provider's clock may be from this one."""
    refresh_s: float = pydantic.Field(default=600.0, ge=1)
    """How often the keys are read again."""
    unknown_key_s: float = pydantic.Field(default=5.0, ge=0.1)
    """How often, at most, they are read because a token names a key that is not known."""
    tenant: str = ""
    """The name or id of the tenant that every user belongs to."""
    tenant_claim: Claim = ""
    """Or the claim that names the tenant."""
    tenants: Mapping[str, str] = {}
    """The claim's values with the tenants that they stand for; empty means that values are tenants' names or ids."""
    user_claim: Claim = "sub"
    """The claim that names the user: 1-128 printable ASCII characters without spaces."""
    role_claim: Claim = ""
    """The claim that gives the role: a word or a list of words, of which the highest role counts."""
    roles: Mapping[str, Role] = {}
    """The claim's words with the roles that they stand for; empty means that words are roles."""
    default_role: Role | None = None
    """The role of users for whom neither says one; without it such users are refused."""

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
            raise ValueError(f"issuer {self.issuer}: tenants needs tenant_claim")
        if self.roles and not self.role_claim:
            raise ValueError(f"issuer {self.issuer}: roles needs role_claim")
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
        raise ValueError(f"{url[:200]!r} must be an https URL; http is taken on 127.0.0.1 and ::1 alone")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
