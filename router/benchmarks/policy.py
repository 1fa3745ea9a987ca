"""Microseconds of CPU for `decide` alone over four models, with and without a policy; nothing parsed or signed.

Run: `python router/benchmarks/policy.py [--json]`. The prompt has 1 KB; the predictor is the one that is shipped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from types import MappingProxyType

from google.protobuf import json_format

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.api.router.v1 import policy_pb2
from enginehouse.kit.catalog import Catalog, CatalogModel
from enginehouse.kit.pricing import UNITS
from enginehouse.router.decision.decide import State, decide
from enginehouse.router.feedback import Ratings
from enginehouse.router.fleet.fleet import Fleet
from enginehouse.router.identity import Caller, Key, Tenant
from enginehouse.router.policy import Policy, TierSettings
from enginehouse.router.predictor import load_predictor
from enginehouse.router.request import InferenceRequest, Task

_BATCH = 50
TEXT = ("Tell me a story about a clever crow who lived by the river and helped a farmer. " * 13)[:1024]
RULES = {
    "name": "default",
    "everyone": {"quality_floor": 0.1, "deny": ["model-x"], "max_first_token_ms": 2000},
    "tiers": [{"tier": "pro", "rules": {"quality_ceiling": 0.8}}],
    "tasks": [{"task": "enhance", "rules": {"prefer": ["model-l"]}}],
    "subjects": [{"name": "maths", "specialists": ["model-m"], "keywords": ["algebra", "equation", "theorem"]}],
    "fallbacks": [{"model": "model-s", "models": ["model-m", "model-l"]}],
}
LEARNING = {"bandit": {"enabled": True, "explore_share": 1.0, "max_price_factor": 30}}


def _state(*documents: dict[str, object]) -> State:
    models = [
        CatalogModel(
            name=f"model-{size}",
            cluster="inference",
            backend="llama.cpp",
            source="bundled:x.gguf",
            context_tokens=131_072,
            max_output_tokens=512,
            capabilities=frozenset({"chat"}),
            quality=quality,
            prices=MappingProxyType({UNITS["input_tokens"]: price, UNITS["output_tokens"]: 4 * price}),
            options=MappingProxyType({}),
        )
        for size, quality, price in (
            ("s", 0.2, 5 * 10**7),
            ("m", 0.5, 2 * 10**8),
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
    policy = Policy(tiers={"free": TierSettings(), "pro": TierSettings()})
    policy.replace(json_format.ParseDict(document, policy_pb2.Policy()) for document in documents)
    state = State(
        catalog=Catalog(models), fleet=fleet, policy=policy, predictor=load_predictor(), affinity_characters=256
    )
    state.first_tokens.replace({model.name: 200 for model in models})
    state.ratings = Ratings({30.0: {f"generate/{step}": {"model-m": (30.0, 20.0)} for step in range(4)}})
    return state


def _caller() -> Caller:
    key = Key(
        key_id="key_1",
        tenant_id="ten_1",
        name="k",
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
    return Caller(key, Tenant(tenant_id="ten_1", name="t", tier="pro", created_at_ms=0))


def _request(model: str) -> InferenceRequest:
    return InferenceRequest(
        task=Task.GENERATE,
        model=model,
        texts=[TEXT],
        input_bytes=len(TEXT) + 80,
        max_output_tokens=128,
        capabilities=frozenset({"chat"}),
    )


def _measured(call: Callable[[str], object], rounds: int) -> float:
    batches = []
    for number in range(rounds):
        ids = [f"req_{number}_{place}" for place in range(_BATCH)]
        began = time.process_time()
        for request_id in ids:
            call(request_id)
        batches.append((time.process_time() - began) / _BATCH)
    # A tenth of the batches at least ran without a neighbour on the same core.
    return round(statistics.quantiles(batches, n=10)[0] * 1e6, 1)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=200, help="batches of 50 decisions; the fastest tenth counts")
    arguments = parser.parse_args()
    caller = _caller()
    predict = load_predictor().predict
    found = {"the predictor alone": _measured(lambda _: predict([TEXT]), arguments.rounds)}
    for name, model, documents in (
        ("named, no policy", "model-m", ()),
        ("auto, no policy", "auto", ()),
        ("named, policy", "model-m", (RULES,)),
        ("auto, policy", "auto", (RULES,)),
        ("auto, policy, every request explores", "auto", ({**RULES, **LEARNING},)),
    ):
        state, request = _state(*documents), _request(model)
        found[name] = _measured(
            lambda request_id, request=request, state=state: decide(request, caller, state, request_id=request_id),  # type: ignore[misc]
            arguments.rounds,
        )
    if arguments.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        for name, micros in found.items():
            sys.stdout.write(f"{name:40} {micros:8.1f} us\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
