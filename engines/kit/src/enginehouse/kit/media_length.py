"""The length of a recording by its headers, from a few of its bytes: for reservations, never for bills.

Headers may lie. A recording is billed for what an engine decodes, and a grant's cap bounds that.
"""

from __future__ import annotations

from collections.abc import Iterator

MIN_BYTES_PER_SECOND = 500
"""4 kbit a second; hardly any speech is coded with less."""

_MPEG_BITRATES = (
    # kbit/s by index, of layer III: MPEG 1, then MPEG 2 and 2.5.
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_MPEG_RATES = (44_100, 48_000, 32_000)
_MAX_MS = 2**31 - 1
# The part at a file's beginning that is searched for a first frame or box.
_SEARCHED = 64 * 1024


def length_bound_ms(data: bytes | memoryview) -> int:
    """Return an upper bound on a recording's length, in milliseconds: the stated length and a little more, or where
    none can be read, the length of so many bytes at the lowest rate.
    """
    stated = stated_ms(data)
    if stated is None:
        return min(_MAX_MS, len(data) * 1000 // MIN_BYTES_PER_SECOND + 1)
    return min(_MAX_MS, stated + stated // 50 + 500)


def stated_ms(data: bytes | memoryview) -> int | None:
    """Return the length that a WAV, FLAC, Ogg, MP3, MP4 or M4A file states, in milliseconds; None if it states none."""
    view = memoryview(data)
    head = bytes(view[:12])
    try:
        if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
            return _wav(view)
        if head[:4] == b"fLaC":
            return _flac(view)
        if head[:4] == b"OggS":
            return _ogg(view)
        if head[4:8] == b"ftyp":
            return _mp4(view)
        return _mp3(view)
    except (IndexError, ZeroDivisionError):
        # Cut off, or malformed.
        return None


def _little(view: memoryview, at: int, size: int) -> int:
    if at + size > len(view):
        raise IndexError
    return int.from_bytes(view[at : at + size], "little")


def _big(view: memoryview, at: int, size: int) -> int:
    if at + size > len(view):
        raise IndexError
    return int.from_bytes(view[at : at + size], "big")


def _wav(view: memoryview) -> int | None:
    at, bytes_per_second = 12, 0
    while at + 8 <= min(len(view), _SEARCHED):
        kind, size = bytes(view[at : at + 4]), _little(view, at + 4, 4)
        if kind == b"fmt ":
            bytes_per_second = _little(view, at + 16, 4)
        elif kind == b"data":
            # The header of a stream states no length: the recording ends with the bytes that came.
            return min(size, len(view) - at - 8) * 1000 // bytes_per_second
        at += 8 + size + size % 2
    return None


def _flac(view: memoryview) -> int | None:
    # STREAMINFO is always the first block: 20 bits of rate, 8 of form, 36 of samples, from byte 18 of the file.
    packed = _big(view, 18, 8)
    rate, samples = packed >> 44, packed & (1 << 36) - 1
    return samples * 1000 // rate if samples else None


def _ogg(view: memoryview) -> int | None:
    head = bytes(view[:256])
    if (found := head.find(b"\x01vorbis")) >= 0:
        rate = _little(view, found + 12, 4)
    elif b"OpusHead" in head:
        rate = 48_000
    else:
        return None
    # The last page counts the samples up to its end.
    tail = bytes(view[-_SEARCHED:])
    last = tail.rfind(b"OggS")
    if last < 0 or last + 14 > len(tail):
        return None
    samples = int.from_bytes(tail[last + 6 : last + 14], "little", signed=True)
    return samples * 1000 // rate if samples >= 0 else None


def _boxes(view: memoryview, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the boxes between two offsets: kind, where the content begins, where it ends."""
    for _ in range(256):
        if at + 8 > end:
            return
        size, kind, begin = _big(view, at, 4), bytes(view[at + 4 : at + 8]), at + 8
        if size == 1:
            size, begin = _big(view, at + 8, 8), at + 16
        stop = end if size == 0 else min(end, at + size)
        if stop <= at + 7:
            return
        yield kind, begin, stop
        at = stop


def _mp4(view: memoryview) -> int | None:
    for kind, begin, end in _boxes(view, 0, len(view)):
        if kind != b"moov":
            continue
        for inner, at, _ in _boxes(view, begin, end):
            if inner == b"mvhd":
                long = view[at] == 1
                scale = _big(view, at + (20 if long else 12), 4)
                duration = _big(view, at + (24 if long else 16), 8 if long else 4)
                return duration * 1000 // scale if duration else None
    return None


def _mp3(view: memoryview) -> int | None:
    at = 0
    if bytes(view[:3]) == b"ID3":
        at = 10 + (view[6] << 21 | view[7] << 14 | view[8] << 7 | view[9])
    head = bytes(view[at : at + _SEARCHED])
    found = head.find(b"\xff")
    while 0 <= found < len(head) - 4:
        frame = _mpeg_frame(head[found : found + 4])
        if frame is not None and _followed(head, found, frame):
            bytes_per_second, samples, rate, side = frame
            # An encoder of variable rate writes the number of frames into the first one.
            tag = head[found + 4 + side : found + 16 + side]
            if tag[:4] in (b"Xing", b"Info") and len(tag) == 12 and tag[7] & 1:
                return int.from_bytes(tag[8:12], "big") * samples * 1000 // rate
            return (len(view) - at - found) * 1000 // bytes_per_second
        found = head.find(b"\xff", found + 1)
    return None


def _followed(head: bytes, found: int, frame: tuple[int, int, int, int]) -> bool:
    """Return whether another frame follows this one, since four bytes alone may mean anything."""
    bytes_per_second, samples, rate, _ = frame
    after = found + samples * bytes_per_second // rate + (head[found + 2] >> 1 & 1)
    return after + 4 > len(head) or _mpeg_frame(head[after : after + 4]) is not None


def _mpeg_frame(header: bytes) -> tuple[int, int, int, int] | None:
    """Return bytes a second, samples a frame, samples a second and bytes of side information of a layer III frame."""
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bitrate, rate = header[2] >> 4, header[2] >> 2 & 3
    if header[1] >> 5 != 7 or version == 1 or layer != 1 or not 0 < bitrate < 15 or rate == 3:
        return None
    first = version == 3
    samples_per_second = _MPEG_RATES[rate] >> (0 if first else 1 if version == 2 else 2)
    single = header[3] >> 6 == 3
    side = (17 if single else 32) if first else (9 if single else 17)
    return _MPEG_BITRATES[0 if first else 1][bitrate] * 125, 1152 if first else 576, samples_per_second, side
