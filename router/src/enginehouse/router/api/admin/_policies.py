"""Administration of policy documents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncConnection

from enginehouse.api.router.v1 import policy_pb2 as pb
from enginehouse.kit.catalog import Catalog
from enginehouse.kit.contracts import Contracts
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError
from enginehouse.router.api.paging import page_size, page_start, page_token
from enginehouse.router.audit import AuditRecorder, document_of
from enginehouse.router.clock import Clock
from enginehouse.router.identity import KeyStore
from enginehouse.router.policy import DEFAULT, Policy, PolicyStore, problems


class PolicyAdmin:
    """Reads, checks and changes documents.

    Args:
        store: the documents.
        apply: puts what is in the store in force on this replica.
        policy: what the configuration says.
        catalog: the models that documents may name.
        contracts: the tasks that they may name.
        keys: the keys and tenants that they may name.
        recorder: puts changes on the audit log.
        clock: milliseconds since 1970 UTC.
    """

    def __init__(
        self,
        *,
        store: PolicyStore,
        apply: Callable[[], Awaitable[None]],
        policy: Policy,
        catalog: Catalog,
        contracts: Contracts,
        keys: KeyStore,
        recorder: AuditRecorder,
        clock: Clock,
    ) -> None:
        self._store = store
        self._apply = apply
        self._policy = policy
        self._catalog = catalog
        self._contracts = contracts
        self._keys = keys
        self._recorder = recorder
        self._clock = clock

    async def get(self, request: pb.GetPolicyRequest) -> pb.GetPolicyResponse:
        """One document."""
        found = await self._store.get(request.name, request.version)
        if found is None:
            if request.name == DEFAULT and not request.version:
                return pb.GetPolicyResponse(policy=self._policy.configured())
            version = f" in version {request.version}" if request.version else ""
            raise ServiceError(
                Reason.NOT_FOUND, f"no policy {request.name[:64]!r}{version}; list them with ListPolicies"
            )
        return pb.GetPolicyResponse(policy=found)

    async def list_(self, request: pb.ListPoliciesRequest) -> pb.ListPoliciesResponse:
        """The documents in force, by name. That of the configuration is among them where no other is "default"."""
        size = page_size(request.page_size)
        after = page_start(request.page_token, "policies")
        found = await self._store.active()
        if all(policy.name != DEFAULT for policy in found):
            found.append(self._policy.configured())
        rest = [policy for policy in sorted(found, key=lambda policy: policy.name) if policy.name > after]
        return pb.ListPoliciesResponse(
            policies=rest[:size],
            next_page_token=page_token("policies", rest[size - 1].name) if len(rest) > size else "",
        )

    async def check(self, document: pb.Policy) -> pb.CheckPolicyResponse:
        """Return the problems of a document."""
        found = await self._problems(document)
        found += _shared(document, await self._store.active())
        return pb.CheckPolicyResponse(
            problems=[pb.PolicyProblem(field=problem.field, description=problem.description) for problem in found]
        )

    async def set_(self, request: pb.SetPolicyRequest, *, key_id: str) -> pb.SetPolicyResponse:
        """Put a document in force, whole or not at all."""
        document = pb.Policy()
        document.CopyFrom(request.policy)
        for field in ("version", "updated_at_ms", "updated_by"):
            document.ClearField(field)
        _refuse(document, await self._problems(document))
        async with self._store.changing() as connection:
            _refuse(document, _shared(document, await self._store.active(connection)))
            newest = await self._store.newest(document.name, connection)
            there = 0 if newest.policy is None else newest.version
            if request.HasField("expected_version") and request.expected_version != there:
                raise ServiceError(
                    Reason.FAILED_PRECONDITION,
                    f"expected_version: the policy {document.name!r} has version {there} by now, not "
                    f"{request.expected_version}; read it again, and make the change on that",
                )
            now = self._clock()
            document.version, document.updated_at_ms, document.updated_by = newest.version + 1, now, key_id
            await self._store.write(
                document.name, document, version=document.version, now_ms=now, key_id=key_id, connection=connection
            )
            await self._record(connection, document.name, newest.policy, document)
        # The replica that was asked has it in force when it answers; the others hear of it.
        await self._apply()
        return pb.SetPolicyResponse(policy=document)

    async def delete(self, request: pb.DeletePolicyRequest, *, key_id: str) -> pb.DeletePolicyResponse:
        """Take a document out of force."""
        async with self._store.changing() as connection:
            newest = await self._store.newest(request.name, connection)
            if newest.policy is None:
                raise ServiceError(
                    Reason.NOT_FOUND, f"no policy {request.name[:64]!r} is set; list them with ListPolicies"
                )
            await self._store.write(
                request.name,
                None,
                version=newest.version + 1,
                now_ms=self._clock(),
                key_id=key_id,
                connection=connection,
            )
            await self._record(connection, request.name, newest.policy, None)
        await self._apply()
        return pb.DeletePolicyResponse()

    async def _record(
        self, connection: AsyncConnection, name: str, before: pb.Policy | None, after: pb.Policy | None
    ) -> None:
        await self._recorder.write(
            connection,
            tenant_id="",
            target_id=name,
            before=None if before is None else document_of(before),
            after=None if after is None else document_of(after),
        )

    async def _problems(self, document: pb.Policy) -> list[FieldViolation]:
        keys = await self._keys.get_keys(list(dict.fromkeys(entry.key_id for entry in document.keys)))
        tenants = {}
        for tenant_id in dict.fromkeys([*document.tenants, *[key.tenant_id for key in keys]]):
            tenant = await self._keys.get_tenant(tenant_id)
            if tenant is not None:
                tenants[tenant_id] = tenant
        return problems(
            document,
            catalog=self._catalog,
            contracts=self._contracts,
            tiers=self._policy.base(),
            keys={key.key_id: tenants[key.tenant_id].tier for key in keys if key.tenant_id in tenants},
            tenants=tenants,
        )


def _shared(document: pb.Policy, active: list[pb.Policy]) -> list[FieldViolation]:
    """The tenants that another document is for already."""
    found = []
    for other in active:
        if other.name != document.name:
            found += [
                FieldViolation("tenants", f"{tenant!r} is in the policy {other.name!r} already; remove it from there")
                for tenant in document.tenants
                if tenant in other.tenants
            ]
    return found


def _refuse(document: pb.Policy, found: list[FieldViolation]) -> None:
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise ServiceError(
            Reason.INVALID_REQUEST,
            f"the policy {document.name[:64]!r} is not valid: {found[0].field}: {found[0].description}{more}",
            violations=found,
        )
