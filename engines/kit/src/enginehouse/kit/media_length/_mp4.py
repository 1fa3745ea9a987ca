"""MP4, M4A, QuickTime: the samples of the audio track, and of its fragments; a header may be of before they came."""

from __future__ import annotations

from collections.abc import Iterator

from enginehouse.kit.media_length._numbers import big

_MAX_BOXES = 200_000
# The samples of a second that one packet of a codec decodes to, where it is the same for each.
_PACKET_SAMPLES = {b"mp4a": 1024, b"alac": 4096, b"Opus": 960, b".mp3": 1152, b"samr": 160, b"sawb": 320}
_CONTAINERS = (b"mdia", b"minf", b"stbl", b"trak", b"moov", b"moof", b"traf")


def mp4_ms(view: memoryview) -> int | None:
    """Return the length of the longest audio track, fragments and all."""
    tracks: dict[int, _Track] = {}
    longest = 0
    fragments: dict[int, int] = {}
    reached: dict[int, int] = {}
    for kind, begin, end in _boxes(view, 0, len(view)):
        if kind == b"moov":
            for inner, at, stop in _boxes(view, begin, end):
                if inner == b"trak":
                    track = _Track(view, at, stop)
                    if track.audio:
                        tracks[track.number] = track
                elif inner == b"mvhd":
                    longest = _duration_ms(view, at)
        elif kind == b"moof":
            for inner, at, stop in _boxes(view, begin, end):
                if inner == b"traf":
                    _read_fragment(view, at, stop, fragments, reached)
    if not tracks:
        return longest or None
    found = [track.milliseconds(fragments.get(number, 0), reached.get(number, 0)) for number, track in tracks.items()]
    return max(found) or longest or None


class _Track:
    """A track: its kind, its codec, and how long its samples are."""

    def __init__(self, view: memoryview, begin: int, end: int) -> None:
        self.audio = False
        self.number = 0
        self._scale = self._stated = self._summed = self._packets = self._rate = 0
        self._codec = b""
        for kind, at, stop in _within(view, begin, end):
            if kind == b"tkhd":
                self.number = big(view, at + (20 if view[at] == 1 else 12), 4)
            elif kind == b"mdhd":
                self._scale = big(view, at + (20 if view[at] == 1 else 12), 4)
                self._stated = _duration_ms(view, at)
            elif kind == b"hdlr":
                # Of two in a QuickTime track, the other tells where the data is.
                self.audio = self.audio or bytes(view[at + 8 : at + 12]) == b"soun"
            elif kind == b"stsd":
                self._codec = bytes(view[at + 12 : at + 16])
                self._rate = big(view, at + 40, 2) if at + 42 <= stop else 0
            elif kind == b"stsz":
                self._packets = big(view, at + 8, 4)
            elif kind == b"stts":
                for place in range(at + 8, min(stop, at + 8 + 8 * big(view, at + 4, 4), len(view) - 7), 8):
                    self._summed += big(view, place, 4) * big(view, place + 4, 4)

    def milliseconds(self, fragment_packets: int, reached: int) -> int:
        """Return the length by what is most: the sum of the samples, their number, the fragments' times.

        Args:
            fragment_packets: the number of samples in fragments.
            reached: the time at which the last fragment begins, in the track's units.
        """
        found = [self._summed * 1000 // self._scale, reached * 1000 // self._scale]
        samples = _PACKET_SAMPLES.get(self._codec)
        if samples is not None:
            # The rate that is named may be twice the core's, whose packets these are.
            rate = self._rate or self._scale
            found.append((self._packets + fragment_packets) * samples * 1000 // rate)
        return max(found) or self._stated


def _read_fragment(view: memoryview, begin: int, end: int, fragments: dict[int, int], reached: dict[int, int]) -> None:
    number = 0
    for kind, at, _ in _boxes(view, begin, end):
        if kind == b"tfhd":
            number = big(view, at + 4, 4)
        elif kind == b"tfdt":
            reached[number] = max(reached.get(number, 0), big(view, at + 4, 8 if view[at] == 1 else 4))
        elif kind == b"trun":
            fragments[number] = fragments.get(number, 0) + big(view, at + 4, 4)


def _duration_ms(view: memoryview, at: int) -> int:
    long = view[at] == 1
    scale = big(view, at + (20 if long else 12), 4)
    size = 8 if long else 4
    duration = big(view, at + (24 if long else 16), size)
    # All ones mean unknown.
    return 0 if duration == (1 << 8 * size) - 1 else duration * 1000 // scale


def _within(view: memoryview, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the boxes between two places and those in them, depth first."""
    for kind, at, stop in _boxes(view, begin, end):
        if kind in _CONTAINERS:
            yield from _within(view, at, stop)
        else:
            yield kind, at, stop


def _boxes(view: memoryview, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the boxes between two places: kind, where the content begins, where it ends."""
    for _ in range(_MAX_BOXES):
        if at + 8 > end:
            return
        size, kind, begin = big(view, at, 4), bytes(view[at + 4 : at + 8]), at + 8
        if size == 1:
            size, begin = big(view, at + 8, 8), at + 16
        stop = end if size == 0 else min(end, at + size)
        if stop < begin:
            return
        yield kind, begin, stop
        at = stop
