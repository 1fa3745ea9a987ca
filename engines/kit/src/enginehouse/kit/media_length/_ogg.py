"""Ogg: the positions of the pages, chain by chain, for they begin anew with each."""

from __future__ import annotations

import re
from collections.abc import Iterator

from enginehouse.kit.media_length._numbers import big, little

_FIRST_PAGE = re.compile(rb"OggS\x00[\x02\x03\x06\x07]", re.DOTALL)
_PAGE = re.compile(rb"OggS\x00[\x00-\x07]", re.DOTALL)
_PAGE_HEAD = 27
_WINDOW = 128 * 1024
# A stream that was cut out of a longer one begins later than this.
_LATE_S = 60
# Of one channel or two; more is a sign of positions that are not to be believed.
_MAX_BYTES_PER_SECOND = 160_000
_NOWHERE = -1


def ogg_ms(view: memoryview) -> int | None:
    """Return the length of the audio of an Ogg file: chained, multiplexed, or plain."""
    total, known = 0, False
    for begin, end, rates in _chains(view):
        if not rates:
            continue
        known = True
        lengths = [_stream_ms(view[begin:end], serial, rate) for serial, rate in rates.items() if rate]
        if not lengths:
            return None
        longest = max(lengths)
        if len(rates) == 1 and (end - begin) * 1000 > (longest + 1000) * _MAX_BYTES_PER_SECOND:
            return None
        total += longest
    return total if known else None


def _chains(view: memoryview) -> Iterator[tuple[int, int, dict[int, int]]]:
    """Yield each part whose streams begin together: where it begins and ends, and its streams' rates by number."""
    begin, after, rates = 0, 0, dict[int, int]()
    for found in _FIRST_PAGE.finditer(view):
        at = found.start()
        if at + _PAGE_HEAD > len(view):
            break
        if rates and at > after:
            yield begin, at, rates
            begin, rates = at, {}
        serial = little(view, at + 14, 4)
        content = at + _PAGE_HEAD + view[at + 26]
        after = content + sum(view[at + _PAGE_HEAD : content])
        rates[serial] = _rate(view[content : content + 128])
        if rates[serial] < 0:
            # Pictures, or words to read along; kept so that what lies together stays together.
            rates[serial] = 0
    if rates:
        yield begin, len(view), rates


def _rate(packet: memoryview) -> int:
    """Return the positions a second of a stream, by its first packet; -1 for what is no audio."""
    head = bytes(packet)
    if head.startswith(b"\x01vorbis"):
        return little(packet, 12, 4)
    if head.startswith(b"OpusHead"):
        return 48_000
    if head.startswith(b"Speex   "):
        return little(packet, 36, 4)
    if head.startswith(b"\x7fFLAC"):
        return big(packet, 27, 8) >> 44
    return -1


def _stream_ms(view: memoryview, serial: int, rate: int) -> int:
    first = next((granule for granule in _granules(view[: 4 * _WINDOW], serial) if granule > 0), 0)
    window = _WINDOW
    last = 0
    while True:
        last = max(_granules(view[max(0, len(view) - window) :], serial), default=0)
        if last > 0 or window >= len(view):
            break
        window *= 8
    if first > _LATE_S * rate:
        last -= first
    return max(0, last) * 1000 // rate


def _granules(view: memoryview, serial: int) -> Iterator[int]:
    for found in _PAGE.finditer(view):
        at = found.start()
        if at + _PAGE_HEAD <= len(view) and little(view, at + 14, 4) == serial:
            granule = int.from_bytes(view[at + 6 : at + 14], "little", signed=True)
            if granule != _NOWHERE:
                yield granule
