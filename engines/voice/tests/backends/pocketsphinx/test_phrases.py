"""Recordings split at pauses, with a detector that takes every byte above 127 for speech."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from enginehouse.engines.voice.backends.pocketsphinx._phrases import FRAME_MS, Phrase, PhraseSplitter

FRAME = 4
SPEECH, SILENCE = b"\xff", b"\x00"


def phrases(pcm: bytes, cuts: Sequence[int] = ()) -> list[Phrase]:
    cutting = PhraseSplitter(is_speech=lambda frame: frame[0] > 127, frame_bytes=FRAME)
    edges = [0, *sorted(min(cut, len(pcm)) for cut in cuts), len(pcm)]
    found = [phrase for start, end in pairwise(edges) for phrase in cutting.feed(pcm[start:end])]
    return found + list(cutting.finish())


def sound(*segments: tuple[bytes, int]) -> bytes:
    """Alternating speech and silence of the given milliseconds."""
    return b"".join(kind * FRAME * (length // FRAME_MS) for kind, length in segments)


def end_ms(phrase: Phrase) -> int:
    return phrase.start_ms + len(phrase.pcm) // FRAME * FRAME_MS


def test_silence_has_no_phrases() -> None:
    assert phrases(sound((SILENCE, 60_000))) == []
    assert phrases(b"") == []


def test_a_click_starts_no_phrase() -> None:
    assert phrases(sound((SILENCE, 900), (SPEECH, 90), (SILENCE, 900))) == []


def test_a_pause_ends_a_phrase_which_has_some_silence_around_it() -> None:
    recording = sound((SILENCE, 3_000), (SPEECH, 1_500), (SILENCE, 3_000), (SPEECH, 900), (SILENCE, 3_000))
    first, second = phrases(recording)
    assert (first.start_ms, end_ms(first)) == (2_790, 5_010)
    assert 7_200 <= second.start_ms < 7_500
    assert 8_400 < end_ms(second) <= 9_000


def test_a_short_pause_ends_only_a_long_phrase() -> None:
    pause = (SILENCE, 240)
    short = phrases(sound((SPEECH, 3_000), pause, (SPEECH, 3_000), (SILENCE, 900)))
    long = phrases(sound((SPEECH, 9_000), pause, (SPEECH, 3_000), (SILENCE, 900)))
    assert (len(short), len(long)) == (1, 2)


def test_speech_without_a_pause_is_cut_at_last() -> None:
    found = phrases(sound((SPEECH, 90_000)))
    assert [end_ms(phrase) - phrase.start_ms for phrase in found] == [30_000, 30_000, 30_000]


def test_the_end_of_the_recording_ends_the_phrase() -> None:
    [phrase] = phrases(sound((SPEECH, 600)) + b"\xff\xff")
    assert phrase.pcm == SPEECH * (600 // FRAME_MS * FRAME + 2)


RECORDINGS = st.lists(st.tuples(st.sampled_from([SPEECH, SILENCE]), st.integers(0, 12_000)), max_size=12)


@given(RECORDINGS, st.lists(st.integers(0, 20_000), max_size=8))
def test_the_result_does_not_depend_on_the_cuts(parts: list[tuple[bytes, int]], cuts: list[int]) -> None:
    recording = sound(*parts)
    assert phrases(recording, cuts) == phrases(recording)


@given(RECORDINGS)
def test_all_speech_is_in_one_phrase_each(parts: list[tuple[bytes, int]]) -> None:
    recording = sound(*parts)
    found = phrases(recording)
    inside = set()
    for phrase in found:
        at = phrase.start_ms // FRAME_MS * FRAME
        assert recording[at : at + len(phrase.pcm)] == phrase.pcm
        assert end_ms(phrase) - phrase.start_ms <= 30_000
        frames = set(range(at // FRAME, (at + len(phrase.pcm)) // FRAME))
        assert not frames & inside
        inside |= frames
    assert [phrase.start_ms for phrase in found] == sorted(phrase.start_ms for phrase in found)
    # Less than 150 ms of speech may be taken for a click, unless it is part of a phrase.
    frames = [recording[at] > 127 for at in range(0, len(recording), FRAME)]
    for at in range(len(frames) - 4):
        if all(frames[at : at + 5]) and at not in inside:
            assert at + 4 in inside, "speech that goes on after a phrase was cut is in the next"
