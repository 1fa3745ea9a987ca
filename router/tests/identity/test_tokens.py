"""Tokens of identity providers, good and bad, checked against a real server that shows its keys."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enginehouse.api.router.v1 import admin_pb2, identity_pb2
from enginehouse.kit.config import ConfigError, load
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.identity import (
    Caller,
    IssuerSettings,
    KeyStore,
    Role,
    Tenant,
    TokenVerifier,
    User,
    UserIndex,
    UserStore,
    user_id_of,
)
from enginehouse.router.settings import RouterSettings
from router.tests.harness.admin_calls import Refused, call
from router.tests.harness.identity_provider import IdentityProviderServer, SigningKey, unsigned
from router.tests.harness.router_process import RouterFactory
from router.tests.harness.waiting import wait_for, wait_until

TENANT = Tenant(tenant_id="ten_1", name="school", tier="pro", created_at_ms=0)
OTHER = Tenant(tenant_id="ten_2", name="other", tier="pro", created_at_ms=0)


def now_ms() -> int:
    return int(time.time() * 1000)


class VerifierHarness:
    """A verifier of one issuer's tokens, with the users that it knows."""

    def __init__(self, provider: IdentityProviderServer, **changed: Any) -> None:
        values: dict[str, Any] = {
            "issuer": provider.issuer,
            "audiences": ("enginehouse",),
            "algorithms": ("RS256", "ES256", "EdDSA"),
            "tenant": "school",
            "default_role": "developer",
            "unknown_key_s": 0.1,
        }
        self.users = UserIndex(tenants=KeyStore(database=None), users=UserStore(database=None))  # type: ignore[arg-type]
        self.users.put_tenant(TENANT)
        self.users.put_tenant(OTHER)
        self.verifier = TokenVerifier(issuers=[IssuerSettings(**(values | changed))], users=self.users)

    def authenticate(self, token: str, *, at_ms: int | None = None) -> Caller:
        return self.verifier.authenticate(token.encode(), now_ms=now_ms() if at_ms is None else at_ms)

    def refusal(self, token: str) -> ServiceError:
        with pytest.raises(ServiceError) as refused:
            self.authenticate(token)
        assert refused.value.reason is Reason.TOKEN_INVALID
        assert refused.value.http_status == 401
        return refused.value

    async def until(self, token: str) -> Caller:
        async def known() -> bool:
            try:
                self.authenticate(token)
            except ServiceError as error:
                assert error.retry_after_s, error.message
                return False
            return True

        await wait_until(known, True, within_s=60)
        return self.authenticate(token)


OpenVerifier = Callable[..., Awaitable[VerifierHarness]]


@pytest.fixture
async def open_verifier(provider: IdentityProviderServer) -> AsyncIterator[OpenVerifier]:
    made: list[VerifierHarness] = []

    async def open_(**changed: Any) -> VerifierHarness:
        harness = VerifierHarness(provider, **changed)
        made.append(harness)
        harness.verifier.start()
        await wait_for(lambda: all(issuer.keys.loaded for issuer in harness.verifier._providers.values()))
        return harness

    yield open_
    for harness in made:
        await harness.verifier.close()


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_good_token_is_its_user(
    provider: IdentityProviderServer, open_verifier: OpenVerifier, algorithm: str
) -> None:
    provider.keys.append(SigningKey("other", algorithm))
    harness = await open_verifier()
    token = provider.token(provider.keys[-1])
    caller = harness.authenticate(token)
    assert (caller.tenant, caller.key.user_id) == (TENANT, "ravi@example.org")
    assert caller.key.key_id == user_id_of("ten_1", "ravi@example.org")
    assert caller.key.scopes == ("inference", "spend", "keys")
    assert harness.authenticate(token) is caller, "one object, so that what follows from it is worked out once"
    assert harness.authenticate(provider.token(iat=None)) is caller


