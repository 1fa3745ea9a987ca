"""The router's cost of a decision: parsing the request, choosing the model and its bound, on one core."""

from __future__ import annotations

import time

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.kit.catalog import load_catalog
from enginehouse.kit.contracts import load_contracts
from enginehouse.router.decision.decide import State, decide
from enginehouse.router.fleet.fleet import Fleet
from enginehouse.router.identity import Caller, Key, Tenant
from enginehouse.router.policy import Policy
from enginehouse.router.predictor import load_predictor
from enginehouse.router.request import parse_request
from enginehouse.router.settings import RouterSettings

from .engine import CATALOG, MODELS
from .measure import PROMPT

METHOD = "/enginehouse.api.inference.v1.GenerationService/Generate"
PROMPT_BYTES = 1024
ROUNDS = 5
DECISIONS = 3000


def decision_cpu_us(prompt_bytes: int = PROMPT_BYTES) -> float:
    """CPU microseconds a decision for a prompt of so many bytes and `model: "auto"`: the median of some rounds."""
    fleet = Fleet()
    engine = registry_pb2.Engine(
        engine_id="bench-1",
        cluster="inference",
        address="127.0.0.1:1",
        capacity=64,
        models=[registry_pb2.ServedModel(name=name) for name in MODELS],
    )
    fleet.update([registry_pb2.LiveEngine(engine=engine)])
    tiers = RouterSettings.model_fields["tiers"].get_default(call_default_factory=True, validated_data={})
    state = State(catalog=load_catalog(CATALOG), fleet=fleet, policy=Policy(tiers=tiers), predictor=load_predictor())
    prompt = (PROMPT + ". ") * (prompt_bytes // len(PROMPT) + 1)
    request = generation_pb2.GenerateRequest(model="auto", prompt=prompt[:prompt_bytes], max_output_tokens=200)
    message = request.SerializeToString()
    body = b"\0" + len(message).to_bytes(4, "big") + message
    caller, contracts = _caller(), load_contracts()
    taken = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(DECISIONS):
            decision = decide(parse_request(contracts, METHOD, body), caller, state)
        taken.append((time.process_time() - started) / DECISIONS * 1e6)
        if decision.model is None:
            raise RuntimeError(f"the router decided nothing: {decision.refusal}")
    return sorted(taken)[ROUNDS // 2]


def _caller() -> Caller:
    key = Key(
        key_id="key_bench",
        tenant_id="ten_bench",
        name="bench",
        digest=b"",
        hint="",
        scopes=("inference",),
        allowed_models=(),
        requests_per_minute=0,
        tokens_per_minute=0,
        concurrency=0,
        created_at_ms=0,
        expires_at_ms=0,
        revoked_at_ms=0,
    )
    return Caller(key=key, tenant=Tenant(tenant_id="ten_bench", name="bench", tier="pro", created_at_ms=0))
