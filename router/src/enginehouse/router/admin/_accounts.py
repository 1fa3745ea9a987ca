"""Tenants and keys."""

from __future__ import annotations

import difflib

from enginehouse.api.router.v1 import admin_pb2
from enginehouse.kit.catalog import Catalog
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.validation import Checks
from enginehouse.router.admin._access import Administrator
from enginehouse.router.admin._pages import ordinal_start, page_size, page_token
from enginehouse.router.clock import Clock
from enginehouse.router.identity import Key, KeyHasher, KeyIndex, KeyStore, Tenant, new_secret, secret_hint
from enginehouse.router.ids import new_id
from enginehouse.router.ledger import Budget, BudgetIndex, BudgetStore, Period, Scope
from enginehouse.router.policy import Policy

SCOPES = ("inference", "spend", "admin")
_MOST = 2**53


class AccountAdmin:
    """Makes, lists and revokes."""

    def __init__(
        self,
        *,
        keys: KeyStore,
        index: KeyIndex,
        hasher: KeyHasher,
        budgets: BudgetStore,
        budget_index: BudgetIndex,
        policy: Policy,
        catalog: Catalog,
        clock: Clock,
    ) -> None:
        self._keys = keys
        self._index = index
        self._hasher = hasher
        self._budgets = budgets
        self._budget_index = budget_index
        self._policy = policy
        self._catalog = catalog
        self._clock = clock

    async def create_tenant(self, request: admin_pb2.CreateTenantRequest) -> admin_pb2.CreateTenantResponse:
        """Makes a tenant. Raises INVALID_REQUEST or ALREADY_EXISTS."""
        checks = Checks()
        check_name(checks, "name", request.name)
        tier = request.tier or "free"
        checks.require(
            tier in self._policy.tiers, "tier", f"{tier[:64]!r} must be one of {', '.join(self._policy.tiers)}"
        )
        checks.done()
        tenant = Tenant(tenant_id=new_id("ten"), name=request.name, tier=tier, created_at_ms=self._clock())
        if not await self._keys.insert_tenant(tenant):
            raise ServiceError(Reason.ALREADY_EXISTS, f"a tenant named {request.name!r} exists; choose another name")
        return admin_pb2.CreateTenantResponse(tenant=_tenant(tenant))

    async def list_tenants(
        self, request: admin_pb2.ListTenantsRequest, caller: Administrator
    ) -> admin_pb2.ListTenantsResponse:
        """Lists tenants; without the scope "admin", one's own."""
        size = page_size(request.page_size)
        after = ordinal_start(request.page_token, "tenants")
        if not caller.everything:
            own = await self._keys.get_tenant(caller.tenant_id)
            return admin_pb2.ListTenantsResponse(tenants=[_tenant(own)] if own is not None and not after else [])
        found = await self._keys.list_tenants(after=after, count=size + 1)
        more = len(found) > size
        found = found[:size]
        return admin_pb2.ListTenantsResponse(
            tenants=[_tenant(one) for one in found],
            next_page_token=page_token("tenants", str(found[-1].ordinal)) if more else "",
        )

    async def create_key(
        self, request: admin_pb2.CreateKeyRequest, caller: Administrator
    ) -> admin_pb2.CreateKeyResponse:
        """Makes a key, with its budget in the same transaction. Raises INVALID_REQUEST or NOT_FOUND."""
        now = self._clock()
        scopes = tuple(dict.fromkeys(request.scopes)) or ("inference", "spend")
        self._check_key(request, scopes, now)
        tenant = await self._keys.get_tenant(request.tenant_id or caller.tenant_id)
        if tenant is None:
            raise ServiceError(Reason.NOT_FOUND, f"no tenant {request.tenant_id[:64]!r}; list them with ListTenants")
        secret = new_secret()
        limits = request.limits
        key = Key(
            key_id=new_id("key"),
            tenant_id=tenant.tenant_id,
            name=request.name,
            digest=self._hasher.digest(secret),
            hint=secret_hint(secret),
            scopes=scopes,
            allowed_models=tuple(dict.fromkeys(request.allowed_models)),
            requests_per_minute=limits.requests_per_minute,
            tokens_per_minute=limits.tokens_per_minute,
            concurrency=limits.concurrency,
            created_at_ms=now,
            expires_at_ms=request.expires_at_ms,
            revoked_at_ms=0,
            max_request_nanos=request.max_request_nanos,
            run_cap_nanos=request.run_cap_nanos,
        )
        budget = None
        async with self._keys.transaction() as connection:
            await self._keys.insert_key(key, connection=connection)
            if request.HasField("budget_nanos"):
                budget = Budget(
                    budget_id=new_id("bud"),
                    tenant_id=tenant.tenant_id,
                    scope=Scope.KEY,
                    scope_id=key.key_id,
                    period=Period.LIFETIME,
                    limit_nanos=request.budget_nanos,
                    created_at_ms=now,
                )
                budget = await self._budgets.put(budget, now_ms=now, connection=connection)
        # The budget first: the key must never be usable here without it.
        if budget is not None:
            self._budget_index.put(budget.budget_id, budget)
        self._index.put(key, tenant)
        return admin_pb2.CreateKeyResponse(key=key_message(key), secret=secret)

    async def list_keys(self, request: admin_pb2.ListKeysRequest, caller: Administrator) -> admin_pb2.ListKeysResponse:
        """Lists keys of one tenant or all."""
        size = page_size(request.page_size)
        tenant_id = caller.tenant_filter(request.tenant_id)
        check_id("tenant_id", tenant_id)
        listing = f"keys/{tenant_id}"
        found = await self._keys.list_keys(
            tenant_id=tenant_id, after=ordinal_start(request.page_token, listing), count=size + 1
        )
        more = len(found) > size
        found = found[:size]
        return admin_pb2.ListKeysResponse(
            keys=[key_message(one) for one in found],
            next_page_token=page_token(listing, str(found[-1].ordinal)) if more else "",
        )

    async def revoke_key(self, request: admin_pb2.RevokeKeyRequest) -> admin_pb2.RevokeKeyResponse:
        """Revokes a key, here at once and everywhere within a second. Raises NOT_FOUND."""
        check_id("key_id", request.key_id, required=True)
        key = await self._keys.revoke_key(request.key_id, now_ms=self._clock())
        if key is None:
            raise ServiceError(Reason.NOT_FOUND, f"no key {request.key_id!r}; list them with ListKeys")
        self._index.drop(key.key_id)
        return admin_pb2.RevokeKeyResponse(key=key_message(key))

    def _check_key(self, request: admin_pb2.CreateKeyRequest, scopes: tuple[str, ...], now: int) -> None:
        checks = Checks()
        check_name(checks, "name", request.name)
        for scope in scopes:
            checks.require(scope in SCOPES, "scopes", f"{scope[:64]!r} must be one of {', '.join(SCOPES)}")
        for name in ("requests_per_minute", "tokens_per_minute", "concurrency"):
            checks.in_range(f"limits.{name}", getattr(request.limits, name), 0, 2**31 - 1)
        known = [model.name for model in self._catalog.models]
        for at, model in enumerate(request.allowed_models):
            near = difflib.get_close_matches(model[:128], known, n=1)
            checks.require(
                model in known,
                f"allowed_models[{at}]",
                f"{model[:128]!r} is not in the catalog" + (f"; did you mean {near[0]!r}?" if near else ""),
            )
        if request.expires_at_ms:
            checks.require(
                now < request.expires_at_ms <= _MOST,
                "expires_at_ms",
                f"{request.expires_at_ms} is not a time to come; it is {now} now",
            )
        if request.HasField("budget_nanos"):
            checks.require(request.budget_nanos >= 0, "budget_nanos", f"{request.budget_nanos} must not be negative")
        for name in ("max_request_nanos", "run_cap_nanos"):
            value = getattr(request, name)
            checks.require(value >= 0, name, f"{value} must not be negative; 0 is no cap")
        checks.done()
        check_id("tenant_id", request.tenant_id)


