"""The command `explain`: the model that the router would choose, and the reasons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from enginehouse.api.router.v1 import admin_pb2
from enginehouse.cli.connection import ApiKeyOption, DataOption, UrlOption, connect
from enginehouse.cli.names import KEYS
from enginehouse.cli.output import JsonFlag, dollars, print_json, print_text, reported
from enginehouse.cli.tables import WideFlag, print_table
from enginehouse.cli.values import MAX_INT32, whole_option
from enginehouse.local.datadir import DEFAULT

# Columns that are shown only if some model has a value.
_OPTIONAL_COLUMNS = frozenset({"first token", "languages", "region", "health"})
_FEW = 4


@reported
def explain(
    prompt: Annotated[str, typer.Argument(help="The prompt.")],
    model: Annotated[str, typer.Option("--model", "-m", help="A model's name, or auto.")] = "auto",
    key: Annotated[
        str, typer.Option("--key", help="Decide as for this key: its id or the beginning of it, or its name.")
    ] = "",
    task: Annotated[
        str,
        typer.Option(
            "--task", help="The task, such as generate, enhance, analyse or embed; an engine may add its own."
        ),
    ] = "",
    subject: Annotated[str, typer.Option("--subject", help="The subject, as policies name it.")] = "",
    language: Annotated[
        str, typer.Option("--language", help="The language asked for, such as te; detected if left out.")
    ] = "",
    voice: Annotated[str, typer.Option("--voice", help="The voice asked for, of a method that speaks.")] = "",
    method: Annotated[str, typer.Option("--method", help="The full gRPC method; generating text if left out.")] = "",
    max_tokens: Annotated[
        int,
        whole_option(
            "--max-tokens", least=0, most=MAX_INT32, help="The maximum length of the answer; 0 for the model's default."
        ),
    ] = 0,
    wide: WideFlag = False,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Show which model the router would choose for a prompt, and why. Nothing is run or reserved."""
    with connect(url=url, api_key=api_key, data=data) as mesh:

        def explain_for(key_id: str) -> admin_pb2.ExplainResponse:
            return mesh.admin.explain(
                prompt,
                model=model,
                key_id=key_id,
                method=method,
                max_output_tokens=max_tokens,
                task=task,
                subject=subject,
                language=language,
                voice=voice,
            )

        explanation = KEYS.call(mesh, key, explain_for) if key else explain_for("")
    if json_:
        print_json(_document(explanation))
        return
    print_text(
        f"admitted: {explanation.rule}"
        if explanation.admitted
        else f"refused: {explanation.refusal}: {explanation.refusal_message}"
    )
    if explanation.alias:
        print_text(f"{explanation.alias} is an alias in the catalog")
    if explanation.languages:
        how = "detected" if explanation.language_detected else "asked for"
        print_text(f"language {how}: {' or '.join(explanation.languages)}")
    about = f", subject {explanation.subject}" if explanation.subject else ""
    print_text(
        f"task {explanation.task}{about}; complexity {explanation.complexity:.2f}, "
        f"quality needed {explanation.quality_needed:.2f}; feedback counts under {explanation.prompt_class}"
    )
    version = f"version {explanation.policy_version}" if explanation.policy_version else "of the configuration"
    print_text(f"policy {explanation.policy} {version}: {', '.join(explanation.layers)}")
    print_text("looked at " + ", ".join(f"{feature.name} {feature.value:g}" for feature in explanation.features))
    order = sorted(
        explanation.candidates,
        key=lambda candidate: (not candidate.chosen, candidate.fallback or len(explanation.candidates)),
    )
    rows = [
        {
            "model": candidate.model,
            "": _place(candidate),
            "quality": f"{candidate.quality:.2f}",
            "suffices": f"{candidate.sufficiency:.2f}",
            "at most": dollars(candidate.bound_nanos),
            "more": "" if candidate.chosen else _difference(candidate.price_difference_nanos),
            "first token": f"{candidate.first_token_ms} ms" if candidate.HasField("first_token_ms") else "",
            "languages": _few(candidate.languages),
            "region": candidate.region,
            "health": candidate.health,
        }
        for candidate in order
    ]
    columns = [
        name for name in (rows[0] if rows else ()) if name not in _OPTIONAL_COLUMNS or any(row[name] for row in rows)
    ]
    print_table(
        columns,
        [[row[name] for name in columns] for row in rows],
        empty="no models",
        wide=wide,
        folding=["languages", "health"],
    )
    if explanation.HasField("single_model"):
        print_text(_compared(explanation.single_model))
    for candidate in order:
        if candidate.passed_over_because and not candidate.fallback:
            print_text(f"not {candidate.model}: {candidate.passed_over_because}")
    for candidate in order:
        if (candidate.chosen or candidate.fallback) and candidate.endpoints:
            print_text(f"{candidate.model} at {', '.join(candidate.endpoints)}")


def _place(candidate: admin_pb2.ExplainedCandidate) -> str:
    return "chosen" if candidate.chosen else f"fallback {candidate.fallback}" if candidate.fallback else ""


def _compared(compared: admin_pb2.SingleModelComparison) -> str:
    routed = (
        f"over the last {compared.requests} requests routing costs at most {dollars(compared.routed_nanos)} each and "
        f"suffices with probability {compared.routed_sufficiency:.2f}"
    )
    if not compared.model:
        return f"{routed}; no single model costs as little"
    return (
        f"{routed}; the best single model for no more, {compared.model}, costs {dollars(compared.nanos)} and "
        f"suffices with {compared.sufficiency:.2f}"
    )


def _few(languages: Sequence[str]) -> str:
    more = f" and {len(languages) - _FEW} more" if len(languages) > _FEW else ""
    return ", ".join(languages[:_FEW]) + more


def _difference(nanos: int) -> str:
    return f"+{dollars(nanos)}" if nanos > 0 else dollars(nanos)


def _document(explanation: admin_pb2.ExplainResponse) -> dict[str, object]:
    return {
        "admitted": explanation.admitted,
        "refusal": explanation.refusal,
        "refusal_message": explanation.refusal_message,
        "rule": explanation.rule,
        "alias": explanation.alias,
        "languages": list(explanation.languages),
        "language_detected": explanation.language_detected,
        "task": explanation.task,
        "subject": explanation.subject,
        "policy": {
            "name": explanation.policy,
            "version": explanation.policy_version,
            "layers": list(explanation.layers),
        },
        "prompt_class": explanation.prompt_class,
        "complexity": explanation.complexity,
        "quality_needed": explanation.quality_needed,
        "features": {feature.name: feature.value for feature in explanation.features},
        "single_model": {
            "requests": explanation.single_model.requests,
            "routed_nanos": explanation.single_model.routed_nanos,
            "routed_sufficiency": explanation.single_model.routed_sufficiency,
            "model": explanation.single_model.model,
            "nanos": explanation.single_model.nanos,
            "sufficiency": explanation.single_model.sufficiency,
        }
        if explanation.HasField("single_model")
        else None,
        "candidates": [
            {
                "model": candidate.model,
                "chosen": candidate.chosen,
                "passed_over_because": candidate.passed_over_because,
                "fallback": candidate.fallback,
                "quality": round(candidate.quality, 6),
                "sufficiency": candidate.sufficiency,
                "bound_nanos": candidate.bound_nanos,
                "price_difference_nanos": candidate.price_difference_nanos,
                "first_token_ms": candidate.first_token_ms if candidate.HasField("first_token_ms") else None,
                "languages": list(candidate.languages),
                "region": candidate.region,
                "health": candidate.health,
                "endpoints": list(candidate.endpoints),
            }
            for candidate in explanation.candidates
        ],
    }
