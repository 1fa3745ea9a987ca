"""FLAC: the position of the last frame, for the header of a stream states no length, or one of the past."""

from __future__ import annotations

import re

from enginehouse.kit.media_length._numbers import big

_BEGINNING = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_SYNC = re.compile(rb"\xff[\xf8\xf9]")
# Frames are shorter than the last of these windows at the file's end.
_WINDOWS = (64 * 1024, 1 << 20, 16 << 20)
_BLOCKS = {1: 192, **{code: 576 << (code - 2) for code in range(2, 6)}, **{code: 1 << code for code in range(8, 16)}}


def flac_ms(view: memoryview) -> int | None:
    """Return the length of a FLAC file, or of several joined to one."""
    starts = [found.start() for found in _BEGINNING.finditer(view)]
    if not starts or starts[0] != 0:
        starts.insert(0, 0)
    lengths = [_one_ms(view[start:end]) for start, end in zip(starts, [*starts[1:], len(view)], strict=True)]
    known = [length for length in lengths if length is not None]
    return sum(known) if len(known) == len(lengths) else None


def _one_ms(view: memoryview) -> int | None:
    # STREAMINFO is always the first block: 20 bits of rate, 8 of form, 36 of samples, from byte 18 of the file.
    packed = big(view, 18, 8)
    rate, stated = packed >> 44, packed & (1 << 36) - 1
    block = big(view, 10, 2)
    last = _last_sample(view, block)
    if last is not None:
        return last * 1000 // rate
    return stated * 1000 // rate if stated else None


def _last_sample(view: memoryview, block: int) -> int | None:
    """Return the samples up to the end of the last frame."""
    for window in _WINDOWS:
        begin = max(42, len(view) - window)
        tail = bytes(view[begin:])
        for found in reversed([match.start() for match in _SYNC.finditer(tail)]):
            end = _frame_end(tail[found : found + 16], block)
            if end is not None:
                return end
        if begin == 42:
            break
    return None


def _frame_end(head: bytes, block: int) -> int | None:
    """Return the samples up to the end of the frame with this header; None if it is none (RFC 9639, 9.1)."""
    if len(head) < 6:
        return None
    size_code, rate_code = head[2] >> 4, head[2] & 15
    if size_code == 0 or rate_code == 15 or head[3] >> 4 > 10 or head[3] >> 1 & 7 == 3 or head[3] & 1:
        return None
    number, at = _coded_number(head, 4)
    if number is None:
        return None
    if size_code == 6:
        size, at = head[at] + 1, at + 1
    elif size_code == 7:
        size, at = int.from_bytes(head[at : at + 2], "big") + 1, at + 2
    else:
        size = _BLOCKS[size_code]
    at += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if at >= len(head) or _crc8(head[:at]) != head[at]:
        return None
    variable = head[1] & 1
    return number + size if variable else number * block + size


def _coded_number(head: bytes, at: int) -> tuple[int | None, int]:
    """Return a number coded as UTF-8 codes characters, but of up to 36 bits, and the place after it."""
    first = head[at]
    if first < 0x80:
        return first, at + 1
    more = 8 - (first ^ 0xFF).bit_length() - 1
    if not 1 <= more <= 6 or at + 1 + more > len(head):
        return None, at
    number = first & (1 << (6 - more)) - 1
    for byte in head[at + 1 : at + 1 + more]:
        if byte >> 6 != 2:
            return None, at
        number = number << 6 | byte & 0x3F
    return number, at + 1 + more


def _crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ (0x07 if value & 0x80 else 0)) & 0xFF
    return value
