"""WebM and Matroska: the time of the last block, for a recording that was streamed states no length."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from enginehouse.kit.media_length._numbers import big

_HEADER = re.compile(rb"\x1a\x45\xdf\xa3")
_CLUSTER = re.compile(rb"\x1f\x43\xb6\x75[\x01-\xff]", re.DOTALL)
_INFO = re.compile(rb"\x15\x49\xa9\x66")
_SCALE_ID, _DURATION_ID = 0x2AD7B1, 0x4489
_TIME_ID, _SIMPLE_BLOCK_ID, _GROUP_ID, _BLOCK_ID = 0xE7, 0xA3, 0xA0, 0xA1
_DEFAULT_SCALE = 1_000_000
# One block more may begin where the last one that is read does.
_BLOCK_MS = 120
_SEARCHED = 1 << 20


def matroska_ms(view: memoryview) -> int | None:
    """Return the length of a file, or of several joined to one."""
    starts = [found.start() for found in _HEADER.finditer(view)]
    lengths = [_one_ms(view[start:end]) for start, end in zip(starts, [*starts[1:], len(view)], strict=True)]
    known = [length for length in lengths if length is not None]
    return sum(known) if known and len(known) == len(lengths) else None


def _one_ms(view: memoryview) -> int | None:
    scale, stated = _info(view)
    reached = 0
    for found in _CLUSTER.finditer(view):
        time = _cluster_time(view, found.start())
        reached = max(reached, time)
    if reached:
        # Blocks are at most so far from their cluster's beginning as 16 bits say; see how far these are.
        return max(reached * scale // 1_000_000 + _BLOCK_MS, 0)
    return int(stated * scale / 1_000_000) if stated else None


def _info(view: memoryview) -> tuple[int, float]:
    """Return the nanoseconds of a unit of time, and the stated length in these units."""
    scale, stated = _DEFAULT_SCALE, 0.0
    found = _INFO.search(view[:_SEARCHED])
    if found is not None:
        at, size = _size(view, found.end())
        for kind, begin, end in _elements(view, at, min(len(view), at + (size or _SEARCHED))):
            if kind == _SCALE_ID:
                scale = big(view, begin, end - begin)
            elif kind == _DURATION_ID:
                form = ">d" if end - begin == 8 else ">f"
                stated = struct.unpack(form, view[begin:end])[0]
    return scale or _DEFAULT_SCALE, stated if 0 < stated < 2**53 else 0.0


def _cluster_time(view: memoryview, at: int) -> int:
    """Return the time of the last block of a cluster."""
    begin, size = _size(view, at + 4)
    end = len(view) if size is None else min(len(view), begin + size)
    time = last = 0
    for kind, start, stop in _elements(view, begin, end):
        if kind == _TIME_ID:
            time = last = big(view, start, stop - start)
        elif kind == _SIMPLE_BLOCK_ID:
            last = max(last, time + _block_time(view, start))
        elif kind == _GROUP_ID:
            for inner, place, _ in _elements(view, start, stop):
                if inner == _BLOCK_ID:
                    last = max(last, time + _block_time(view, place))
        elif kind > 0xFFFFFF:
            # Another cluster, after one of unknown size.
            break
    return last


def _block_time(view: memoryview, at: int) -> int:
    place, _ = _size(view, at)
    return int.from_bytes(view[place : place + 2], "big", signed=True)


def _elements(view: memoryview, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the elements between two places: kind, where the content begins, where it ends."""
    while at < end:
        length = 9 - view[at].bit_length()
        if length > 4 or at + length >= end:
            return
        kind = big(view, at, length)
        begin, size = _size(view, at + length)
        stop = end if size is None else min(end, begin + size)
        yield kind, begin, stop
        at = stop


def _size(view: memoryview, at: int) -> tuple[int, int | None]:
    """Return where the content begins whose size is written here, and the size; None for an unknown one."""
    length = 9 - view[at].bit_length()
    if length > 8:
        raise ValueError("no size")
    value = big(view, at, length) & (1 << 7 * length) - 1
    return at + length, None if value == (1 << 7 * length) - 1 else value
