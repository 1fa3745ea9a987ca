"""The measure of a recording, by what it begins with."""

from __future__ import annotations

import struct
from collections.abc import Callable

from enginehouse.kit.media_length._flac import flac_ms
from enginehouse.kit.media_length._frames import amr_ms, frames_ms
from enginehouse.kit.media_length._matroska import matroska_ms
from enginehouse.kit.media_length._mp4 import mp4_ms
from enginehouse.kit.media_length._numbers import big
from enginehouse.kit.media_length._ogg import ogg_ms
from enginehouse.kit.media_length._pcm import aiff_ms, au_ms, caf_ms, w64_ms, wav_ms

MIN_BYTES_PER_SECOND = 500
"""4 kbit a second; hardly any speech is coded with less."""

_MAX_MS = 2**31 - 1
_MAX_TAGS = 16

_BY_MARK: tuple[tuple[int, bytes, Callable[[memoryview], int | None]], ...] = (
    (8, b"WAVE", wav_ms),
    (0, b"riff\x2e\x91\xcf\x11", w64_ms),
    (0, b"FORM", aiff_ms),
    (0, b".snd", au_ms),
    (0, b"caff", caf_ms),
    (0, b"fLaC", flac_ms),
    (0, b"OggS", ogg_ms),
    (4, b"ftyp", mp4_ms),
    (4, b"moov", mp4_ms),
    (4, b"mdat", mp4_ms),
    (4, b"free", mp4_ms),
    (4, b"wide", mp4_ms),
    (0, b"\x1a\x45\xdf\xa3", matroska_ms),
    (0, b"#!AMR", amr_ms),
)


def length_bound_ms(data: bytes | memoryview) -> int:
    """Return an upper bound on a recording's length, in milliseconds: the measured length and a little more, or where
    it can't be measured, the length of so many bytes at the lowest rate.
    """
    measured = measured_ms(data)
    if measured is None:
        return min(_MAX_MS, len(data) * 1000 // MIN_BYTES_PER_SECOND + 1)
    return min(_MAX_MS, measured + measured // 50 + 500)


def measured_ms(data: bytes | memoryview) -> int | None:
    """Return the length of a recording in milliseconds, by its header where its bytes agree, else by its bytes; None
    for a file that is not understood.

    It reads WAV (RF64, BW64, RIFX), W64, AIFF, AU, CAF, FLAC, Ogg, MP3, AAC, MP4 and its kin, WebM, Matroska and AMR.
    """
    try:
        view = _after_tags(memoryview(data))
        for offset, mark, measure in _BY_MARK:
            if bytes(view[offset : offset + len(mark)]) == mark:
                return measure(view)
        return frames_ms(view)
    except (IndexError, ZeroDivisionError, OverflowError, ValueError, struct.error):
        # Cut off, or malformed.
        return None


def _after_tags(view: memoryview) -> memoryview:
    """Return the file without the ID3 tags that players put before any format."""
    for _ in range(_MAX_TAGS):
        if bytes(view[:3]) != b"ID3" or len(view) < 10:
            break
        size = 0
        for byte in view[6:10]:
            size = size << 7 | byte & 0x7F
        footer = 10 if big(view, 5, 1) & 0x10 else 0
        view = view[10 + size + footer :]
    return view
