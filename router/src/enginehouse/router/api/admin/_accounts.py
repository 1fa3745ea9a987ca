"""Tenants."""

from __future__ import annotations

from enginehouse.api.router.v1 import admin_pb2
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.validation import Checks
from enginehouse.router.api.access import Administrator
from enginehouse.router.api.admin._keys import KeyAdmin, key_message
from enginehouse.router.api.fields import check_id, check_name
from enginehouse.router.api.paging import ordinal_start, page_size, page_token
from enginehouse.router.audit import AuditRecorder, document_of
from enginehouse.router.clock import Clock
from enginehouse.router.identity import KeyStore, Tenant, UserIndex
from enginehouse.router.ids import new_id
from enginehouse.router.policy import Policy


class AccountAdmin:
    """Makes tenants; lists tenants and keys. Keys are made and revoked by `keys`."""

    def __init__(
        self,
        *,
        store: KeyStore,
        keys: KeyAdmin,
        user_index: UserIndex,
        policy: Policy,
        recorder: AuditRecorder,
        clock: Clock,
    ) -> None:
        self._store = store
        self.keys = keys
        self._user_index = user_index
        self._policy = policy
        self._recorder = recorder
        self._clock = clock

    async def create_tenant(self, request: admin_pb2.CreateTenantRequest) -> admin_pb2.CreateTenantResponse:
        """Make a tenant. Raises INVALID_REQUEST or ALREADY_EXISTS."""
        checks = Checks()
        check_name(checks, "name", request.name)
        tier = request.tier or "free"
        checks.require(
            tier in self._policy.tiers, "tier", f"{tier[:64]!r} must be one of {', '.join(self._policy.tiers)}"
        )
        checks.done()
        tenant = Tenant(tenant_id=new_id("ten"), name=request.name, tier=tier, created_at_ms=self._clock())
        message = _tenant(tenant)
        async with self._store.transaction() as connection:
            if not await self._store.insert_tenant(tenant, connection=connection):
                raise ServiceError(
                    Reason.ALREADY_EXISTS, f"a tenant named {request.name!r} exists; choose another name"
                )
            await self._recorder.write(
                connection, tenant_id=tenant.tenant_id, target_id=tenant.tenant_id, after=document_of(message)
            )
        self._user_index.put_tenant(tenant)
        return admin_pb2.CreateTenantResponse(tenant=message)

    async def list_tenants(
        self, request: admin_pb2.ListTenantsRequest, caller: Administrator
    ) -> admin_pb2.ListTenantsResponse:
        """List tenants; without the scope "admin", one's own."""
        size = page_size(request.page_size)
        after = ordinal_start(request.page_token, "tenants")
        if not caller.everything:
            own = await self._store.get_tenant(caller.tenant_id)
            return admin_pb2.ListTenantsResponse(tenants=[_tenant(own)] if own is not None and not after else [])
        found = await self._store.list_tenants(after=after, count=size + 1)
        more = len(found) > size
        found = found[:size]
        return admin_pb2.ListTenantsResponse(
            tenants=[_tenant(tenant) for tenant in found],
            next_page_token=page_token("tenants", str(found[-1].ordinal)) if more else "",
        )

    async def list_keys(self, request: admin_pb2.ListKeysRequest, caller: Administrator) -> admin_pb2.ListKeysResponse:
        """List keys of one tenant or all."""
        size = page_size(request.page_size)
        tenant_id = caller.tenant_filter(request.tenant_id)
        check_id("tenant_id", tenant_id)
        listing = f"keys/{tenant_id}"
        found = await self._store.list_keys(
            tenant_id=tenant_id, after=ordinal_start(request.page_token, listing), count=size + 1
        )
        more = len(found) > size
        found = found[:size]
        return admin_pb2.ListKeysResponse(
            keys=[key_message(key) for key in found],
            next_page_token=page_token(listing, str(found[-1].ordinal)) if more else "",
        )


def _tenant(tenant: Tenant) -> admin_pb2.Tenant:
    return admin_pb2.Tenant(
        tenant_id=tenant.tenant_id, name=tenant.name, tier=tenant.tier, created_at_ms=tenant.created_at_ms
    )
