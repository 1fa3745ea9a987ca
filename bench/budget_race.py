"""`python -m bench.budget_race`: send LiteLLM's proxy ten times as many concurrent requests as a budget pays for.

LiteLLM keeps budgets of keys in a database that it reaches by Prisma, whose engines come from a host of their own; the
budget of a provider, which it keeps in memory, needs none. So that is what is raced: one proxy process, one budget,
nobody killed. `python -m tests.chaos.race` is the same race against ours, with four routers and kills.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pathlib
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

import httpx
import uvicorn

from .children import running
from .litellm import KEY, command, environment
from .measure import ROOT
from .ports import free_port
from .tools import find_litellm

_MODEL = "priced"
_TOKENS = 100
# Dollars a token, in and out.
_PRICE = 1e-6
_COST = 2 * _TOKENS * _PRICE


async def _upstream(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
    """An OpenAI-like server whose every answer takes 0.3 s and costs the same."""
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(0.3)
    usage = {"prompt_tokens": _TOKENS, "completion_tokens": _TOKENS, "total_tokens": 2 * _TOKENS}
    message = {"role": "assistant", "content": "word"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": _MODEL, "choices": [choice], "usage": usage}
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


def _configuration(upstream: int, budget: float) -> str:
    prices = {"input_cost_per_token": _PRICE, "output_cost_per_token": _PRICE}
    model = {"model": f"openai/{_MODEL}", "api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": "none", **prices}
    return json.dumps(
        {
            "model_list": [{"model_name": _MODEL, "litellm_params": model}],
            "router_settings": {
                "provider_budget_config": {"openai": {"budget_limit": budget, "time_period": "1d"}},
                "num_retries": 0,
            },
            "general_settings": {"master_key": KEY},
            "litellm_settings": {"telemetry": False, "num_retries": 0},
        }
    )


async def _race(requests: int, paid_for: int) -> dict[str, float]:
    upstream, port = free_port(), free_port()
    budget = paid_for * _COST
    server = uvicorn.Server(
        uvicorn.Config(_upstream, host="127.0.0.1", port=upstream, lifespan="off", log_level="error")
    )
    serving = asyncio.create_task(server.serve())
    with tempfile.TemporaryDirectory(prefix="eh-race-", dir="/tmp") as folder:
        config = pathlib.Path(folder) / "litellm.yaml"
        config.write_text(_configuration(upstream, budget))
        with running(
            command(find_litellm(ROOT), config=config, port=port),
            log=pathlib.Path(folder) / "litellm.log",
            environment=environment(),
        ):
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}",
                headers={"authorization": f"Bearer {KEY}"},
                timeout=120,
                limits=httpx.Limits(max_connections=None),
            ) as client:
                await _ready(client)

                async def ask() -> int:
                    body = {"model": _MODEL, "messages": [{"role": "user", "content": "hello"}]}
                    return (await client.post("/v1/chat/completions", json=body)).status_code

                first = await asyncio.gather(*(ask() for _ in range(requests)))
                # What it has counted by then is all that it will count: what follows should all be refused.
                await asyncio.sleep(2)
                second = await asyncio.gather(*(ask() for _ in range(50)))
    server.should_exit = True
    await serving
    served = (first + second).count(200)
    return {
        "requests": requests,
        "budget_dollars": round(budget, 6),
        "paid_for": paid_for,
        "served": served,
        "served_of_those_at_once": first.count(200),
        "spent_dollars": round(served * _COST, 6),
        "overspend_dollars": round(max(0.0, (served - paid_for) * _COST), 6),
        "spent_of_budget": round(served / paid_for, 2),
    }


async def _ready(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(300):
        while True:
            try:
                if (await client.get("/health/liveliness")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.2)


def main() -> int:
    """Run the race and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.budget_race", description=__doc__)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--paid-for", type=int, default=50, help="for how many of them the budget suffices")
    given = parser.parse_args()
    print(json.dumps(asyncio.run(_race(given.requests, given.paid_for)), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
