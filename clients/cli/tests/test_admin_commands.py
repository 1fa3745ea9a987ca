"""Keys, budgets, spend, models and explanations, as text and as JSON."""

from __future__ import annotations

from typing import Any

from enginehouse.api.router.v1 import admin_pb2


def key(**fields: Any) -> admin_pb2.Key:
    return admin_pb2.Key(
        **{"key_id": "key_1", "tenant_id": "ten_1", "name": "n", "scopes": ["inference"], "hint": "eh_abc", **fields}
    )


def test_a_key_is_printed_with_its_id(cli: Any, service: Any) -> None:
    service.answers["CreateKey"] = admin_pb2.CreateKeyResponse(key=key(), secret="eh_secret")
    made = cli.json("keys", "create", "--name", "n", "--budget-nanos", "5", "--scope", "spend", "--concurrency", "2")
    assert made["id"] == "key_1"
    assert made["key"] == "eh_secret"
    assert made["budget_nanos"] == 5
    request = service.requests[0]
    assert (request.name, request.budget_nanos, list(request.scopes)) == ("n", 5, ["spend"])
    assert request.limits.concurrency == 2
    text = cli("keys", "create", "--name", "n").stdout
    assert text.splitlines()[0] == "eh_secret"
    assert not service.requests[1].HasField("budget_nanos")


def test_keys_are_listed_and_revoked(cli: Any, service: Any) -> None:
    service.answers["ListKeys"] = admin_pb2.ListKeysResponse(keys=[key(), key(key_id="key_2", revoked_at_ms=5)])
    service.answers["RevokeKey"] = admin_pb2.RevokeKeyResponse(key=key(revoked_at_ms=9))
    assert [each["id"] for each in cli.json("keys", "list")["keys"]] == ["key_1", "key_2"]
    listed = cli("keys", "list").stdout
    assert "active" in listed
    assert "revoked 1970" in listed
    assert cli.json("keys", "revoke", "key_1")["revoked_at_ms"] == 9


def test_budgets_are_set_listed_and_deleted(cli: Any, service: Any) -> None:
    budget = admin_pb2.Budget(
        budget_id="bud_1",
        scope=admin_pb2.BUDGET_SCOPE_KEY,
        scope_id="key_1",
        window=admin_pb2.BUDGET_WINDOW_DAY,
        limit_nanos=1_500_000_000,
        settled_nanos=1,
        alert_percents=[50, 90],
    )
    service.answers["SetBudget"] = admin_pb2.SetBudgetResponse(budget=budget)
    service.answers["ListBudgets"] = admin_pb2.ListBudgetsResponse(budgets=[budget])
    service.answers["DeleteBudget"] = admin_pb2.DeleteBudgetResponse()
    described = cli.json(
        "budgets", "set", "--key", "key_1", "--limit-nanos", "1500000000", "--window", "day", "--alert", "90"
    )
    assert described == {
        "id": "bud_1",
        "scope": "key",
        "scope_id": "key_1",
        "window": "day",
        "limit_nanos": 1_500_000_000,
        "settled_nanos": 1,
        "leased_nanos": 0,
        "alert_percents": [50, 90],
    }
    assert list(service.requests[0].alert_percents) == [90]
    assert cli.json("budgets", "list") == {"budgets": [described]}
    listed = cli("budgets", "list").stdout
    assert "$1.5" in listed
    assert "$0.000000001" in listed
    assert cli.json("budgets", "delete", "bud_1") == {"id": "bud_1", "deleted": True}


def test_a_budget_has_exactly_one_scope(cli: Any, service: Any) -> None:
    done = cli("budgets", "set", "--key", "k", "--tenant", "t", "--limit-nanos", "1")
    assert done.exit_code == 2
    assert "exactly one" in done.stderr
    assert cli("budgets", "set", "--key", "k", "--limit-nanos", "-1").exit_code == 2
    assert service.requests == []


def test_spend_is_exact_as_text_and_json(cli: Any, service: Any) -> None:
    usage = {"units": [{"unit": 2, "amount": 30}], "cost_nanos": 12_345_678_901}
    service.answers["QuerySpend"] = admin_pb2.QuerySpendResponse(
        rows=[{"group": "tiny", "requests": 3, "usage": usage}], total_nanos=12_345_678_901
    )
    told = cli.json("spend", "--key", "key_1", "--by", "model", "--since", "2026-01-02")
    assert told == {
        "total_nanos": 12_345_678_901,
        "rows": [{"group": "tiny", "requests": 3, "usage": {"output_tokens": 30}, "cost_nanos": 12_345_678_901}],
    }
    assert service.requests[0].key_id == "key_1"
    assert service.requests[0].from_ms == 1_767_312_000_000
    assert "$12.345678901" in cli("spend").stdout