def changed_signature(token: str) -> str:
    head, _, signature = token.rpartition(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    raw[0] ^= 1
    return f"{head}.{base64.urlsafe_b64encode(bytes(raw)).rstrip(b'=').decode()}"


def changed_claims(token: str, **changed: Any) -> str:
    header, claims, signature = token.split(".")
    document = json.loads(base64.urlsafe_b64decode(claims + "==")) | changed
    return f"{header}.{base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b'=').decode()}.{signature}"


async def test_bad_tokens_are_refused(provider: IdentityProviderServer, open_verifier: OpenVerifier) -> None:
    stranger = SigningKey("first", "RS256")
    now = int(time.time())
    bad = {
        "another's signature": provider.token(stranger),
        "a changed signature": changed_signature(provider.token()),
        "changed claims": changed_claims(provider.token(), sub="boss"),
        "expired": provider.token(exp=now - 60),
        "no expiry": provider.token(exp=None),
        "an expiry in words": provider.token(exp=None, expires="tomorrow"),
        "not yet": provider.token(nbf=now + 3600),
        "from the future": provider.token(iat=now + 3600),
        "another's audience": provider.token(aud="somebody-else"),
        "an audience that only begins alike": provider.token(aud="enginehouse-admin"),
        "no audience": provider.token(aud=None),
        "another issuer": provider.token(iss="https://evil.example"),
        "an issuer with a slash": provider.token(iss=provider.issuer + "/"),
        "an issuer that is a list": provider.token(iss=None, ISS=[provider.issuer]),
        "no subject": provider.token(sub=None),
        "a subject with spaces": provider.token(sub="a b"),
        "a subject in two lines": provider.token(sub="a\nb"),
        "a long subject": provider.token(sub="a" * 129),
        "a logout token": provider.token(header={"typ": "logout+jwt"}),
        "extensions": provider.token(header={"crit": ["exp"]}),
        "a key of a path": provider.token(stranger, header={"kid": "../../../../etc/passwd"}),
        "a key of a query": provider.token(stranger, header={"kid": "' OR 1=1 --"}),
        "a key that it brings": provider.token(stranger, header={"kid": "x", "jwk": stranger.document()}),
        "a key that it points at": provider.token(stranger, header={"kid": "x", "jku": "http://127.0.0.1:1/keys"}),
        "huge": provider.token(padding="x" * 10_000),
    }
    harness = await open_verifier()
    for what, token in bad.items():
        error = harness.refusal(token)
        assert token not in error.message, what
    assert harness.authenticate(provider.token())


async def test_the_algorithm_is_not_the_tokens_to_choose(
    provider: IdentityProviderServer, open_verifier: OpenVerifier
) -> None:
    provider.keys.append(SigningKey("curve", "ES256"))
    harness = await open_verifier()
    claims = provider.claims()
    for algorithm in ("none", "None", "NONE", "nOnE", "HS256", "HS512", "", None, 5, ["RS256"]):
        harness.refusal(unsigned({"alg": algorithm, "typ": "JWT", "kid": "first"}, claims))
        harness.refusal(unsigned({"alg": algorithm, "typ": "JWT", "kid": "first"}, claims) + "AAAA")
    # The public key taken for a shared secret.
    for secret in (provider.keys[0].public_pem, provider.keys[0].public_pem.strip()):
        head = unsigned({"alg": "HS256", "typ": "JWT", "kid": "first"}, claims)[:-1]
        signature = base64.urlsafe_b64encode(hmac.new(secret, head.encode(), hashlib.sha256).digest()).rstrip(b"=")
        harness.refusal(f"{head}.{signature.decode()}")
    # A key for one algorithm, named with another.
    mixed = provider.token(provider.keys[1], header={"kid": "first"})
    assert harness.refusal(mixed).retry_after_s is None
    narrow = await open_verifier(algorithms=("ES256",))
    narrow.refusal(provider.token())
    narrow.authenticate(provider.token(provider.keys[1]))


async def test_clocks_may_differ_a_little(provider: IdentityProviderServer, open_verifier: OpenVerifier) -> None:
    harness = await open_verifier(skew_s=30)
    now = now_ms() // 1000 * 1000
    token = provider.token(exp=now // 1000, iat=None)
    harness.authenticate(token, at_ms=now + 29_000)
    with pytest.raises(ServiceError, match="expired"):
        harness.authenticate(token, at_ms=now + 30_000)
    with pytest.raises(ServiceError, match="expired"):
        harness.authenticate(token, at_ms=now + 30_001)
    early = provider.token(nbf=now // 1000 + 30)
    harness.authenticate(early, at_ms=now)
    strict = await open_verifier(skew_s=0)
    with pytest.raises(ServiceError, match="nbf"):
        strict.authenticate(early, at_ms=now)


async def test_a_new_key_is_taken_and_a_withdrawn_one_refused(
    provider: IdentityProviderServer, open_verifier: OpenVerifier
) -> None:
    harness = await open_verifier()
    old = provider.token()
    harness.authenticate(old)
    second = SigningKey("second", "RS256")
    new = provider.token(second)
    error = harness.refusal(new)
    assert error.retry_after_s, "its key may be on its way"
    provider.keys = [second]
    assert (await harness.until(new)).key.user_id == "ravi@example.org"
    harness.refusal(old)


async def test_strangers_cannot_make_it_read_the_keys_all_the_time(
    provider: IdentityProviderServer, open_verifier: OpenVerifier
) -> None:
    harness = await open_verifier(unknown_key_s=600)
    client = httpx.AsyncClient(trust_env=False)
    before = provider.reads
    for number in range(200):
        harness.refusal(provider.token(SigningKey("x", "EdDSA"), header={"kid": f"made-up-{number}"}))
        if number % 20 == 0:
            # A round trip to the same server, in which a request for the keys would arrive as well.
            await client.get(f"{provider.issuer}/.well-known/openid-configuration")
    await client.aclose()
    assert provider.reads == before


async def test_a_provider_that_breaks_leaves_its_keys_in_use(
    provider: IdentityProviderServer, open_verifier: OpenVerifier
) -> None:
    harness = await open_verifier(refresh_s=1)
    keys = next(iter(harness.verifier._providers.values())).keys
    provider.broken = True
    before = keys.reads
    await wait_for(lambda: keys.reads >= before + 2)
    harness.authenticate(provider.token())


async def test_a_provider_that_is_away_at_first_is_found_later(provider: IdentityProviderServer) -> None:
    provider.broken = True
    harness = VerifierHarness(provider)
    harness.verifier.start()
    assert harness.refusal(provider.token()).retry_after_s
    provider.broken = False
    await harness.until(provider.token())
    await harness.verifier.close()


async def test_a_configuration_of_another_issuer_is_not_taken(provider: IdentityProviderServer) -> None:
    provider.claimed_issuer = "https://evil.example"
    harness = VerifierHarness(provider)
    harness.verifier.start()
    keys = next(iter(harness.verifier._providers.values())).keys
    await wait_for(lambda: keys.reads)
    assert not keys.loaded
    harness.refusal(provider.token())
    await harness.verifier.close()


async def test_weak_and_foreign_keys_are_not_taken(
    provider: IdentityProviderServer, open_verifier: OpenVerifier
) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa

    weak = SigningKey("weak", "RS256")
    weak.private = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    provider.keys.append(weak)
    harness = await open_verifier()
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        token = provider.token(weak)
    harness.refusal(token)


async def test_tenant_and_role_come_from_claims(provider: IdentityProviderServer, open_verifier: OpenVerifier) -> None:
    harness = await open_verifier(
        tenant="",
        tenant_claim=("org", "name"),
        tenants={"The School": "school", "The Other": "other"},
        role_claim="groups",
        roles={"teachers": "developer", "heads": "admin"},
        default_role=None,
    )
    org = {"name": "The School"}
    assert harness.authenticate(provider.token(org=org, groups=["pupils", "teachers"])).key.scopes == (
        "inference",
        "spend",
        "keys",
    )
    head = harness.authenticate(provider.token(org=org, groups=["teachers", "heads"], sub="head"))
    assert "manage" in head.key.scopes
    assert harness.authenticate(provider.token(org={"name": "The Other"}, groups="heads")).tenant == OTHER
    for changed in (
        {"org": {"name": "school"}, "groups": "heads"},
        {"org": "The School", "groups": "heads"},
        {"org": org, "groups": ["pupils"]},
        {"org": org, "groups": ["owner", "admin"]},
        {"org": org},
        {"groups": "heads"},
    ):
        harness.refusal(provider.token(**changed))


async def test_the_role_given_here_counts(provider: IdentityProviderServer, open_verifier: OpenVerifier) -> None:
    harness = await open_verifier(role_claim="role")
    token = provider.token(role="owner")
    assert "owner" in harness.authenticate(token).key.scopes
    user = User(
        user_id=user_id_of("ten_1", "ravi@example.org"),
        tenant_id="ten_1",
        name="ravi@example.org",
        role=Role.VIEWER,
        created_at_ms=0,
    )
    harness.users.put_user(user)
    assert harness.authenticate(token).key.scopes == ("spend",)
    harness.users.put_user(User(**{**_fields(user), "disabled_at_ms": 5}))
    assert "is disabled" in harness.refusal(token).message


def _fields(user: User) -> dict[str, Any]:
    return {name: getattr(user, name) for name in ("user_id", "tenant_id", "name", "role", "created_at_ms")}


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: f"{text}.{text}.{text}".encode())))
def test_random_bytes_are_no_token(provider: IdentityProviderServer, data: bytes) -> None:
    harness = VerifierHarness(provider)
    with pytest.raises(ServiceError) as refused:
        harness.verifier.authenticate(data, now_ms=now_ms())
    assert refused.value.reason is Reason.TOKEN_INVALID


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"algorithms": ["none"]}, "algorithms"),
        ({"algorithms": ["HS256"]}, "algorithms"),
        ({"algorithms": []}, "algorithms"),
        ({"audiences": []}, "audiences"),
        ({"issuer": "http://id.example"}, "https"),
        ({"issuer": "ftp://id.example"}, "https"),
        ({"jwks_url": "http://10.0.0.1/keys"}, "https"),
        ({"issuer": "https://u:hunter2@id.example"}, "password"),
        ({"tenant": ""}, "tenant"),
        ({"tenant_claim": "org"}, "tenant"),
        ({"skew_s": 301}, "skew_s"),
        ({"default_role": "king"}, "default_role"),
        ({"audience": "x"}, "audience"),
    ],
)
def test_a_provider_that_could_not_be_trusted_is_not_configured(changed: dict[str, Any], told: str) -> None:
    issuer = {"issuer": "https://id.example", "audiences": ["enginehouse"], "tenant": "school"} | changed
    environ = {
        f"ENGINEHOUSE_ROUTER__{name}": value
        for name, value in {
            "DATABASE_URL": "postgresql://localhost/x",
            "GRANT_KEYS_FILE": "keys",
            "KEY_PEPPER_FILE": "pepper",
            "CATALOG_FILE": "catalog.yaml",
            "ISSUERS": json.dumps([issuer]),
        }.items()
    }
    with pytest.raises(ConfigError, match=told) as refused:
        load(RouterSettings, section="router", path=None, environ=environ)
    assert "hunter2" not in str(refused.value)


