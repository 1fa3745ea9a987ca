"""Files that are frames one after the other: MPEG audio (MP3), AAC in ADTS, and AMR.

A header's count of frames tells of the first of several files joined to one, so frames are counted: all of a short
file, and of a long one those at many places.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

_MPEG1_KBPS = (
    # By layer: I, II, III.
    (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
)
_MPEG2_KBPS = (
    (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_MPEG_RATES = (44_100, 48_000, 32_000)
_AAC_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
_AMR = (13, 14, 16, 18, 20, 21, 27, 32, 6, 1, 1, 1, 1, 1, 1, 1)
_AMR_WIDE = (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 1, 1, 1, 1, 1, 1)
_AMR_MS = 20

# The part at a file's beginning that is searched for a first frame.
_SEARCHED = 64 * 1024
# A file up to this size is read whole; of a longer one, so many bytes at so many places.
_WHOLE = 512 * 1024
_PARTS = 64
_WINDOW = 8 * 1024
# A count of frames is believed while it differs from what the bytes say by less than one in so many.
_TOLERANCE = 5


class _Frame(NamedTuple):
    size: int
    samples: int
    rate: int


def frames_ms(view: memoryview) -> int | None:
    """Return the length of an MP3 or ADTS file; None where it has no frames."""
    head = bytes(view[: _SEARCHED + 16 * 1024])
    found = _next_frame(head, 0, min(len(head), _SEARCHED))
    if found is None:
        return None
    start, first = found
    counted = _counted_ms(view[start:])
    claimed = _claimed_ms(head[start : start + 256], first)
    if claimed is not None and abs(claimed - counted) * _TOLERANCE <= counted:
        # Of a long file's variable rate, the header knows better than a sample.
        return int(max(claimed, counted)) if len(view) <= _WHOLE else int(claimed)
    return int(counted)


def _counted_ms(view: memoryview) -> float:
    if len(view) <= _WHOLE:
        return _walked(bytes(view))[0]
    total = 0.0
    part = len(view) // _PARTS
    for number in range(_PARTS):
        milliseconds, covered = _walked(bytes(view[number * part : number * part + min(part, _WINDOW)]))
        if covered:
            total += milliseconds / covered * part
    return total * len(view) / (part * _PARTS)


def _walked(data: bytes) -> tuple[float, int]:
    """Return milliseconds of the frames in a part of a file, and the bytes from the first to the end of the last."""
    milliseconds = 0.0
    first = end = at = 0
    while (found := _next_frame(data, at, len(data))) is not None:
        at = found[0]
        frame: _Frame | None = found[1]
        if not milliseconds:
            first = at
        while frame is not None:
            milliseconds += frame.samples * 1000 / frame.rate
            at = end = at + frame.size
            frame = _frame(data, at)
    return milliseconds, end - first


def _next_frame(data: bytes, at: int, end: int) -> tuple[int, _Frame] | None:
    """Return the first frame that another follows, since four bytes alone may mean anything."""
    at = data.find(b"\xff", at, end)
    while at >= 0:
        frame = _frame(data, at)
        if frame is not None:
            after = at + frame.size
            if after + 8 > len(data) or _frame(data, after) is not None:
                return at, frame
        at = data.find(b"\xff", at + 1, end)
    return None


def _frame(data: bytes, at: int) -> _Frame | None:
    """Return the frame whose header is at that place, None where there is none."""
    if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] < 0xE0:
        return None
    if not data[at + 1] & 6:
        return _adts(data, at)
    version, layer = data[at + 1] >> 3 & 3, 4 - (data[at + 1] >> 1 & 3)
    bitrate, rate, padding = data[at + 2] >> 4, data[at + 2] >> 2 & 3, data[at + 2] >> 1 & 1
    if version == 1 or not 0 < bitrate < 15 or rate == 3:
        return None
    one = version == 3
    bits = (_MPEG1_KBPS if one else _MPEG2_KBPS)[layer - 1][bitrate] * 1000
    per_second = _MPEG_RATES[rate] >> (0 if one else 1 if version == 2 else 2)
    if layer == 1:
        return _Frame((12 * bits // per_second + padding) * 4, 384, per_second)
    samples = 576 if layer == 3 and not one else 1152
    return _Frame(samples // 8 * bits // per_second + padding, samples, per_second)


def _adts(data: bytes, at: int) -> _Frame | None:
    if at + 7 > len(data) or data[at + 1] < 0xF0:
        return None
    rate = data[at + 2] >> 2 & 15
    size = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
    if rate >= len(_AAC_RATES) or size < 8:
        return None
    return _Frame(size, 1024 * ((data[at + 6] & 3) + 1), _AAC_RATES[rate])


def _claimed_ms(head: bytes, first: _Frame) -> float | None:
    """Return the length by the count of frames that an encoder of variable rate writes into the first one."""
    for mark in (b"Xing", b"Info"):
        at = head.find(mark, 4, 48)
        if at >= 0 and len(head) >= at + 12 and head[at + 7] & 1:
            return int.from_bytes(head[at + 8 : at + 12], "big") * first.samples * 1000 / first.rate
    return None


def amr_ms(view: memoryview) -> int | None:
    """Return the length of an AMR file, narrow or wide band, of one channel."""
    head = bytes(view[:9])
    wide = head == b"#!AMR-WB\n"
    if not wide and not head.startswith(b"#!AMR\n"):
        return None
    sizes: Callable[[int], int] = (_AMR_WIDE if wide else _AMR).__getitem__
    data = bytes(view[:_WHOLE])
    begin = at = 9 if wide else 6
    count = 0
    while at < len(data):
        at += sizes(data[at] >> 3 & 15)
        count += 1
    if at == begin:
        return None
    return count * _AMR_MS * (len(view) - begin) // (at - begin)
