"""The first key of a new installation, written to the database, because no key exists yet to create it."""

from __future__ import annotations

import dataclasses

import orjson

from enginehouse.router.audit import AuditEntry, AuditLog, AuditOutcome
from enginehouse.router.clock import Clock
from enginehouse.router.identity import Key, KeyHasher, KeyStore, Tenant, new_secret, secret_hint
from enginehouse.router.ids import new_id

DEFAULT_TENANT = "default"


@dataclasses.dataclass(frozen=True, slots=True)
class BootstrappedKey:
    """A key with every scope; `secret` is the key itself."""

    key_id: str
    secret: str = dataclasses.field(repr=False)
    tenant_id: str


async def bootstrap_key(
    *, keys: KeyStore, audit: AuditLog, hasher: KeyHasher, clock: Clock, name: str, tier: str
) -> BootstrappedKey:
    """Create the tenant "default", unless it exists, and a new key of it with every scope."""
    now = clock()
    tenant = await keys.find_tenant(DEFAULT_TENANT)
    if tenant is None:
        await keys.insert_tenant(Tenant(tenant_id=new_id("ten"), name=DEFAULT_TENANT, tier=tier, created_at_ms=now))
        # Another process may have created it first.
        tenant = await keys.find_tenant(DEFAULT_TENANT)
        assert tenant is not None
    secret = new_secret()
    key = Key(
        key_id=new_id("key"),
        tenant_id=tenant.tenant_id,
        name=name,
        digest=hasher.digest(secret),
        hint=secret_hint(secret),
        scopes=("inference", "spend", "admin"),
        allowed_models=(),
        requests_per_minute=0,
        tokens_per_minute=0,
        concurrency=0,
        created_at_ms=now,
        expires_at_ms=0,
        revoked_at_ms=0,
    )
    entry = AuditEntry(
        tenant_id=tenant.tenant_id,
        actor_tenant_id="",
        actor_id="",
        actor_user="",
        request_id="",
        action="enginehouse-router/bootstrap-key",
        target_id=key.key_id,
        outcome=AuditOutcome.DONE,
        after_json=orjson.dumps({"name": name, "scopes": key.scopes}).decode(),
    )
    async with keys.transaction() as connection:
        await keys.insert_key(key, connection=connection)
        await audit.append([entry], connection)
    return BootstrappedKey(key.key_id, secret, tenant.tenant_id)
