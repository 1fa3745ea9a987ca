"""Containers of samples of a fixed size: the length is what came, whatever the header says."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from enginehouse.kit.media_length._frames import frames_ms
from enginehouse.kit.media_length._numbers import big, little

_UNKNOWN = 0xFFFFFFFF
_MAX_CHUNKS = 4096
# Formats of a WAV file whose samples have the size that the header says: PCM, floats, A-law, mu-law.
_PLAIN = frozenset({1, 3, 6, 7})
_EXTENSIBLE = 0xFFFE
_MPEG = frozenset({0x50, 0x55, 0xFF, 0x1600})
_W64_HEAD = 40
_AIFF_PLAIN = frozenset(
    {b"NONE", b"sowt", b"twos", b"raw ", b"fl32", b"FL32", b"fl64", b"FL64", b"in24", b"in32", b"alaw", b"ulaw"}
)
_AU_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
# A Core Audio file's data of unknown length.
_CAF_UNKNOWN = 2**64 - 1


def wav_ms(view: memoryview) -> int | None:
    """Return the length of a WAV file: RIFF, RF64, BW64 and RIFX."""
    kind = bytes(view[:4])
    if kind not in (b"RIFF", b"RF64", b"BW64", b"RIFX"):
        return None
    number = big if kind == b"RIFX" else little
    form: tuple[int, int] | None = None
    long_size, sounded, mpeg, beginning = 0, 0, False, 0
    at = 12
    for _ in range(_MAX_CHUNKS):
        if at + 8 > len(view):
            break
        name, size = bytes(view[at : at + 4]), number(view, at + 4, 4)
        begin = at + 8
        if name == b"ds64":
            long_size = little(view, begin + 8, 8)
        elif name == b"fmt " and form is None:
            tag = number(view, begin, 2)
            mpeg = tag in _MPEG
            form = _wav_rate(view, begin, size, read=number)
        elif name == b"data":
            if size == _UNKNOWN and 0 < long_size <= len(view) - begin:
                size = long_size
            # A stream's header is written before its end: it says 0 or the most that fits, and means what came.
            rest = len(view) - begin
            size = size if 0 < size < rest else rest
            beginning = beginning or begin
            sounded += size
        elif not _is_name(name):
            # The chunks end before the file does: what follows may be more of the sound.
            if beginning:
                sounded += len(view) - at
            break
        at = begin + size + size % 2
    if form is None or not beginning:
        return None
    if mpeg:
        return frames_ms(view[beginning:])
    length, per = form
    return sounded * 1000 * per // length


def _wav_rate(view: memoryview, at: int, size: int, *, read: Callable[[memoryview, int, int], int]) -> tuple[int, int]:
    """Return the format's rate as a fraction: bytes for so many seconds."""
    tag, channels, rate = read(view, at, 2), read(view, at + 2, 2), read(view, at + 4, 4)
    average, block, bits = read(view, at + 8, 4), read(view, at + 12, 2), read(view, at + 14, 2)
    if tag == _EXTENSIBLE and size >= 26:
        tag = read(view, at + 24, 2)
    if tag in _PLAIN and bits:
        # The average is often wrong, and nothing depends on it.
        return rate * channels * (-(-bits // 8)), 1
    if size >= 20 and (samples := read(view, at + 18, 2)) and block and tag in (2, 0x11, 0x31):
        return rate * block, samples
    return average, 1


def _is_name(name: bytes) -> bool:
    return all(0x20 <= byte < 0x7F for byte in name)


def w64_ms(view: memoryview) -> int | None:
    """Return the length of a Sony Wave64 file."""
    at, form = _W64_HEAD, None
    for _ in range(_MAX_CHUNKS):
        if at + 24 > len(view):
            return None
        name, size = bytes(view[at : at + 4]), little(view, at + 16, 8)
        if name == b"fmt ":
            form = _wav_rate(view, at + 24, size - 24, read=little)
        elif name == b"data" and form is not None:
            return _part(size - 24, len(view) - at - 24) * 1000 * form[1] // form[0]
        at += max(24, size + -size % 8)
    return None


def aiff_ms(view: memoryview) -> int | None:
    """Return the length of an AIFF or AIFF-C file."""
    if bytes(view[8:12]) not in (b"AIFF", b"AIFC"):
        return None
    bytes_per_second = 0.0
    rest = 0
    for name, begin, size in _big_chunks(view, 12):
        if name == b"COMM":
            channels, bits = big(view, begin, 2), big(view, begin + 6, 2)
            if size >= 22 and bytes(view[begin + 18 : begin + 22]) not in _AIFF_PLAIN:
                return None
            exponent, mantissa = big(view, begin + 8, 2), big(view, begin + 10, 8)
            rate = mantissa * 2.0 ** (exponent - 16383 - 63)
            bytes_per_second = rate * channels * (-(-bits // 8))
        elif name == b"SSND":
            rest = _part(size, len(view) - begin) - 8
    return int(rest * 1000 / bytes_per_second) if rest > 0 else None


def au_ms(view: memoryview) -> int | None:
    """Return the length of a Sun/NeXT file."""
    begin, size, form, rate, channels = struct.unpack(">5I", view[4:24])
    width = _AU_BYTES.get(form)
    if width is None:
        return None
    return int(_part(size, len(view) - begin) * 1000 // (rate * channels * width))


def caf_ms(view: memoryview) -> int | None:
    """Return the length of a Core Audio file whose packets have a fixed size."""
    at, packet_bytes, packet_frames, rate = 8, 0, 0, 0.0
    for _ in range(_MAX_CHUNKS):
        name, size = bytes(view[at : at + 4]), big(view, at + 4, 8)
        if name == b"desc":
            rate = struct.unpack(">d", view[at + 12 : at + 20])[0]
            packet_bytes, packet_frames = big(view, at + 28, 4), big(view, at + 32, 4)
        elif name == b"data":
            if not packet_bytes or not packet_frames:
                return None
            length = _part(0 if size == _CAF_UNKNOWN else size, len(view) - at - 12) - 4
            return int(length / packet_bytes * packet_frames * 1000 / rate)
        at += 12 + size
    return None


def _part(claimed: int, rest: int) -> int:
    """Return the bytes of a file's sound: what the header claims if the file holds as much, else what came."""
    return claimed if 0 < claimed < rest else max(0, rest)


def _big_chunks(view: memoryview, at: int) -> Iterator[tuple[bytes, int, int]]:
    for _ in range(_MAX_CHUNKS):
        if at + 8 > len(view):
            return
        name, size = bytes(view[at : at + 4]), big(view, at + 4, 4)
        yield name, at + 8, size
        at += 8 + size + size % 2
