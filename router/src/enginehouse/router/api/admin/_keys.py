"""Keys: made, rotated, revoked, each with its entry on the audit log in the same transaction.

Nobody gives what they do not hold. A caller without the scope "manage" makes keys of its own alone: they go with the
caller, expire with it, and count against what bounds it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from enginehouse.api.router.v1 import admin_pb2, identity_pb2
from enginehouse.kit.catalog import Catalog
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.validation import Checks
from enginehouse.router.api.access import Administrator
from enginehouse.router.api.fields import PERSON, check_id, check_name
from enginehouse.router.audit import AuditRecorder
from enginehouse.router.clock import Clock
from enginehouse.router.identity import (
    ROLE_SCOPES,
    SCOPES,
    Key,
    KeyHasher,
    KeyIndex,
    KeyStore,
    Role,
    Tenant,
    UserIndex,
    UserStore,
    new_secret,
    secret_hint,
    user_id_of,
)
from enginehouse.router.ids import new_id
from enginehouse.router.ledger import Budget, BudgetIndex, BudgetStore, Period, Scope
from enginehouse.router.limits import Allowance, RoutedMethods

_MOST = 2**53
_MAX_LIMIT = 2**31 - 1
_MAX_ROUTES = 32
_DAY_S = 86_400
_MAX_OVERLAP_S = 30 * _DAY_S
_RUN_S = 3600
_MAX_RUN_S = 7 * _DAY_S


class KeyAdmin:
    """Makes, lists, rotates and revokes keys."""

    def __init__(
        self,
        *,
        keys: KeyStore,
        index: KeyIndex,
        users: UserStore,
        user_index: UserIndex,
        hasher: KeyHasher,
        budgets: BudgetStore,
        budget_index: BudgetIndex,
        catalog: Catalog,
        routes: RoutedMethods,
        recorder: AuditRecorder,
        clock: Clock,
    ) -> None:
        self._keys = keys
        self._index = index
        self._users = users
        self._user_index = user_index
        self._hasher = hasher
        self._budgets = budgets
        self._budget_index = budget_index
        self._catalog = catalog
        self._routes = routes
        self._recorder = recorder
        self._clock = clock

    async def create(self, request: admin_pb2.CreateKeyRequest, caller: Administrator) -> admin_pb2.CreateKeyResponse:
        """Make a key, with its budget in the same transaction.

        Raises:
            ServiceError: INVALID_REQUEST, NOT_FOUND, or SCOPE_DENIED for more than the caller holds.
        """
        now = self._clock()
        scopes = self._check_key(request, now)
        caller.require_scopes(scopes, "the key")
        tenant = await self._tenant(caller.tenant_of_change(request.tenant_id))
        own = not caller.manages
        user_id = request.user_id or (caller.user if own else "")
        if own and user_id != caller.user:
            raise ServiceError(Reason.SCOPE_DENIED, "making a key for another user needs the scope 'manage'")
        parent_id = caller.key_id if own else user_id_of(tenant.tenant_id, user_id) if user_id else ""
        limits = request.limits
        secret = new_secret()
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
            user_id=user_id,
            parent_id=parent_id,
            user_limits=_allowance(request.user_limits),
            route_limits={limit.route: _allowance(limit.limits) for limit in request.route_limits},
        )
        budget_nanos = request.budget_nanos if request.HasField("budget_nanos") else None
        key = await self._insert(key, tenant, budget_nanos, now)
        return admin_pb2.CreateKeyResponse(key=key_message(key), secret=secret)

    async def create_for_run(
        self, request: identity_pb2.CreateRunKeyRequest, caller: Administrator
    ) -> identity_pb2.CreateRunKeyResponse:
        """Make a key for a run. Raises INVALID_REQUEST, or SCOPE_DENIED when the caller may not call models itself."""
        now = self._clock()
        checks = Checks()
        checks.matches("run_id", request.run_id, PERSON, "1-128 printable ASCII characters without spaces")
        checks.in_range("lifetime_seconds", request.lifetime_seconds, 0, _MAX_RUN_S)
        self._check_bounds(checks, "limits", request.limits)
        self._check_models(checks, request.allowed_models)
        if request.HasField("budget_nanos"):
            checks.require(request.budget_nanos >= 0, "budget_nanos", f"{request.budget_nanos} must not be negative")
        checks.done()
        caller.require_scopes(("inference",), "the run's key")
        tenant = await self._tenant(caller.tenant_id)
        secret = new_secret()
        key = Key(
            key_id=new_id("key"),
            tenant_id=tenant.tenant_id,
            name=f"run {request.run_id}"[:64],
            digest=self._hasher.digest(secret),
            hint=secret_hint(secret),
            scopes=("inference",),
            allowed_models=tuple(dict.fromkeys(request.allowed_models)),
            requests_per_minute=request.limits.requests_per_minute,
            tokens_per_minute=request.limits.tokens_per_minute,
            concurrency=request.limits.concurrency,
            created_at_ms=now,
            expires_at_ms=now + (request.lifetime_seconds or _RUN_S) * 1000,
            revoked_at_ms=0,
            user_id=caller.user,
            run_id=request.run_id,
            parent_id=caller.key_id,
        )
        budget_nanos = request.budget_nanos if request.HasField("budget_nanos") else None
        key = await self._insert(key, tenant, budget_nanos, now)
        return identity_pb2.CreateRunKeyResponse(key=key_message(key), secret=secret)

    async def rotate(
        self, request: identity_pb2.RotateKeyRequest, caller: Administrator
    ) -> identity_pb2.RotateKeyResponse:
        """Give a key a new secret. Raises NOT_FOUND, SCOPE_DENIED, or FAILED_PRECONDITION for one that is over."""
        check_id("key_id", request.key_id, required=True)
        checks = Checks()
        overlap_s = request.overlap_seconds if request.HasField("overlap_seconds") else _DAY_S
        checks.in_range("overlap_seconds", overlap_s, 0, _MAX_OVERLAP_S)
        checks.done()
        now, secret = self._clock(), new_secret()
        async with self._keys.transaction() as connection:
            key = await self._held(request.key_id, caller, connection)
            if key.revoked_at_ms or (key.expires_at_ms and key.expires_at_ms <= now):
                raise ServiceError(
                    Reason.FAILED_PRECONDITION,
                    f"the key {key.key_id} was revoked or has expired; make another with CreateKey",
                )
            rotated = await self._keys.rotate_key(
                key,
                self._hasher.digest(secret),
                secret_hint(secret),
                now_ms=now,
                previous_until_ms=now + overlap_s * 1000,
                connection=connection,
            )
            await self._record(connection, key, rotated)
            tenant = self._user_index.tenant(key.tenant_id) or await self._tenant(key.tenant_id)
        # At once: what is awaited after the commit may be overtaken by the next change.
        self._index.put(rotated, tenant)
        return identity_pb2.RotateKeyResponse(key=key_message(rotated), secret=secret)

    async def revoke(self, request: admin_pb2.RevokeKeyRequest, caller: Administrator) -> admin_pb2.RevokeKeyResponse:
        """Revoke a key with those made with it, here at once and everywhere within a second. Raises NOT_FOUND."""
        check_id("key_id", request.key_id, required=True)
        revoked: list[Key] = []
        async with self._keys.transaction() as connection:
            key = await self._held(request.key_id, caller, connection)
            if not key.revoked_at_ms:
                revoked = await self.revoke_all([key], connection)
                key = dataclasses.replace(key, revoked_at_ms=self._clock())
        self.drop(revoked)
        return admin_pb2.RevokeKeyResponse(key=key_message(key))

    async def revoke_all(self, keys: Sequence[Key], connection: AsyncConnection) -> list[Key]:
        """Revoke these keys and those made with them; every one that was still good, each on the record.

        `drop` them once the transaction has committed.
        """
        if not keys:
            return []
        revoked = await self._keys.revoke_keys(
            [key.key_id for key in keys], now_ms=self._clock(), connection=connection
        )
        for key in revoked:
            await self._record(connection, dataclasses.replace(key, revoked_at_ms=0), key)
        return revoked

    def drop(self, revoked: Sequence[Key]) -> None:
        """Stop revoked keys here at once.

        Not before the commit: a read in between would bring them back, and a rollback would leave good keys refused.
        """
        for key in revoked:
            self._index.drop(key.key_id)

    async def _insert(self, key: Key, tenant: Tenant, budget_nanos: int | None, now: int) -> Key:
        budget = None
        async with self._keys.transaction() as connection:
            key = await self._bounded(key, connection, now)
            await self._keys.insert_key(key, connection=connection)
            if budget_nanos is not None:
                budget = Budget(
                    budget_id=new_id("bud"),
                    tenant_id=tenant.tenant_id,
                    scope=Scope.KEY,
                    scope_id=key.key_id,
                    period=Period.LIFETIME,
                    limit_nanos=budget_nanos,
                    created_at_ms=now,
                )
                budget = await self._budgets.put(budget, now_ms=now, connection=connection)
            await self._record(connection, None, key, budget_nanos)
        # The budget first: the key must never be usable here without it.
        if budget is not None:
            self._budget_index.put(budget.budget_id, budget)
        self._index.put(key, tenant)
        return key

    async def _bounded(self, key: Key, connection: AsyncConnection, now: int) -> Key:
        """The key within what its user and the key that makes it may do; both stay as they are until it is made."""
        if key.user_id:
            user_id = user_id_of(key.tenant_id, key.user_id)
            user = await self._users.lock(user_id, connection)
            if user is None and key.parent_id == user_id and self._user_index.get(user_id) is None:
                raise ServiceError(Reason.NOT_FOUND, f"no user {key.user_id!r} in the tenant; make it with CreateUser")
            if user is not None and user.disabled_at_ms:
                raise ServiceError(Reason.FAILED_PRECONDITION, f"the user {user.name!r} is disabled; enable it first")
            if user is not None:
                beyond = [scope for scope in key.scopes if scope not in ROLE_SCOPES[user.role]]
                if beyond:
                    raise ServiceError(
                        Reason.SCOPE_DENIED,
                        f"the role {user.role.value} of the user {user.name!r} does not hold {', '.join(beyond)}",
                    )
        if not key.parent_id.startswith("key_"):
            return key
        parent = await self._keys.lock_key(key.parent_id, connection)
        if parent is None or parent.revoked_at_ms or (parent.expires_at_ms and parent.expires_at_ms <= now):
            raise ServiceError(Reason.KEY_INVALID, "the key that makes this one was revoked or has expired meanwhile")
        beyond = [model for model in key.allowed_models if parent.allowed_models and model not in parent.allowed_models]
        if beyond:
            raise ServiceError(Reason.MODEL_DENIED, f"the key that makes this one may not use {', '.join(beyond)}")
        return dataclasses.replace(
            key,
            allowed_models=key.allowed_models or parent.allowed_models,
            expires_at_ms=_least(key.expires_at_ms, parent.expires_at_ms),
            max_request_nanos=_least(key.max_request_nanos, parent.max_request_nanos),
            run_cap_nanos=_least(key.run_cap_nanos, parent.run_cap_nanos),
        )

    async def _held(self, key_id: str, caller: Administrator, connection: AsyncConnection) -> Key:
        """The key, if the caller may rotate and revoke it."""
        key = await self._keys.lock_key(key_id, connection)
        if key is None or not caller.sees(key.tenant_id):
            raise ServiceError(Reason.NOT_FOUND, f"no key {key_id!r}; list them with ListKeys")
        own = caller.key_id in (key.key_id, key.parent_id) or (caller.user and caller.user == key.user_id)
        if not caller.manages and not own:
            raise ServiceError(Reason.SCOPE_DENIED, "keys that others made need the scope 'manage'")
        caller.require_scopes(key.scopes, f"the key {key.key_id}")
        return key

    async def _tenant(self, tenant_id: str) -> Tenant:
        tenant = await self._keys.get_tenant(tenant_id)
        if tenant is None:
            raise ServiceError(Reason.NOT_FOUND, f"no tenant {tenant_id[:64]!r}; list them with ListTenants")
        return tenant

    async def _record(
        self, connection: AsyncConnection, before: Key | None, after: Key, budget_nanos: int | None = None
    ) -> None:
        extra = {} if budget_nanos is None else {"budget_nanos": budget_nanos}
        await self._recorder.write(
            connection,
            tenant_id=after.tenant_id,
            target_id=after.key_id,
            before=None if before is None else _document(before),
            after={**_document(after), **extra},
        )

    def _check_key(self, request: admin_pb2.CreateKeyRequest, now: int) -> tuple[str, ...]:
        checks = Checks()
        check_name(checks, "name", request.name)
        scopes = tuple(dict.fromkeys(request.scopes))
        if request.role:
            known = request.role in tuple(Role)
            checks.require(known, "role", f"{request.role[:64]!r} must be one of {', '.join(Role)}")
            checks.require(not scopes, "role", "is given with scopes; give one of the two")
            scopes = ROLE_SCOPES[Role(request.role)] if known else ()
        scopes = scopes or ("inference", "spend")
        for scope in scopes:
            checks.require(scope in SCOPES, "scopes", f"{scope[:64]!r} must be one of {', '.join(SCOPES)}")
        self._check_bounds(checks, "limits", request.limits)
        self._check_bounds(checks, "user_limits", request.user_limits)
        checks.size("route_limits", request.route_limits, 0, _MAX_ROUTES)
        routes = [limit.route for limit in request.route_limits]
        for at, one in enumerate(request.route_limits):
            try:
                self._routes.check(one.route)
            except ValueError as error:
                checks.violate(f"route_limits[{at}].route", str(error))
            checks.require(
                routes.index(one.route) == at, f"route_limits[{at}].route", f"{one.route[:64]!r} is duplicated"
            )
            self._check_bounds(checks, f"route_limits[{at}].limits", one.limits)
        self._check_models(checks, request.allowed_models)
        if request.user_id:
            checks.matches("user_id", request.user_id, PERSON, "a user's name")
        if request.expires_at_ms:
            checks.require(
                now < request.expires_at_ms <= _MOST,
                "expires_at_ms",
                f"{request.expires_at_ms} is not in the future; it is {now} now",
            )
        if request.HasField("budget_nanos"):
            checks.require(request.budget_nanos >= 0, "budget_nanos", f"{request.budget_nanos} must not be negative")
        for name in ("max_request_nanos", "run_cap_nanos"):
            value = getattr(request, name)
            checks.require(value >= 0, name, f"{value} must not be negative; 0 is no cap")
        checks.done()
        check_id("tenant_id", request.tenant_id)
        return scopes

    @staticmethod
    def _check_bounds(checks: Checks, field: str, limits: admin_pb2.Limits) -> None:
        for name in ("requests_per_minute", "tokens_per_minute", "concurrency"):
            checks.in_range(f"{field}.{name}", getattr(limits, name), 0, _MAX_LIMIT)

    def _check_models(self, checks: Checks, models: Sequence[str]) -> None:
        for at, model in enumerate(models):
            if self._catalog.get(model) is None:
                checks.violate(f"allowed_models[{at}]", self._catalog.absence(model))


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
        user_id=key.user_id,
        run_id=key.run_id,
        parent_id=key.parent_id,
        rotated_at_ms=key.rotated_at_ms,
        previous_until_ms=key.previous_until_ms,
        user_limits=_limits(key.user_limits) if key.user_limits else None,
        route_limits=[
            admin_pb2.RouteLimits(route=route, limits=_limits(one)) for route, one in sorted(key.route_limits.items())
        ],
    )


def _document(key: Key) -> Mapping[str, object]:
    """A key as the audit log keeps it: never what it hashes to."""
    hidden = ("digest", "previous_digest", "ordinal")
    return {name: value for name, value in dataclasses.asdict(key).items() if name not in hidden and value}


def _limits(allowance: Allowance) -> admin_pb2.Limits:
    return admin_pb2.Limits(**dataclasses.asdict(allowance))


def _allowance(limits: admin_pb2.Limits) -> Allowance:
    return Allowance(limits.requests_per_minute, limits.tokens_per_minute, limits.concurrency)


def _least(own: int, above: int) -> int:
    """The lesser of two bounds of which 0 is none."""
    return min(own, above) if own and above else own or above
