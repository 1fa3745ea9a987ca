"""`explain`: which model the router would choose, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from enginehouse.api.router.v1 import admin_pb2
from enginehouse.cli.connection import ApiKeyOption, DataOption, UrlOption, connect
from enginehouse.cli.output import JsonFlag, dollars, print_json, print_table, print_text, reported
from enginehouse.local.datadir import DEFAULT

# Columns that are shown only where a model has something to say in them.
_SPARSE = frozenset({"first token", "region", "health"})


@reported
def explain(
    prompt: Annotated[str, typer.Argument(help="What would be asked.")],
    model: Annotated[str, typer.Option("--model", "-m", help="A model's name, or auto.")] = "auto",
    key: Annotated[str, typer.Option("--key", help="As if asked with this key (its id).")] = "",
    task: Annotated[str, typer.Option("--task", help="generate, enhance, analyse or embed.")] = "",
    subject: Annotated[str, typer.Option("--subject", help="What it is about, in the policy's words.")] = "",
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=0, help="0 for the model's default.")] = 0,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Say which model the router would choose for a prompt, and why; nothing is run or reserved."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        told = mesh.admin.explain(
            prompt, model=model, key_id=key, max_output_tokens=max_tokens, task=task, subject=subject
        )
    if json_:
        print_json(_document(told))
        return
    print_text(f"admitted: {told.rule}" if told.admitted else f"refused: {told.refusal}: {told.refusal_message}")
    about = f", subject {told.subject}" if told.subject else ""
    print_text(
        f"task {told.task}{about}; complexity {told.complexity:.2f}, quality needed {told.quality_needed:.2f}; "
        f"feedback counts under {told.prompt_class}"
    )
    version = f"version {told.policy_version}" if told.policy_version else "of the configuration"
    print_text(f"policy {told.policy} {version}: {', '.join(told.layers)}")
    print_text("looked at " + ", ".join(f"{feature.name} {feature.value:g}" for feature in told.features))
    order = sorted(told.candidates, key=lambda each: (not each.chosen, each.fallback or len(told.candidates)))
    rows = [
        {
            "model": each.model,
            "": _place(each),
            "quality": f"{each.quality:.2f}",
            "suffices": f"{each.sufficiency:.2f}",
            "at most": dollars(each.bound_nanos),
            "more": "" if each.chosen else _difference(each.price_difference_nanos),
            "first token": f"{each.first_token_ms} ms" if each.HasField("first_token_ms") else "",
            "region": each.region,
            "health": each.health,
        }
        for each in order
    ]
    columns = [name for name in (rows[0] if rows else ()) if name not in _SPARSE or any(row[name] for row in rows)]
    print_table(columns, [[row[name] for name in columns] for row in rows], empty="no models")
    for each in order:
        if each.passed_over_because and not each.fallback:
            print_text(f"not {each.model}: {each.passed_over_because}")
    for each in order:
        if (each.chosen or each.fallback) and each.endpoints:
            print_text(f"{each.model} at {', '.join(each.endpoints)}")


def _place(candidate: admin_pb2.ExplainedCandidate) -> str:
    return "chosen" if candidate.chosen else f"fallback {candidate.fallback}" if candidate.fallback else ""


def _difference(nanos: int) -> str:
    return f"+{dollars(nanos)}" if nanos > 0 else dollars(nanos)


def _document(told: admin_pb2.ExplainResponse) -> dict[str, object]:
    return {
        "admitted": told.admitted,
        "refusal": told.refusal,
        "refusal_message": told.refusal_message,
        "rule": told.rule,
        "task": told.task,
        "subject": told.subject,
        "policy": {"name": told.policy, "version": told.policy_version, "layers": list(told.layers)},
        "prompt_class": told.prompt_class,
        "complexity": told.complexity,
        "quality_needed": told.quality_needed,
        "features": {feature.name: feature.value for feature in told.features},
        "candidates": [
            {
                "model": each.model,
                "chosen": each.chosen,
                "passed_over_because": each.passed_over_because,
                "fallback": each.fallback,
                "quality": round(each.quality, 6),
                "sufficiency": each.sufficiency,
                "bound_nanos": each.bound_nanos,
                "price_difference_nanos": each.price_difference_nanos,
                "first_token_ms": each.first_token_ms if each.HasField("first_token_ms") else None,
                "region": each.region,
                "health": each.health,
                "endpoints": list(each.endpoints),
            }
            for each in told.candidates
        ],
    }
