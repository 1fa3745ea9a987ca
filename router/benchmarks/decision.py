"""Microseconds of CPU for one decision: parse, choose, limit, reserve, build and sign the grant; no HTTP.

Run: `python router/benchmarks/decision.py [--json]`. The budget's lease is large, so no draw is on the path.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Mapping
from types import MappingProxyType

from google.api import httpbody_pb2
from prometheus_client import CollectorRegistry

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.kit.address_channels import AddressChannels
from enginehouse.kit.catalog import Catalog, CatalogModel
from enginehouse.kit.contracts import load_contracts
from enginehouse.kit.grants import GrantKeys, peek
from enginehouse.kit.pricing import UNITS
from enginehouse.router.admission.admission import Admission
from enginehouse.router.admission.admitting import Check
from enginehouse.router.admission.cost_caps import RunCaps
from enginehouse.router.admission.exact_input import ExactInput
from enginehouse.router.alerts import ExhaustionRecorder
from enginehouse.router.cache import (
    AnswerMemory,
    CacheMetrics,
    CacheRules,
    CacheSettings,
    CacheStore,
    QuestionEmbedder,
    RequestCoalescer,
    ResponseCache,
    SemanticIndex,
)
from enginehouse.router.clock import wall_clock
from enginehouse.router.decision.decide import State
from enginehouse.router.experiments import Assignment, ExposureLog
from enginehouse.router.fleet.fleet import Fleet
from enginehouse.router.identity import (
    Authenticator,
    Key,
    KeyHasher,
    KeyIndex,
    KeyStore,
    Tenant,
    TokenVerifier,
    UserIndex,
    UserStore,
    new_secret,
    secret_hint,
)
from enginehouse.router.ledger import (
    Budget,
    BudgetIndex,
    BudgetStore,
    Ledger,
    LedgerStore,
    LedgerTerms,
    Payer,
    Period,
    Scope,
)
from enginehouse.router.limits import Limiter
from enginehouse.router.policy import Policy
from enginehouse.router.predictor import load_predictor
from enginehouse.router.settings import RouterSettings

GENERATE = "/enginehouse.api.inference.v1.GenerationService/Generate"
CHAT = "/enginehouse.api.openai.v1.TextService/CreateChatCompletion"
_BATCH = 50
SCOPES = (("tenant", "ten_" + "0" * 32), ("key", "key_" + "0" * 32))
WORDS = "Tell me a story about a clever crow who lived by the river and helped a farmer. "


class _NoStore(LedgerStore):
    """Registers nothing: nothing here reaches PostgreSQL."""

    async def register(self, replica_id: str, *, host: str, now_ms: int) -> None:
        """Nothing."""


# Of the models by size, where languages are declared: they differ, so that the prompt's is detected.
LANGUAGES = {"s": ("en",), "m": ("en", "te"), "l": ("en", "te", "hi"), "x": ()}
TELUGU = "నది పక్కన నివసించి రైతుకు సహాయం చేసిన తెలివైన కాకి గురించి ఒక కథ చెప్పు. "


def _admission(
    languages: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> tuple[Admission, Ledger, ResponseCache, str]:
    models = [
        CatalogModel(
            name=f"model-{size}",
            cluster="inference",
            backend="llama.cpp",
            source="bundled:x.gguf",
            context_tokens=131_072,
            max_output_tokens=512,
            capabilities=frozenset({"chat", "completion", "tools", "json_schema"}),
            quality=quality,
            prices=MappingProxyType(
                {
                    UNITS["input_tokens"]: price,
                    UNITS["cached_input_tokens"]: price // 10,
                    UNITS["output_tokens"]: 4 * price,
                }
            ),
            options=MappingProxyType({}),
            languages=languages.get(size, ()),
        )
        for size, quality, price in (
            ("s", 0.2, 50_000_000),
            ("m", 0.5, 200_000_000),
            ("l", 0.8, 10**9),
            ("x", 1.0, 10**10),
        )
    ]
    fleet = Fleet()
    fleet.update(
        registry_pb2.LiveEngine(
            engine=registry_pb2.Engine(
                engine_id=f"e{number}",
                cluster="inference",
                address=f"127.0.0.1:{5000 + number}",
                capacity=8,
                models=[registry_pb2.ServedModel(name=model.name) for model in models],
            )
        )
        for number in range(2)
    )
    catalog = Catalog(models)
    policy = Policy(tiers=RouterSettings.model_fields["tiers"].default_factory())  # type: ignore[call-arg, misc]
    hasher = KeyHasher(pepper=b"p" * 32)
    keys = KeyIndex(store=KeyStore(database=None), hasher=hasher, clock=wall_clock)  # type: ignore[arg-type]
    secret = new_secret()
    tenant = Tenant(tenant_id="ten_" + "0" * 32, name="t", tier="pro", created_at_ms=0)
    key = Key(
        key_id="key_" + "0" * 32,
        tenant_id=tenant.tenant_id,
        name="k",
        digest=hasher.digest(secret),
        hint=secret_hint(secret),
        scopes=("inference", "spend"),
        allowed_models=(),
        requests_per_minute=2**31 - 1,
        tokens_per_minute=2**31 - 1,
        concurrency=2**31 - 1,
        created_at_ms=0,
        expires_at_ms=0,
        revoked_at_ms=0,
    )
    keys.put(key, tenant)
    keys.loaded = True
    users = UserIndex(tenants=KeyStore(database=None), users=UserStore(database=None))  # type: ignore[arg-type]
    budgets = BudgetIndex(store=BudgetStore(database=None))  # type: ignore[arg-type]
    for scope, scope_id in ((Scope.TENANT, tenant.tenant_id), (Scope.KEY, key.key_id)):
        budget = Budget(
            budget_id="bud_" + str(scope),
            tenant_id=tenant.tenant_id,
            scope=scope,
            scope_id=scope_id,
            period=Period.MONTH,
            limit_nanos=2**62,
            created_at_ms=0,
        )
        budgets.put(budget.budget_id, budget)
    ledger = Ledger(
        store=_NoStore(database=None, ttl_s=60),  # type: ignore[arg-type]
        budgets=budgets,
        terms=LedgerTerms(replica_ttl_s=10_000, journal_backlog=10**9),
        clock=wall_clock,
        live_engines=lambda: (),
        service_of=lambda grant: "inference",
    )
    cache = _cache(fleet)
    admission = Admission(
        contracts=load_contracts(),
        state=State(catalog=catalog, fleet=fleet, policy=policy, predictor=load_predictor()),
        callers=Authenticator(keys=keys, users=users, tokens=TokenVerifier(issuers=(), users=users)),
        limiter=Limiter(now_s=time.monotonic),
        ledger=ledger,
        cache=cache,
        assignment=Assignment(),
        exposures=ExposureLog(database=None, clock=wall_clock),  # type: ignore[arg-type]
        run_caps=RunCaps(store=BudgetStore(database=None), index=budgets, clock=wall_clock),  # type: ignore[arg-type]
        exhaustion=ExhaustionRecorder(database=None, clock=wall_clock),  # type: ignore[arg-type]
        exact_input=ExactInput(
            grant_keys=GrantKeys({"k1": b"s" * 32}),
            channels=AddressChannels(retries=False),
            clock=wall_clock,
            timeout_s=0,
            max_body_bytes=32 << 20,
            asked=lambda _: None,
        ),
        grant_keys=GrantKeys({"k1": b"s" * 32}),
        clock=wall_clock,
        accept_window_s=10,
        grant_ttl_s=600,
        max_body_bytes=32 << 20,
    )
    return admission, ledger, cache, secret


def _cache(fleet: Fleet) -> ResponseCache:
    rules = CacheRules(store=CacheStore(database=None))  # type: ignore[arg-type]
    rules.loaded = True
    cache = ResponseCache(
        settings=CacheSettings(),
        rules=rules,
        memory=AnswerMemory(max_bytes=1 << 26, clock=wall_clock),
        shared=None,
        coalescer=RequestCoalescer(wait_s=30, max_waiting=1000, alive=lambda _: True, now_s=time.monotonic),
        index=SemanticIndex(max_entries=1000),
        embedder=QuestionEmbedder(
            model="", engines=fleet.serving, grant_keys=GrantKeys({"k1": b"s" * 32}), clock=wall_clock, timeout_s=1
        ),
        metrics=CacheMetrics(registry=CollectorRegistry()),
        clock=wall_clock,
        receives_changes=lambda: True,
    )
    cache.address = "127.0.0.1:18011"
    return cache


def _frame(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def _cases() -> dict[str, tuple[str, bytes]]:
    cases = {}
    for name, size in (("1 KB", 1024), ("8 KB", 8192), ("64 KB", 65_536)):
        text = (WORDS * (size // len(WORDS) + 1))[:size]
        for model in ("model-s", "auto"):
            typed = generation_pb2.GenerateRequest(
                model=model,
                messages=[generation_pb2.Message(role=generation_pb2.ROLE_USER, content=text)],
                max_output_tokens=128,
            )
            body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 128, "stream": True}
            wrapped = httpbody_pb2.HttpBody(content_type="application/json", data=json.dumps(body).encode())
            cases[f"gRPC, {name}, {model}"] = (GENERATE, _frame(typed.SerializeToString()))
            cases[f"OpenAI JSON, {name}, {model}"] = (CHAT, _frame(wrapped.SerializeToString()))
    return cases


async def _measure_languages(rounds: int) -> dict[str, float]:
    admission, ledger, _, secret = _admission(LANGUAGES)
    await ledger.register()
    headers = {b"authorization": f"Bearer {secret}".encode(), b"content-type": b"application/grpc"}
    cases = {}
    for name, words in (("English", WORDS), ("Telugu", TELUGU)):
        prompt = (words.encode() * (1024 // len(words.encode()) + 1))[:1024].decode(errors="ignore")
        message = generation_pb2.Message(role=generation_pb2.ROLE_USER, content=prompt)
        body = generation_pb2.GenerateRequest(model="auto", messages=[message], max_output_tokens=128)
        cases[f"gRPC, 1 KB, auto, {name} detected"] = GENERATE, _frame(body.SerializeToString()), headers
    asked = {**headers, b"x-enginehouse-language": b"te"}
    cases["gRPC, 1 KB, auto, Telugu asked for"] = GENERATE, _frame(body.SerializeToString()), asked
    return await _timed(admission, ledger, cases, rounds)


async def _measure(rounds: int) -> dict[str, float]:
    admission, ledger, cache, secret = _admission()
    await ledger.register()
    headers = {b"authorization": f"Bearer {secret}".encode(), b"content-type": b"application/grpc"}
    cases = {name: (method, body, headers) for name, (method, body) in _cases().items()}
    for name in ("gRPC, 1 KB, model-s", "OpenAI JSON, 1 KB, model-s", "OpenAI JSON, 8 KB, model-s"):
        method, body, _ = cases[name]
        _refill(ledger)
        # What is made anew is looked up under its key like a miss; equal misses would wait for the first.
        refresh, use = ({**headers, b"x-enginehouse-cache": word} for word in (b"refresh", b"use"))
        made = peek((await admission.admit(Check(method, refresh, body))).token)
        await cache.put(made.keep.key, b"answer", keep_ms=10**9)
        cases[f"{name}, cache miss"] = (method, body, refresh)
        cases[f"{name}, cache hit"] = (method, body, use)
    return await _timed(admission, ledger, cases, rounds)


def _refill(ledger: Ledger) -> None:
    for account in ledger.accounts(Payer(SCOPES), now_ms=wall_clock()):
        account.remaining = 2**61


async def _timed(
    admission: Admission, ledger: Ledger, cases: Mapping[str, tuple[str, bytes, dict[bytes, bytes]]], rounds: int
) -> dict[str, float]:
    found = {}
    for name, (method, body, sent) in cases.items():
        batches = []
        for _ in range(rounds):
            _refill(ledger)
            began = time.process_time()
            for _ in range(_BATCH):
                await admission.admit(Check(method, sent, body))
            batches.append((time.process_time() - began) / _BATCH)
            # What settles would be closed by then; an ever-growing book is not what is measured.
            ledger.book.close([reservation.grant_id for reservation in ledger.book.open_reservations()])
            await ledger.flush_journal()
        # A tenth of the batches at least ran without a neighbour on the same core.
        found[name] = round(statistics.quantiles(batches, n=10)[0] * 1e6, 1)
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=100, help="batches of 50 decisions; the fastest tenth counts")
    arguments = parser.parse_args()
    found = asyncio.run(_measure(arguments.rounds)) | asyncio.run(_measure_languages(arguments.rounds))
    if arguments.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        for name, micros in found.items():
            sys.stdout.write(f"{name:40} {micros:8.1f} us\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
