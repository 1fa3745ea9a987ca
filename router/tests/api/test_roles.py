"""Who may do what: every method for every role, in one's own tenant and in another's."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message_factory import GetMessageClass

from enginehouse.api.router.v1 import admin_pb2, identity_pb2
from enginehouse.router.identity import ROLE_SCOPES, Role
from enginehouse.router.ids import new_id
from router.tests.harness.admin_calls import Refused, call, grant_for, granted, methods
from router.tests.harness.router_process import RouterFactory, RouterProcess
from router.tests.harness.waiting import wait_until

ROLES: dict[str, tuple[str, ...]] = {
    "nobody": ("inference",),
    **{role.value: scopes for role, scopes in ROLE_SCOPES.items()},
    "platform": ("admin",),
}
# The least role for each method. What is not here is the platform's.
ANYBODY, VIEWER, DEVELOPER, ADMIN = "nobody", "viewer", "developer", "admin"
LEAST = {
    "AdminService/ListTenants": VIEWER,
    "AdminService/ListKeys": VIEWER,
    "AdminService/ListBudgets": VIEWER,
    "AdminService/ListModels": VIEWER,
    "AdminService/Explain": VIEWER,
    "AdminService/QuerySpend": VIEWER,
    "AdminService/ExportSpend": VIEWER,
    "AdminService/ListAlerts": VIEWER,
    "AdminService/ListPrices": VIEWER,
    "AdminService/CreateKey": DEVELOPER,
    "AdminService/RevokeKey": DEVELOPER,
    "AdminService/SetBudget": ADMIN,
    "AdminService/DeleteBudget": ADMIN,
    "CacheService/GetCacheStats": VIEWER,
    "FeedbackService/RecordFeedback": ANYBODY,
    "FlagService/EvaluateFlags": ANYBODY,
    "IdentityService/GetCaller": ANYBODY,
    "IdentityService/ListUsers": VIEWER,
    "IdentityService/RotateKey": DEVELOPER,
    "IdentityService/CreateRunKey": DEVELOPER,
    "IdentityService/CreateUser": ADMIN,
    "IdentityService/SetUserRole": ADMIN,
    "IdentityService/DisableUser": ADMIN,
    "IdentityService/EnableUser": ADMIN,
    "IdentityService/ListAudit": ADMIN,
}
# Whoever may call models may rate answers; a viewer may not.
NEED_INFERENCE = ("FeedbackService/RecordFeedback",)
ORDER = list(ROLES)


async def test_every_method_for_every_role(make_router: RouterFactory) -> None:
    router = make_router()
    router.start()
    await router.ready()
    await router.create_first_key()
    await wait_until(lambda: router.metric("enginehouse_router_keys"), 1.0)
    wrong = []
    for method, descriptor in methods().items():
        least = LEAST.get(method, "platform")
        for role, scopes in ROLES.items():
            may = ORDER.index(role) >= ORDER.index(least)
            if method in NEED_INFERENCE and role == "viewer":
                may = False
            grant = grant_for(router, method, scopes=scopes)
            try:
                await granted(router, grant, method, GetMessageClass(descriptor.input_type)())
                refused = ""
            except Refused as error:
                refused = str(error)
            assert refused not in ("INTERNAL", "GRANT_INVALID"), (method, role, refused)
            if (refused == "SCOPE_DENIED") is may:
                wrong.append(f"{method} for {role}: {refused or 'allowed'}")
    assert not wrong, "\n".join(wrong)


class Tenants:
    """Two tenants, with a key of each role in the first."""

    def __init__(self, shared_router: RouterProcess) -> None:
        self.shared_router = shared_router
        self.keys: dict[str, admin_pb2.CreateKeyResponse] = {}
        self.first = self.second = ""

    async def make(self) -> None:
        self.first, self.second = [await self.tenant() for _ in range(2)]
        for role in Role:
            self.keys[role.value] = await self.create(self.shared_router.key, tenant_id=self.first, role=role.value)

    async def tenant(self) -> str:
        request = admin_pb2.CreateTenantRequest(name=new_id("t")[:20], tier="pro")
        made = await call(self.shared_router, self.shared_router.key, "AdminService/CreateTenant", request)
        return str(made.tenant.tenant_id)

    async def create(self, credential: str, **fields: Any) -> admin_pb2.CreateKeyResponse:
        request = admin_pb2.CreateKeyRequest(**{"name": "k", **fields})
        made: admin_pb2.CreateKeyResponse = await call(
            self.shared_router, credential, "AdminService/CreateKey", request
        )
        return made

    def secret(self, role: str) -> str:
        return self.keys[role].secret


@pytest.fixture
async def tenants(shared_router: RouterProcess) -> Tenants:
    made = Tenants(shared_router)
    await made.make()
    return made


async def test_a_role_is_a_set_of_scopes(tenants: Tenants, shared_router: RouterProcess) -> None:
    for role in Role:
        who = await call(
            shared_router, tenants.secret(role), "IdentityService/GetCaller", identity_pb2.GetCallerRequest()
        )
        assert who.tenant_id == tenants.first
        assert set(who.scopes) == set(ROLE_SCOPES[role])
    with pytest.raises(Refused, match="INVALID_REQUEST"):
        await tenants.create(shared_router.key, role="king")
    with pytest.raises(Refused, match="INVALID_REQUEST"):
        await tenants.create(shared_router.key, role="viewer", scopes=["admin"])


@pytest.mark.parametrize(
    ("role", "scopes"),
    [
        ("developer", ["manage"]),
        ("developer", ["admin"]),
        ("admin", ["owner"]),
        ("admin", ["inference", "admin"]),
        ("owner", ["admin"]),
    ],
)
async def test_nobody_gives_what_they_do_not_hold(tenants: Tenants, role: str, scopes: list[str]) -> None:
    with pytest.raises(Refused, match="SCOPE_DENIED"):
        await tenants.create(tenants.secret(role), scopes=scopes)


async def test_another_tenants_resources_do_not_exist(tenants: Tenants, shared_router: RouterProcess) -> None:
    theirs = await tenants.create(shared_router.key, tenant_id=tenants.second)
    budget = await shared_router.admin(
        shared_router.key,
        "SetBudget",
        admin_pb2.SetBudgetRequest(scope=admin_pb2.BUDGET_SCOPE_KEY, scope_id=theirs.key.key_id, limit_nanos=5),
    )
    user = await call(
        shared_router,
        shared_router.key,
        "IdentityService/CreateUser",
        identity_pb2.CreateUserRequest(tenant_id=tenants.second, name="u", role=identity_pb2.ROLE_VIEWER),
    )
    owner, key_id, user_id = tenants.secret("owner"), theirs.key.key_id, user.user.user_id
    for method, request in {
        "AdminService/RevokeKey": admin_pb2.RevokeKeyRequest(key_id=key_id),
        "IdentityService/RotateKey": identity_pb2.RotateKeyRequest(key_id=key_id),
        "AdminService/DeleteBudget": admin_pb2.DeleteBudgetRequest(budget_id=budget.budget.budget_id),
        "AdminService/SetBudget": admin_pb2.SetBudgetRequest(
            scope=admin_pb2.BUDGET_SCOPE_KEY, scope_id=key_id, limit_nanos=7
        ),
        "IdentityService/DisableUser": identity_pb2.DisableUserRequest(user_id=user_id),
        "IdentityService/SetUserRole": identity_pb2.SetUserRoleRequest(
            user_id=user_id, role=identity_pb2.ROLE_DEVELOPER
        ),
    }.items():
        with pytest.raises(Refused, match="NOT_FOUND"):
            await call(shared_router, owner, method, request)
    for method, request in {
        "AdminService/CreateKey": admin_pb2.CreateKeyRequest(name="k", tenant_id=tenants.second),
        "AdminService/ListKeys": admin_pb2.ListKeysRequest(tenant_id=tenants.second),
        "IdentityService/ListUsers": identity_pb2.ListUsersRequest(tenant_id=tenants.second),
        "IdentityService/ListAudit": identity_pb2.ListAuditRequest(tenant_id=tenants.second),
        "IdentityService/CreateUser": identity_pb2.CreateUserRequest(
            tenant_id=tenants.second, name="v", role=identity_pb2.ROLE_VIEWER
        ),
    }.items():
        with pytest.raises(Refused, match="SCOPE_DENIED"):
            await call(shared_router, owner, method, request)
    listed = await call(shared_router, owner, "AdminService/ListKeys", admin_pb2.ListKeysRequest())
    assert {key.tenant_id for key in listed.keys} == {tenants.first}


async def test_a_tenants_admin_cannot_reach_a_key_of_the_platform_in_its_own_tenant(
    tenants: Tenants, shared_router: RouterProcess
) -> None:
    platform = await tenants.create(shared_router.key, tenant_id=tenants.first, scopes=["admin"])
    for method, request in {
        "IdentityService/RotateKey": identity_pb2.RotateKeyRequest(key_id=platform.key.key_id),
        "AdminService/RevokeKey": admin_pb2.RevokeKeyRequest(key_id=platform.key.key_id),
    }.items():
        with pytest.raises(Refused, match="SCOPE_DENIED"):
            await call(shared_router, tenants.secret("owner"), method, request)


async def test_a_tenants_own_budget_is_the_platforms(tenants: Tenants, shared_router: RouterProcess) -> None:
    request = admin_pb2.SetBudgetRequest(
        scope=admin_pb2.BUDGET_SCOPE_TENANT, scope_id=tenants.first, limit_nanos=10**12
    )
    with pytest.raises(Refused, match="SCOPE_DENIED"):
        await call(shared_router, tenants.secret("owner"), "AdminService/SetBudget", request)
    made = await call(shared_router, shared_router.key, "AdminService/SetBudget", request)
    with pytest.raises(Refused, match="SCOPE_DENIED"):
        await call(
            shared_router,
            tenants.secret("owner"),
            "AdminService/DeleteBudget",
            admin_pb2.DeleteBudgetRequest(budget_id=made.budget.budget_id),
        )
    of_key = admin_pb2.SetBudgetRequest(
        scope=admin_pb2.BUDGET_SCOPE_KEY, scope_id=tenants.keys["viewer"].key.key_id, limit_nanos=1
    )
    await call(shared_router, tenants.secret("admin"), "AdminService/SetBudget", of_key)


async def test_developers_have_keys_of_their_own_which_go_with_them(
    tenants: Tenants, shared_router: RouterProcess
) -> None:
    developer = tenants.secret("developer")
    mine = await tenants.create(developer)
    assert mine.key.parent_id == tenants.keys["developer"].key.key_id
    nested = await tenants.create((await tenants.create(developer, role="developer")).secret)
    others = await tenants.create(tenants.secret("admin"))
    assert others.key.parent_id == ""
    with pytest.raises(Refused, match="SCOPE_DENIED"):
        await call(
            shared_router, developer, "AdminService/RevokeKey", admin_pb2.RevokeKeyRequest(key_id=others.key.key_id)
        )
    await call(
        shared_router,
        tenants.secret("admin"),
        "AdminService/RevokeKey",
        admin_pb2.RevokeKeyRequest(key_id=tenants.keys["developer"].key.key_id),
    )
    for gone in (developer, mine.secret, nested.secret):
        assert (await shared_router.generate(gone)).json()["details"][0]["reason"] == "KEY_INVALID"
    assert (await shared_router.generate(others.secret)).status_code == 200


async def test_users_bound_their_keys(tenants: Tenants, shared_router: RouterProcess) -> None:
    admin = tenants.secret("admin")

    async def user(method: str, request: Any) -> Any:
        return await call(shared_router, admin, f"IdentityService/{method}", request)

    with pytest.raises(Refused, match="NOT_FOUND"):
        await tenants.create(admin, user_id="ravi@example.org")
    made = await user(
        "CreateUser", identity_pb2.CreateUserRequest(name="ravi@example.org", role=identity_pb2.ROLE_ADMIN)
    )
    user_id = made.user.user_id
    with pytest.raises(Refused, match="ALREADY_EXISTS"):
        await user("CreateUser", identity_pb2.CreateUserRequest(name="ravi@example.org", role=identity_pb2.ROLE_VIEWER))
    with pytest.raises(Refused, match="SCOPE_DENIED"):
        await user("CreateUser", identity_pb2.CreateUserRequest(name="anu", role=identity_pb2.ROLE_OWNER))
    strong = await tenants.create(admin, user_id="ravi@example.org", role="admin")
    weak = await tenants.create(admin, user_id="ravi@example.org")
    who = await call(shared_router, weak.secret, "IdentityService/GetCaller", identity_pb2.GetCallerRequest())
    assert who.user_id == "ravi@example.org"
    lowered = await user(
        "SetUserRole", identity_pb2.SetUserRoleRequest(user_id=user_id, role=identity_pb2.ROLE_DEVELOPER)
    )
    assert list(lowered.revoked_key_ids) == [strong.key.key_id]
    assert (await shared_router.generate(strong.secret)).status_code == 401
    assert (await shared_router.generate(weak.secret)).status_code == 200
    with pytest.raises(Refused, match="SCOPE_DENIED"):
        await tenants.create(admin, user_id="ravi@example.org", role="admin")
    shut = await user("DisableUser", identity_pb2.DisableUserRequest(user_id=user_id))
    assert list(shut.revoked_key_ids) == [weak.key.key_id]
    assert shut.user.disabled_at_ms
    assert (await shared_router.generate(weak.secret)).status_code == 401
    with pytest.raises(Refused, match="FAILED_PRECONDITION"):
        await tenants.create(admin, user_id="ravi@example.org")
    enabled = await user("EnableUser", identity_pb2.EnableUserRequest(user_id=user_id))
    assert enabled.user.disabled_at_ms == 0
    await tenants.create(admin, user_id="ravi@example.org")
    listed = await user("ListUsers", identity_pb2.ListUsersRequest())
    assert [(user.name, user.role) for user in listed.users] == [("ravi@example.org", identity_pb2.ROLE_DEVELOPER)]


async def test_an_admin_does_not_touch_an_owner(tenants: Tenants, shared_router: RouterProcess) -> None:
    made = await call(
        shared_router,
        tenants.secret("owner"),
        "IdentityService/CreateUser",
        identity_pb2.CreateUserRequest(name="boss", role=identity_pb2.ROLE_OWNER),
    )
    for method, request in {
        "IdentityService/DisableUser": identity_pb2.DisableUserRequest(user_id=made.user.user_id),
        "IdentityService/SetUserRole": identity_pb2.SetUserRoleRequest(
            user_id=made.user.user_id, role=identity_pb2.ROLE_VIEWER
        ),
    }.items():
        with pytest.raises(Refused, match="SCOPE_DENIED"):
            await call(shared_router, tenants.secret("admin"), method, request)
