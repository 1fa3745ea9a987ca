"""docs/engine-protocol.md and its test vectors say what the code does, in both directions."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from enginehouse.api.router.v1.grant_pb2 import Grant, GrantCandidate
from enginehouse.kit.conformance import RULES
from enginehouse.kit.errors import STATUS_CODES, Reason, ServiceError
from enginehouse.kit.grants import GrantKeys, authenticate, sign, verify
from enginehouse.kit.pricing import affordable, cost_nanos, price_numerator, unit_named, unit_price
from engines.kit.tests.conformance.minimal import spool
from engines.kit.tests.conformance.minimal.errors import CallError
from engines.kit.tests.conformance.minimal.grants import Grants

DOCS = Path(__file__).parents[4] / "docs"
PAGE = (DOCS / "engine-protocol.md").read_text()
VECTORS: dict[str, Any] = json.loads((DOCS / "engine-protocol-vectors.json").read_text())
SECRETS = {key_id: base64.b64decode(secret) for key_id, secret in VECTORS["keys"].items()}


def named(cases: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(case, id=str(case.get("name", number))) for number, case in enumerate(cases)]


@pytest.fixture(scope="module")
def independent(tmp_path_factory: pytest.TempPathFactory) -> Grants:
    """The verification that was written from the page, without the kit."""
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text("# two keys\n\n" + "".join(f"{key}:{secret}\n" for key, secret in VECTORS["keys"].items()))
    return Grants(path)


@pytest.mark.parametrize("case", named(VECTORS["grants"]))
def test_grants_are_written_and_read_as_the_vectors_say(case: dict[str, Any], independent: Grants) -> None:
    grant = json_format.ParseDict(case["grant"], Grant())
    assert grant.SerializeToString(deterministic=True).hex() == case["serialized"]
    assert sign(grant, keys=GrantKeys({case["key"]: SECRETS[case["key"]]})) == case["token"]
    assert authenticate(case["token"], keys=GrantKeys(SECRETS)) == grant
    assert independent.authenticate(case["token"]) == grant


@pytest.mark.parametrize("case", named(VECTORS["verification"]))
def test_tokens_are_verified_as_the_vectors_say(case: dict[str, Any], independent: Grants) -> None:
    result = "OK"
    try:
        verify(case["token"], keys=GrantKeys(SECRETS), method=case["method"], now_ms=case["now_ms"])
    except ServiceError as error:
        result = error.reason.value
    assert result == case["result"]
    result = "OK"
    try:
        independent.verify(case["token"], method=case["method"], now_ms=case["now_ms"])
    except CallError as error:
        result = error.reason
    assert result == case["result"]


def prices_and_amounts(case: dict[str, Any], amounts: str) -> tuple[dict[Any, int], dict[Any, int]]:
    return (
        {unit_named(unit): int(price) for unit, price in case["nanos_per_million"].items()},
        {unit_named(unit): int(amount) for unit, amount in case[amounts].items()},
    )


@pytest.mark.parametrize("case", named(VECTORS["costs"]))
def test_costs_are_rounded_as_the_vectors_say(case: dict[str, Any]) -> None:
    prices, amounts = prices_and_amounts(case, "amounts")
    assert cost_nanos(prices, amounts) == int(case["cost_nanos"])
    candidate = GrantCandidate(prices=[unit_price(unit, price) for unit, price in prices.items()])
    assert spool.cost_nanos(candidate, amounts) == int(case["cost_nanos"])


@pytest.mark.parametrize("case", named(VECTORS["caps"]))
def test_caps_pay_for_what_the_vectors_say(case: dict[str, Any]) -> None:
    prices, spent = prices_and_amounts(case, "spent")
    unit, cap = unit_named(case["unit"]), int(case["cap_nanos"])
    price = prices.get(unit, 0)
    numerator = price_numerator(prices, spent)
    if case["affordable"] is None:
        assert price == 0
        return
    count = int(case["affordable"])
    assert affordable(price, spent_numerator=numerator, cap_nanos=cap) == count
    assert cost_nanos(prices, {**spent, unit: spent.get(unit, 0) + count}) <= cap
    assert price_numerator(prices, {**spent, unit: spent.get(unit, 0) + count + 1}) > cap * 1_000_000


def test_every_reason_has_the_statuses_that_the_vectors_say() -> None:
    assert [error["reason"] for error in VECTORS["errors"]] == [reason.value for reason in Reason]
    for error in VECTORS["errors"]:
        reason = Reason(error["reason"])
        assert error["grpc_status"] == STATUS_CODES[reason].name
        assert error["http_status"] == ServiceError(reason, "").http_status


def test_the_page_names_reasons_and_statuses_as_they_are() -> None:
    table = PAGE[PAGE.index("| reason | gRPC status |") :].partition("\n\n")[0].splitlines()[2:]
    for line in table:
        reasons, status = line.split("|")[1:3]
        for reason in reasons.split(","):
            assert STATUS_CODES[Reason(reason.strip(" `"))].name == status.strip()


def test_the_page_lists_the_rules() -> None:
    table = PAGE[PAGE.index("| rule | the engine must hold to |") :].splitlines()[2:]
    assert table == [f"| `{rule.id}` | {rule.sentence} |" for rule in RULES]
