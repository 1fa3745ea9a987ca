"""Prices, costs and the meter: whatever is counted in whatever order, a cap is never passed."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.api.common.v1.usage_pb2 import UNIT_CHARACTERS, UNIT_INPUT_TOKENS, UNIT_OUTPUT_TOKENS
from enginehouse.kit.errors import Reason
from enginehouse.kit.pricing import MAX_NANOS, UNITS, Unit, affordable, cost_nanos, price_numerator
from enginehouse.kit.usage.meter import COUNTERS, CapExceeded, Meter

units = st.sampled_from(sorted(UNITS.values()))
prices = st.dictionaries(units, st.integers(0, 10**12), max_size=4)
amounts = st.dictionaries(units, st.integers(0, 10**7), max_size=4)


@given(prices, amounts)
def test_a_cost_is_the_exact_sum_rounded_up_once(price: dict[Unit, int], amount: dict[Unit, int]) -> None:
    exact = sum((Fraction(price.get(unit, 0) * n, 10**6) for unit, n in amount.items()), Fraction())
    assert cost_nanos(price, amount) == ceil(exact)


def test_costs_that_do_not_fit_and_negative_numbers_are_refused() -> None:
    with pytest.raises(OverflowError, match=str(MAX_NANOS)):
        cost_nanos({UNIT_INPUT_TOKENS: 10**13}, {UNIT_INPUT_TOKENS: 10**13})
    with pytest.raises(ValueError, match="input_tokens: amount -1"):
        cost_nanos({}, {UNIT_INPUT_TOKENS: -1})
    with pytest.raises(ValueError, match="negative"):
        cost_nanos({UNIT_INPUT_TOKENS: -1}, {UNIT_INPUT_TOKENS: 1})
    with pytest.raises(ValueError, match="negative"):
        Meter(prices={}, cap_nanos=-1)
    with pytest.raises(ValueError, match="cannot count -1"):
        Meter(prices={}, cap_nanos=1).take(UNIT_INPUT_TOKENS, -1)


@given(prices, amounts, units, st.integers(0, 10**15))
def test_affordable_is_the_greatest_number_that_fits(
    price: dict[Unit, int], spent: dict[Unit, int], unit: Unit, cap: int
) -> None:
    per_million = price.get(unit, 0)
    numerator = price_numerator(price, spent)
    n = affordable(per_million, spent_numerator=numerator, cap_nanos=cap)
    if per_million == 0:
        assert n == MAX_NANOS
        return
    assert n == 0 or ceil(Fraction(numerator + n * per_million, 10**6)) <= cap
    assert ceil(Fraction(numerator + (n + 1) * per_million, 10**6)) > cap


@given(prices, st.integers(0, 10**9), st.lists(st.tuples(units, st.integers(0, 10**6), st.booleans()), max_size=30))
def test_no_sequence_of_counting_costs_more_than_the_cap(
    price: dict[Unit, int], cap: int, steps: list[tuple[Unit, int, bool]]
) -> None:
    meter = Meter(prices=price, cap_nanos=cap)
    counted: dict[Unit, int] = {}
    for unit, n, whole in steps:
        room = meter.affordable(unit)
        if whole:
            exceeds = meter.would_exceed(unit, n)
            assert exceeds == (n > room)
            before = meter.amounts
            if exceeds:
                with pytest.raises(CapExceeded):
                    meter.add(unit, n)
                assert meter.amounts == before
                assert meter.capped
                continue
            meter.add(unit, n)
            taken = n
        else:
            taken = meter.take(unit, n)
            assert taken == min(n, room)
            assert meter.capped or taken == n
        counted[unit] = counted.get(unit, 0) + taken
        assert meter.cost_nanos <= cap
        assert meter.cost_nanos == cost_nanos(price, meter.amounts)
    assert meter.amounts == {unit: n for unit, n in counted.items() if n}
    usage = meter.usage()
    assert {entry.unit: entry.amount for entry in usage.units} == meter.amounts
    assert usage.cost_nanos == meter.cost_nanos


def test_a_closed_meter_counts_nothing_and_still_tells() -> None:
    counters = [0] * 16
    meter = Meter(prices={UNIT_OUTPUT_TOKENS: 1_000_000}, cap_nanos=100, counters=counters)
    assert meter.take(UNIT_OUTPUT_TOKENS, 7) == 7
    assert counters[UNIT_OUTPUT_TOKENS] == 7
    meter.close()
    counters[UNIT_OUTPUT_TOKENS] = 99  # another call has the slot now
    assert meter.take(UNIT_OUTPUT_TOKENS) == 0
    assert meter.affordable(UNIT_CHARACTERS) == 0
    with pytest.raises(CapExceeded) as caught:
        meter.add(UNIT_OUTPUT_TOKENS)
    assert caught.value.reason is Reason.BUDGET_EXHAUSTED
    assert meter.amounts == {UNIT_OUTPUT_TOKENS: 7}
    assert (meter.cost_nanos, meter.remaining_nanos) == (7, 93)


def test_a_unit_that_only_has_a_name_is_counted_where_the_grant_lists_it() -> None:
    meter = Meter(prices={"frames": 2_000_000, "steps": 0}, cap_nanos=10)
    assert meter.take("frames", 9) == 5
    assert meter.capped
    assert meter.take("steps", 7) == 7
    assert (meter.amounts, meter.cost_nanos) == ({"frames": 5, "steps": 7}, 10)
    assert [(entry.unit, entry.name, entry.amount) for entry in meter.usage().units] == [
        (0, "frames", 5),
        (0, "steps", 7),
    ]
    with pytest.raises(ValueError, match="unit 'frame' is not in the grant, which lists frames, steps; declare it"):
        meter.take("frame")
    with pytest.raises(ValueError, match="'images' has a number: count it by UNIT_IMAGES"):
        meter.take("images")
    with pytest.raises(ValueError, match="at most 16 can be counted"):
        Meter(prices={f"u{number}": 1 for number in range(17)}, cap_nanos=1)


def test_what_is_unsent_is_counted_at_the_end_of_its_block_or_never() -> None:
    on_record = [0] * COUNTERS
    meter = Meter(prices={UNIT_OUTPUT_TOKENS: 1_000_000}, cap_nanos=10, counters=on_record)
    meter.take(UNIT_OUTPUT_TOKENS, 2)
    with meter.unsent():
        assert meter.take(UNIT_OUTPUT_TOKENS, 5) == 5
        assert (meter.amount(UNIT_OUTPUT_TOKENS), meter.cost_nanos) == (7, 7)
        assert on_record[UNIT_OUTPUT_TOKENS] == 2
    assert on_record[UNIT_OUTPUT_TOKENS] == meter.amount(UNIT_OUTPUT_TOKENS) == 7
    with pytest.raises(KeyError), meter.unsent():
        assert meter.take(UNIT_OUTPUT_TOKENS, 5) == 3
        assert meter.capped
        raise KeyError
    assert (meter.cost_nanos, meter.capped, on_record[UNIT_OUTPUT_TOKENS]) == (7, False, 7)
    assert meter.take(UNIT_OUTPUT_TOKENS, 3) == 3
    assert on_record[UNIT_OUTPUT_TOKENS] == 10