def test_models_are_listed_with_their_endpoints(cli: Any, service: Any) -> None:
    model = admin_pb2.CatalogModel(
        name="tiny", backend="llama.cpp", capabilities=["chat"], endpoints=["127.0.0.1:1"], quality=0.25
    )
    model.prices.add(unit=1, nanos_per_million=50_000_000)
    service.answers["ListModels"] = admin_pb2.ListModelsResponse(models=[model])
    listed = cli.json("models", "list")["models"]
    assert listed[0]["endpoints"] == ["127.0.0.1:1"]
    assert listed[0]["prices"] == {"input_tokens": 50_000_000}
    assert "tiny" in cli("models", "list").stdout


def test_a_decision_is_explained(cli: Any, service: Any) -> None:
    service.answers["Explain"] = admin_pb2.ExplainResponse(
        admitted=True,
        rule="tiny is the cheapest that is good enough",
        task="enhance",
        policy="default",
        policy_version=3,
        layers=["configuration.tiers.pro", "tasks.enhance"],
        complexity=0.5,
        features=[{"name": "size", "value": 2.0}],
        candidates=[
            {"model": "big", "passed_over_because": "it costs more", "health": "1 live"},
            {"model": "next", "passed_over_because": "it is fallback 1", "fallback": 1, "price_difference_nanos": 5},
            {"model": "tiny", "chosen": True, "bound_nanos": 9, "first_token_ms": 40},
        ],
    )
    told = cli.json("explain", "hello", "--task", "enhance", "--subject", "maths")
    assert (service.requests[0].task, service.requests[0].subject) == ("enhance", "maths")
    assert told["features"] == {"size": 2.0}
    assert told["policy"] == {"name": "default", "version": 3, "layers": ["configuration.tiers.pro", "tasks.enhance"]}
    assert [each["model"] for each in told["candidates"] if each["chosen"]] == ["tiny"]
    assert [each["first_token_ms"] for each in told["candidates"]] == [None, None, 40]
    printed = cli("explain", "hello").stdout
    assert printed.splitlines()[0] == "admitted: tiny is the cheapest that is good enough"
    assert "policy default version 3: configuration.tiers.pro, tasks.enhance" in printed
    # The chosen model comes first, then its fallbacks.
    rows = [line.split()[:2] for line in printed.splitlines() if line.startswith(("big", "next", "tiny"))]
    assert rows[:2] == [["tiny", "chosen"], ["next", "fallback"]]
    assert "not big: it costs more" in printed.splitlines()
    service.answers["Explain"] = admin_pb2.ExplainResponse(
        admitted=True,
        alias="tts-1",
        languages=["te"],
        candidates=[{"model": "tiny", "chosen": True, "languages": ["te", "en", "fr", "de", "af"]}],
    )
    arguments = ("explain", "హలో", "--language", "te", "--voice", "te+f2", "--method", "/a.B/C")
    told = cli.json(*arguments)
    asked = service.requests[-1]
    assert (asked.language, asked.voice, asked.method) == ("te", "te+f2", "/a.B/C")
    assert (told["alias"], told["languages"], told["language_detected"]) == ("tts-1", ["te"], False)
    printed = cli(*arguments).stdout
    assert "tts-1 is an alias in the catalog" in printed.splitlines()
    assert "language asked for: te" in printed.splitlines()
    assert "te, en, fr, de and 1 more" in printed
    assert told["single_model"] is None
    single = {"requests": 40, "routed_nanos": 50, "routed_sufficiency": 0.8, "model": "next", "sufficiency": 0.75}
    service.answers["Explain"] = admin_pb2.ExplainResponse(admitted=True, single_model={**single, "nanos": 45})
    assert cli.json("explain", "hello")["single_model"] == {**single, "nanos": 45}
    assert "the best single model for no more, next," in " ".join(cli("explain", "hello").stdout.split())
    service.answers["Explain"] = admin_pb2.ExplainResponse(admitted=True, single_model={"requests": 1})
    assert "no single model costs as little" in " ".join(cli("explain", "hello").stdout.split())
    service.answers["Explain"] = admin_pb2.ExplainResponse(refusal="MODEL_DENIED", refusal_message="not yours")
    assert cli("explain", "hello").stdout.startswith("refused: MODEL_DENIED: not yours")
