"""Requests about prices, discounts, alerts and exported spend, whose words become the contract's enumerations."""

from __future__ import annotations

import re
from collections.abc import Mapping

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.router.v1 import admin_pb2, prices_pb2

UNITS: Mapping[str, usage_pb2.Unit.ValueType] = {
    name.removeprefix("UNIT_").lower(): value for name, value in usage_pb2.Unit.items() if value
}
"""The units that every mesh has prices for, such as `input_tokens`."""

_UNIT_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}").fullmatch

DISCOUNT_SUBJECTS: Mapping[str, prices_pb2.DiscountSubject.ValueType] = {
    "key": prices_pb2.DISCOUNT_SUBJECT_KEY,
    "tenant": prices_pb2.DISCOUNT_SUBJECT_TENANT,
    "tier": prices_pb2.DISCOUNT_SUBJECT_TIER,
}
"""The kinds of subject that a discount can be for."""


def set_price(*, model: str, unit: str, nanos_per_million: int | None, from_ms: int) -> prices_pb2.SetPriceRequest:
    """Return the request to set a price. Raise ValueError for what is no unit's name.

    Only the mesh knows the units that engines' own contracts declare; it refuses one that the model has no price for.
    """
    number = UNITS.get(unit)
    if number is None and not _UNIT_NAME(unit):
        raise ValueError(f"invalid unit {unit!r}: expected one of {', '.join(UNITS)}, or the name of an engine's own")
    return prices_pb2.SetPriceRequest(
        model=model,
        unit=usage_pb2.UNIT_UNSPECIFIED if number is None else number,
        unit_name=unit if number is None else "",
        nanos_per_million=nanos_per_million,
        from_ms=from_ms,
    )


def set_discount(
    *, subject: str, subject_id: str, model: str, basis_points: int | None, from_ms: int
) -> prices_pb2.SetDiscountRequest:
    """Return the request to set a discount. Raise ValueError for an unknown kind of subject."""
    if subject not in DISCOUNT_SUBJECTS:
        raise ValueError(f"unknown subject {subject!r}: expected one of {', '.join(DISCOUNT_SUBJECTS)}")
    return prices_pb2.SetDiscountRequest(
        subject=DISCOUNT_SUBJECTS[subject],
        subject_id=subject_id,
        model=model,
        basis_points=basis_points,
        from_ms=from_ms,
    )


def export_spend(
    *,
    tenant_id: str,
    key_id: str,
    user_id: str,
    run_id: str,
    model: str,
    service: str,
    from_ms: int,
    until_ms: int,
) -> admin_pb2.ExportSpendRequest:
    """Return the request for usage records as CSV."""
    return admin_pb2.ExportSpendRequest(
        tenant_id=tenant_id,
        key_id=key_id,
        user_id=user_id,
        run_id=run_id,
        model=model,
        service=service,
        from_ms=from_ms,
        until_ms=until_ms,
    )
