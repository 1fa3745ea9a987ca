"""Two curves over lease sizes as an SVG, without a library: two axes of logarithms and a few lines of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

_WIDTH, _HEIGHT = 720, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 80, 60, 60
_WRITES, _REFUSED = "#1f5fa8", "#b4441c"


class Curves(NamedTuple):
    """Central writes a second, and the share of payable requests refused, at each size."""

    name: str
    writes: Sequence[float]
    refused: Sequence[float]


def drawn(sizes: Sequence[float], curves: Sequence[Curves], *, title: str) -> str:
    """The picture.

    Args:
        sizes: seconds of traffic in a lease, ascending, each over 0.
        curves: at most two; the second is dashed.
        title: what stands above it.
    """
    writes = [share for each in curves for share in each.writes]
    low, high = math.floor(math.log10(min(writes))), math.ceil(math.log10(max(writes)))
    peak = max(0.0001, *(share for each in curves for share in each.refused)) * 1.25

    def x(size: float) -> float:
        share = math.log(size / sizes[0]) / math.log(sizes[-1] / sizes[0])
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(share: float) -> float:
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_WIDTH / 2, 26, title, size=15),
        _text(_WIDTH / 2, _HEIGHT - 14, "lease size, seconds of the key's recent traffic at a router"),
    ]
    for size in sizes:
        parts.append(_line([(x(size), y(0)), (x(size), y(1))], "#e4e4e4"))
        parts.append(_text(x(size), _HEIGHT - _BOTTOM + 20, f"{size:g}"))
    for power in range(low, high + 1):
        height = y((power - low) / (high - low))
        parts.append(_line([(_LEFT, height), (_WIDTH - _RIGHT, height)], "#e4e4e4"))
        parts.append(_text(_LEFT - 8, height + 4, f"{10**power:,}", colour=_WRITES, anchor="end"))
    for step in range(6):
        label = f"{peak * step / 5:.2%}"
        parts.append(_text(_WIDTH - _RIGHT + 8, y(step / 5) + 4, label, colour=_REFUSED, anchor="start"))
    for dashes, each in zip(("", "6 5"), curves, strict=False):
        at_writes = [
            (x(size), y((math.log10(share) - low) / (high - low)))
            for size, share in zip(sizes, each.writes, strict=True)
        ]
        at_refused = [(x(size), y(share / peak)) for size, share in zip(sizes, each.refused, strict=True)]
        for points, colour in ((at_writes, _WRITES), (at_refused, _REFUSED)):
            parts.append(_line(points, colour, width=2.5, dashes=dashes))
            parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="{colour}"/>' for px, py in points]
        parts.append(_text(at_writes[-2][0], at_writes[-2][1] - 10, each.name, colour=_WRITES))
    parts.append(_text(_LEFT, 48, "draws and returns a second (logarithmic)", colour=_WRITES, anchor="start"))
    parts.append(_text(_WIDTH - _RIGHT, 48, "payable requests refused", colour=_REFUSED, anchor="end"))
    return "\n".join([*parts, "</svg>", ""])


def _line(points: Sequence[tuple[float, float]], colour: str, *, width: float = 1, dashes: str = "") -> str:
    where = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
    return (
        f'<polyline points="{where}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-dasharray="{dashes}"/>'
    )


def _text(px: float, py: float, words: str, *, size: int = 12, colour: str = "#222", anchor: str = "middle") -> str:
    place = f'x="{px:.1f}" y="{py:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="{size}" fill="{colour}">{words}</text>'
