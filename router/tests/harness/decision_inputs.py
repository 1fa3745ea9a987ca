"""Catalogs, fleets and callers for tests of decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from google.protobuf import json_format

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.api.router.v1 import policy_pb2
from enginehouse.kit.catalog import Catalog, CatalogModel
from enginehouse.kit.pricing import UNITS
from enginehouse.router.decision.decide import State
from enginehouse.router.fleet.fleet import Fleet
from enginehouse.router.identity import Caller, Key, Tenant
from enginehouse.router.policy import Policy, TierSettings
from enginehouse.router.predictor.complexity import Prediction
from enginehouse.router.request import InferenceRequest, Task

TIERS = {name: TierSettings() for name in ("free", "starter", "pro", "enterprise")}


class Fixed:
    """A predictor that always predicts the same."""

    def __init__(self, complexity: float) -> None:
        self.complexity = complexity

    def predict(self, texts: object) -> Prediction:
        return Prediction(self.complexity, ())


def model(
    name: str,
    *,
    quality: float = 0.5,
    price: int = 10**6,
    capabilities: tuple[str, ...] = ("chat",),
    region: str = "",
    cluster: str = "inference",
    languages: tuple[str, ...] = (),
) -> CatalogModel:
    return CatalogModel(
        name=name,
        cluster=cluster,
        backend="llama.cpp",
        source="bundled:x",
        context_tokens=8192,
        max_output_tokens=256,
        capabilities=frozenset(capabilities),
        quality=quality,
        prices={UNITS["input_tokens"]: price, UNITS["output_tokens"]: 4 * price},
        options={},
        region=region,
        languages=languages,
    )


def fleet(
    models: Iterable[CatalogModel],
    *,
    queued: dict[str, int] | None = None,
    languages: Mapping[str, Sequence[str]] = MappingProxyType({}),
    voices: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Fleet:
    """An engine of its own for each model, on the ports from 5000 on; it declares the languages and voices."""
    found = Fleet()
    found.update(
        registry_pb2.LiveEngine(
            engine=registry_pb2.Engine(
                engine_id=f"engine-{model.name}",
                address=f"127.0.0.1:{5000 + number}",
                cluster=model.cluster,
                models=[
                    registry_pb2.ServedModel(
                        name=model.name, languages=languages.get(model.name, ()), voices=voices.get(model.name, ())
                    )
                ],
                capacity=1,
            ),
            load=registry_pb2.Load(queued=(queued or {}).get(model.name, 0)),
        )
        for number, model in enumerate(models)
    )
    return found


def document(**fields: object) -> policy_pb2.Policy:
    """A policy document from the fields of a file."""
    return json_format.ParseDict({"name": "default", **fields}, policy_pb2.Policy())


def state(
    models: Iterable[CatalogModel],
    *documents: policy_pb2.Policy,
    complexity: float = 0.0,
    asleep: tuple[str, ...] = (),
    tiers: dict[str, TierSettings] | None = None,
    aliases: Mapping[str, str] = MappingProxyType({}),
) -> State:
    models = list(models)
    policy = Policy(tiers=tiers or TIERS)
    policy.replace(documents)
    return State(
        catalog=Catalog(models, aliases),
        fleet=fleet([model for model in models if model.name not in asleep]),
        policy=policy,
        predictor=Fixed(complexity),
    )


def caller(*allowed: str, tier: str = "pro", key_id: str = "key_1", tenant_id: str = "ten_1") -> Caller:
    key = Key(
        key_id=key_id,
        tenant_id=tenant_id,
        name="k",
        digest=b"",
        hint="",
        scopes=("inference",),
        allowed_models=allowed,
        requests_per_minute=0,
        tokens_per_minute=0,
        concurrency=0,
        created_at_ms=0,
        expires_at_ms=0,
        revoked_at_ms=0,
    )
    return Caller(key, Tenant(tenant_id=tenant_id, name="t", tier=tier, created_at_ms=0))


def new_request(
    name: str = "auto",
    *,
    text: str = "hello",
    task: str = "",
    subject: str = "",
    needs: str = "chat",
    output: int = 0,
    language: str = "",
) -> InferenceRequest:
    return InferenceRequest(
        task=Task.EMBED if needs == "embeddings" else Task.GENERATE,
        model=name,
        texts=[] if needs == "embeddings" else [text],
        inputs=[len(text)] if needs == "embeddings" else (),
        input_bytes=len(text),
        max_output_tokens=output,
        capabilities=frozenset(needs.split()),
        policy_task=task,
        subject=subject,
        language=language,
    )
