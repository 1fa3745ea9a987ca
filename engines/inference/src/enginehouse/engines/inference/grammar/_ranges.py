"""GBNF for the decimal numbers between two whole numbers."""

from __future__ import annotations

from enginehouse.engines.inference.grammar._gbnf import one_of

MAX_DIGITS = 16
_LARGEST = 10**MAX_DIGITS - 1


def integers(low: int | None, high: int | None) -> str | None:
    """Return GBNF for the integers from `low` to `high`, where None is no bound (of 16 digits); None if there are
    none.
    """
    low = -_LARGEST if low is None else max(low, -_LARGEST)
    high = _LARGEST if high is None else min(high, _LARGEST)
    alternatives = []
    if high >= max(low, 0):
        alternatives += _naturals(max(low, 0), high)
    if low < 0 and low <= high:
        alternatives += [f'"-" {magnitude}' for magnitude in _naturals(max(1, -high), -low)]
    return one_of(alternatives) if alternatives else None


def decimals(low: int | None, high: int | None) -> str | None:
    """Return GBNF for the decimal numbers between whole bounds `low` and `high`; None if there are none."""
    low = -_LARGEST if low is None else max(low, -_LARGEST)
    high = _LARGEST if high is None else min(high, _LARGEST)
    if low > high:
        return None
    alternatives = []
    if high >= 0:
        alternatives += _with_fractions(max(low, 0), high)
    if low < 0:
        alternatives += [f'"-" {magnitude}' for magnitude in _with_fractions(max(0, -high), -low)]
    return one_of(alternatives)


def _with_fractions(low: int, high: int) -> list[str]:
    """Return numbers from `low` to `high`, both at least 0: below the last whole number any fraction may follow."""
    ends = [f'"{high}" ("." "0"{{1,3}})?']
    if low < high:
        ends.append(f'{one_of(_naturals(low, high - 1))} ("." digits)?')
    return ends


def _naturals(low: int, high: int) -> list[str]:
    """Return whole numbers from `low` to `high`, both at least 0, by their number of digits."""
    alternatives = []
    for length in range(len(str(low)), len(str(high)) + 1):
        first = max(low, 10 ** (length - 1) if length > 1 else 0)
        last = min(high, 10**length - 1)
        alternatives += _same_length(str(first), str(last))
    return alternatives


def _same_length(low: str, high: str) -> list[str]:
    """Return digit strings between two of equal length."""
    if len(low) == 1:
        return [_digit(low, high)]
    width = len(low) - 1
    if low[1:] == "0" * width and high[1:] == "9" * width:
        return [f"{_digit(low[0], high[0])} [0-9]{{{width}}}"]
    if low[0] == high[0]:
        return [f'"{low[0]}" {one_of(_same_length(low[1:], high[1:]))}']
    alternatives = [f'"{low[0]}" {one_of(_same_length(low[1:], "9" * width))}']
    if int(high[0]) - int(low[0]) > 1:
        alternatives.append(f"[{int(low[0]) + 1}-{int(high[0]) - 1}] [0-9]{{{width}}}")
    alternatives.append(f'"{high[0]}" {one_of(_same_length("0" * width, high[1:]))}')
    return alternatives


def _digit(low: str, high: str) -> str:
    return f'"{low}"' if low == high else f"[{low}-{high}]"