def check_name(checks: Checks, field: str, name: str) -> None:
    """Names are for people: 1-64 printable characters."""
    checks.require(
        1 <= len(name) <= 64 and name.isprintable() and name.strip() == name,
        field,
        f"{name[:80]!r} must be 1-64 printable characters, without spaces at its ends",
    )


def check_id(field: str, value: str, *, required: bool = False) -> None:
    """Ids as callers give them: at most 256 printable ASCII characters. Raises INVALID_REQUEST."""
    checks = Checks()
    checks.require(bool(value) or not required, field, "is required")
    checks.require(
        len(value) <= 256 and value.isascii() and value.isprintable(),
        field,
        f"{value[:64]!r} must be at most 256 printable ASCII characters",
    )
    checks.done()


def key_message(key: Key) -> admin_pb2.Key:
    """A key as the contract describes it."""
    return admin_pb2.Key(
        key_id=key.key_id,
        tenant_id=key.tenant_id,
        name=key.name,
        scopes=key.scopes,
        limits=admin_pb2.Limits(
            requests_per_minute=key.requests_per_minute,
            tokens_per_minute=key.tokens_per_minute,
            concurrency=key.concurrency,
        ),
        allowed_models=key.allowed_models,
        created_at_ms=key.created_at_ms,
        expires_at_ms=key.expires_at_ms,
        revoked_at_ms=key.revoked_at_ms,
        hint=key.hint,
        max_request_nanos=key.max_request_nanos,
        run_cap_nanos=key.run_cap_nanos,
    )


def _tenant(tenant: Tenant) -> admin_pb2.Tenant:
    return admin_pb2.Tenant(
        tenant_id=tenant.tenant_id, name=tenant.name, tier=tenant.tier, created_at_ms=tenant.created_at_ms
    )
