"""Prices, discounts, alerts, caps and exported spend, as text and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.api import httpbody_pb2

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.router.v1 import admin_pb2, alerts_pb2, prices_pb2


def price(**fields: Any) -> prices_pb2.Price:
    fields = {
        "price_id": "prc_1",
        "model": "tiny",
        "unit": usage_pb2.UNIT_IMAGES,
        "from_ms": 1_767_312_000_000,
        **fields,
    }
    return prices_pb2.Price(**fields)


def test_prices_are_set_listed_and_cancelled(cli: Any, service: Any) -> None:
    made = price(nanos_per_million=1_500_000_000, holds=True)
    service.answers["SetPrice"] = prices_pb2.SetPriceResponse(price=made)
    service.answers["DeletePrice"] = prices_pb2.DeletePriceResponse(price=made)
    service.answers["ListPrices"] = prices_pb2.ListPricesResponse(prices=[made, price(price_id="", from_ms=0)])
    described = cli.json("prices", "set", "tiny", "images", "1500000000", "--from", "2026-01-02")
    assert described == {
        "id": "prc_1",
        "model": "tiny",
        "unit": "images",
        "nanos_per_million": 1_500_000_000,
        "from_ms": 1_767_312_000_000,
        "holds": True,
    }
    request = service.requests[0]
    assert (request.unit, request.nanos_per_million, request.from_ms) == (6, 1_500_000_000, 1_767_312_000_000)
    assert cli("prices", "set", "tiny", "images").exit_code == 0
    assert not service.requests[1].HasField("nanos_per_million")
    assert cli.json("prices", "list")["prices"][0] == described
    assert service.requests[2].holding_only
    listed = cli("prices", "list", "--all").stdout
    assert not service.requests[3].holding_only
    assert "$1.5" in listed
    assert "2026-01-02 00:00:00" in listed
    assert cli.json("prices", "cancel", "prc_1")["id"] == "prc_1"
    wrong = cli("prices", "set", "tiny", "Apples", "1")
    assert wrong.exit_code == 1
    assert "invalid unit 'Apples': expected one of input_tokens" in wrong.stderr


def test_a_discount_has_exactly_one_subject(cli: Any, service: Any) -> None:
    made = prices_pb2.Discount(
        discount_id="dis_1", subject=prices_pb2.DISCOUNT_SUBJECT_TENANT, subject_id="ten_1", basis_points=1_250
    )
    service.answers["SetDiscount"] = prices_pb2.SetDiscountResponse(discount=made)
    service.answers["ListDiscounts"] = prices_pb2.ListDiscountsResponse(discounts=[made])
    service.answers["DeleteDiscount"] = prices_pb2.DeleteDiscountResponse(discount=made)
    assert "12.5 %" in cli("discounts", "set", "1250", "--tenant", "ten_1").stdout
    assert service.requests[0].subject == prices_pb2.DISCOUNT_SUBJECT_TENANT
    cli("discounts", "set", "--tenant", "ten_1")
    assert not service.requests[1].HasField("basis_points")
    assert cli.json("discounts", "list")["discounts"][0]["basis_points"] == 1_250
    assert "every model" in cli("discounts", "list").stdout
    assert "cancelled" in cli("discounts", "cancel", "dis_1").stdout
    assert cli("discounts", "set", "5").exit_code == 2
    assert cli("discounts", "set", "5", "--key", "k", "--tier", "pro").exit_code == 2
    assert cli("discounts", "set", "10001", "--key", "k").exit_code == 2


def test_alerts_are_listed(cli: Any, service: Any) -> None:
    alert = alerts_pb2.Alert(
        alert_id="alr_1",
        budget_id="bud_1",
        scope="key",
        scope_id="key_1",
        window="day",
        percent=80,
        limit_nanos=10**9,
        settled_nanos=8 * 10**8,
        cause=alerts_pb2.ALERT_CAUSE_SPEND,
        delivery=alerts_pb2.ALERT_DELIVERY_DELIVERED,
    )
    service.answers["ListAlerts"] = alerts_pb2.ListAlertsResponse(alerts=[alert])
    told = cli.json("budgets", "alerts", "--of", "key_1")["alerts"]
    assert [(alert["id"], alert["percent"], alert["cause"], alert["delivery"]) for alert in told] == [
        ("alr_1", 80, "spend", "delivered")
    ]
    assert service.requests[0].scope_id == "key_1"
    assert "80 %" in cli("budgets", "alerts").stdout


def test_keys_are_created_with_caps(cli: Any, service: Any) -> None:
    service.answers["CreateKey"] = admin_pb2.CreateKeyResponse(
        key=admin_pb2.Key(key_id="key_1", max_request_nanos=5, run_cap_nanos=6), secret="eh_x"
    )
    made = cli.json("keys", "create", "--name", "n", "--max-request-nanos", "5", "--run-cap-nanos", "6")
    assert (made["max_request_nanos"], made["run_cap_nanos"]) == (5, 6)
    assert (service.requests[0].max_request_nanos, service.requests[0].run_cap_nanos) == (5, 6)
    assert cli("keys", "create", "--name", "n", "--run-cap-nanos", "-1").exit_code == 2


def test_spend_is_exported_completely_or_not_at_all(cli: Any, service: Any, tmp_path: Path) -> None:
    service.answers["ExportSpend"] = [httpbody_pb2.HttpBody(data=b"a,b\r\n"), httpbody_pb2.HttpBody(data=b"1,2\r\n")]
    file = tmp_path / "spend.csv"
    told = cli.json("spend", "export", "--csv", str(file), "--user", "anna", "--since", "2026-01-02")
    assert told == {"file": str(file), "bytes": 10}
    assert file.read_bytes() == b"a,b\r\n1,2\r\n"
    assert (service.requests[0].user_id, service.requests[0].from_ms) == ("anna", 1_767_312_000_000)
    assert cli("spend", "export", "--csv", "-").stdout_bytes == b"a,b\r\n1,2\r\n"

    def cut_off() -> Any:
        yield httpbody_pb2.HttpBody(data=b"only half")
        raise RuntimeError("cut off")

    service.answers["ExportSpend"] = cut_off()
    assert cli("spend", "export", "--csv", str(file)).exit_code == 1
    assert file.read_bytes() == b"a,b\r\n1,2\r\n"
    assert list(tmp_path.glob(".spend*")) == []
    assert cli("spend", "export", "--csv", str(tmp_path / "none" / "x.csv")).exit_code == 1