async def test_a_users_token_calls_models_and_administers(
    provider: IdentityProviderServer, make_router: RouterFactory
) -> None:
    router = make_router(
        extra=f"""
  issuers:
    - issuer: {provider.issuer}
      audiences: [enginehouse]
      tenant: default
      role_claim: role
"""
    )
    router.start()
    await router.ready()
    await router.create_first_key()
    await wait_until(lambda: router.metric("enginehouse_router_keys"), 1.0)
    token = provider.token(role="developer")

    async def status() -> int:
        return int((await router.generate(token)).status_code)

    await wait_until(status, 200, within_s=60)
    who = await call(router, token, "IdentityService/GetCaller", identity_pb2.GetCallerRequest())
    assert (who.tenant_id, who.user_id) == (router.tenant, "ravi@example.org")
    made = await call(router, token, "AdminService/CreateKey", admin_pb2.CreateKeyRequest(name="mine"))
    assert (made.key.parent_id, made.key.user_id) == (who.key_id, "ravi@example.org")
    with pytest.raises(Refused, match="SCOPE_DENIED"):
        await call(router, token, "IdentityService/ListAudit", identity_pb2.ListAuditRequest())
    shut = identity_pb2.CreateUserRequest(name="ravi@example.org", role=identity_pb2.ROLE_DEVELOPER)
    user = await call(router, router.key, "IdentityService/CreateUser", shut)
    await call(
        router, router.key, "IdentityService/DisableUser", identity_pb2.DisableUserRequest(user_id=user.user.user_id)
    )
    await wait_until(status, 401, within_s=60)
    assert (await router.generate(made.secret)).status_code == 401
    answer = await router.generate(token)
    assert answer.json()["details"][0]["reason"] == "TOKEN_INVALID"
    assert token not in router.log.read_text()
