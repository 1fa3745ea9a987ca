"""What listens with a Whisper, whichever runtime computes it: windows, threads, live utterances."""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import numpy as np

from enginehouse.engines.voice.backends._threads import Outlet, Threads
from enginehouse.engines.voice.backends.base import Listening, LiveUtterance, Samples, Stretch
from enginehouse.engines.voice.backends.whisper._languages import code_of, tag_of
from enginehouse.engines.voice.backends.whisper._segments import joined, stretch_of
from enginehouse.engines.voice.backends.whisper._transcriber import Ask, Piece, Transcriber
from enginehouse.engines.voice.backends.whisper._windows import RATE, Window, Windows
from enginehouse.kit.validation import invalid, shorten

# Pieces that wait for a slow reader.
_WAITING = 16
# How much more of an utterance must have been heard before all of it is heard again, in samples.
_AGAIN = RATE


class WhisperRecogniser:
    """Listens with a Whisper.

    Args:
        name: the model's, for errors.
        transcriber: the Whisper.
        slots: how many windows it hears at once.
        skip_silence: whether what is no speech is left out.
    """

    def __init__(self, *, name: str, transcriber: Transcriber, slots: int, skip_silence: bool) -> None:
        self._name = name
        self._transcriber = transcriber
        self._slots = slots
        self._skip_silence = skip_silence
        self._threads = Threads(name=name, slots=slots, waiting=_WAITING)
        self._codes = frozenset(transcriber.languages)
        self._languages = [tag_of(code) for code in transcriber.languages]
        self._translates = transcriber.translates

    @property
    def sample_rate(self) -> int:
        """16,000 samples a second."""
        return RATE

    @property
    def slots(self) -> int:
        """How many windows it hears at once."""
        return self._slots

    @property
    def languages(self) -> Sequence[str]:
        """Some hundred of them; English alone of a model for it alone."""
        return self._languages

    @property
    def translates(self) -> bool:
        """Yes, unless it is for English alone."""
        return self._translates

    async def listen(self, audio: AsyncIterator[Samples], how: Listening) -> AsyncGenerator[Stretch, None]:
        """Hears a window of up to 30 s at a time, cut where somebody pauses. A language is detected in the first."""
        hearing = _Hearing(self._ask(how), detects=not how.language)
        windows = Windows(skip_silence=self._skip_silence)
        async for samples in audio:
            # Looking for speech in hours of sound at once would hold up everybody else.
            for begin in range(0, len(samples), RATE):
                for window in windows.push(samples[begin : begin + RATE]):
                    async with aclosing(self._hear(window, hearing)) as parts:
                        async for _, stretch in parts:
                            yield stretch
        for window in windows.finish():
            async with aclosing(self._hear(window, hearing)) as parts:
                async for _, stretch in parts:
                    yield stretch

    @asynccontextmanager
    async def live(self, how: Listening) -> AsyncGenerator[LiveUtterance, None]:
        """Hears what is held of an utterance, 30 s at most, again each time that a second more of it was said."""
        yield _Live(self, _Hearing(self._ask(how), detects=not how.language), Windows(skip_silence=self._skip_silence))

    async def close(self) -> None:
        """Ends what is heard, and frees the model's memory."""
        await self._threads.close()
        del self._transcriber
        gc.collect()

    def _ask(self, how: Listening) -> Ask:
        code = code_of(how.language) if how.language else ""
        if how.language and code not in self._codes:
            raise invalid(
                "options.language",
                f"{shorten(how.language)} is not understood by {self._name!r}; it understands "
                f"{', '.join(self._languages)}",
            )
        if how.translate and not self._translates:
            raise invalid("options.translate", f"{self._name!r} understands English alone, and translates nothing")
        return Ask(language=code, translate=how.translate, word_times=how.word_times, prompt=how.prompt)

    async def _hear(self, window: Window, hearing: _Hearing) -> AsyncGenerator[tuple[Piece, Stretch], None]:
        ask = hearing.ask

        def work(outlet: Outlet[Piece]) -> None:
            sound = np.divide(window.samples, 32768, dtype=np.float32)
            for piece in self._transcriber.transcribe(sound, ask, outlet.check):
                if piece.text.strip():
                    outlet.put(piece)

        async with aclosing(self._threads.run(work)) as batches:
            async for batch in batches:
                for piece in batch:
                    yield piece, hearing.place(piece, window)


class _Hearing:
    """What is known of a recording from its windows before."""

    def __init__(self, ask: Ask, *, detects: bool) -> None:
        self.ask = ask
        self._detects = detects
        self._heard_ms = 0

    def copy(self, *, quick: bool) -> _Hearing:
        """What is known so far, for a try that is to change nothing."""
        copied = _Hearing(dataclasses.replace(self.ask, quick=quick), detects=self._detects)
        copied._heard_ms = self._heard_ms
        return copied

    def place(self, piece: Piece, window: Window) -> Stretch:
        """The piece in the recording's time. A language that was detected is the rest of the recording's."""
        stretch = stretch_of(piece, window, after_ms=self._heard_ms, detected=self._detects)
        self._heard_ms = stretch.end_ms
        if not self.ask.language:
            self.ask = dataclasses.replace(self.ask, language=piece.language)
        return stretch


class _Live:
    """One utterance. Its full windows are heard once; what came after them, again and again until it is whole."""

    def __init__(self, recogniser: WhisperRecogniser, hearing: _Hearing, windows: Windows) -> None:
        self._recogniser = recogniser
        self._hearing = hearing
        self._windows = windows
        self._settled: list[tuple[Piece, Stretch]] = []
        self._unheard = 0
        self._patience = _AGAIN
        self._told = ""

    async def feed(self, samples: Samples, *, interim: bool) -> Stretch | None:
        """Takes the next samples; with `interim`, hears what there is where a second of it is new."""
        self._unheard += len(samples)
        for window in self._windows.push(samples):
            self._settled += await self._parts(window, self._hearing)
        if not interim or self._unheard < self._patience:
            return None
        self._unheard = 0
        window_so_far = self._windows.so_far()
        began = time.monotonic()
        parts = await self._parts(window_so_far, self._hearing.copy(quick=True)) if window_so_far else []
        # Hearing takes half of the time at most: a model slower than that would fall ever further behind the speaker.
        self._patience = max(_AGAIN, round(2 * RATE * (time.monotonic() - began)))
        found = joined([*self._settled, *parts])
        if found is None or found.text == self._told:
            return None
        self._told = found.text
        return found

    async def finish(self) -> Stretch | None:
        """Hears the rest of it properly."""
        for window in self._windows.finish():
            self._settled += await self._parts(window, self._hearing)
        return joined(self._settled)

    async def _parts(self, window: Window, hearing: _Hearing) -> list[tuple[Piece, Stretch]]:
        async with aclosing(self._recogniser._hear(window, hearing)) as parts:
            return [part async for part in parts]
