"""What listens with a Whisper, whichever runtime computes it: windows, threads, live utterances."""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import numpy as np

from enginehouse.engines.voice.backends._threads import ModelThreads, OutputSink
from enginehouse.engines.voice.backends.base import LiveUtterance, RecognitionOptions, Samples, Segment
from enginehouse.engines.voice.backends.whisper._languages import code_of, tag_of
from enginehouse.engines.voice.backends.whisper._runtime import DecodingOptions, WhisperRuntime, WhisperSegment
from enginehouse.engines.voice.backends.whisper._segments import joined, segment_of
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
        runtime: the Whisper.
        slots: how many windows it hears at once.
        skip_silence: whether what is no speech is left out.
    """

    def __init__(self, *, name: str, runtime: WhisperRuntime, slots: int, skip_silence: bool) -> None:
        self._name = name
        self._runtime = runtime
        self._slots = slots
        self._skip_silence = skip_silence
        self._threads = ModelThreads(name=name, slots=slots, waiting=_WAITING)
        self._codes = frozenset(runtime.languages)
        self._languages = [tag_of(code) for code in runtime.languages]
        self._translates = runtime.translates

    @property
    def sample_rate(self) -> int:
        """16,000 samples a second."""
        return RATE

    @property
    def slots(self) -> int:
        """The number of windows it hears at once."""
        return self._slots

    @property
    def languages(self) -> Sequence[str]:
        """Some hundred of them; English alone of a model for it alone."""
        return self._languages

    @property
    def translates(self) -> bool:
        """Yes, unless it is for English alone."""
        return self._translates

    async def transcribe(
        self, audio: AsyncIterator[Samples], options: RecognitionOptions
    ) -> AsyncGenerator[Segment, None]:
        """Hear a window of up to 30 s at a time, cut where somebody pauses. A language is detected in the first."""
        state = _RecordingState(self._decoding_options(options), detects=not options.language)
        windows = Windows(skip_silence=self._skip_silence)
        async for samples in audio:
            # Looking for speech in hours of sound at once would hold up everybody else.
            for begin in range(0, len(samples), RATE):
                for window in windows.push(samples[begin : begin + RATE]):
                    async with aclosing(self._transcribe_window(window, state)) as parts:
                        async for _, segment in parts:
                            yield segment
        for window in windows.finish():
            async with aclosing(self._transcribe_window(window, state)) as parts:
                async for _, segment in parts:
                    yield segment

    @asynccontextmanager
    async def live(self, options: RecognitionOptions) -> AsyncGenerator[LiveUtterance, None]:
        """Hear what is held of an utterance, 30 s at most, again each time that a second more of it was said."""
        yield _Live(
            self,
            _RecordingState(self._decoding_options(options), detects=not options.language),
            Windows(skip_silence=self._skip_silence),
        )

    async def close(self) -> None:
        """End what is heard, and free the model's memory."""
        await self._threads.close()
        del self._runtime
        gc.collect()

    def _decoding_options(self, options: RecognitionOptions) -> DecodingOptions:
        code = code_of(options.language) if options.language else ""
        if options.language and code not in self._codes:
            raise invalid(
                "options.language",
                f"{shorten(options.language)} is not understood by {self._name!r}; it understands "
                f"{', '.join(self._languages)}",
            )
        if options.translate and not self._translates:
            raise invalid("options.translate", f"{self._name!r} understands English alone, and translates nothing")
        return DecodingOptions(
            language=code, translate=options.translate, word_times=options.word_times, prompt=options.prompt
        )

    async def _transcribe_window(
        self, window: Window, state: _RecordingState
    ) -> AsyncGenerator[tuple[WhisperSegment, Segment], None]:
        decoding = state.decoding

        def work(sink: OutputSink[WhisperSegment]) -> None:
            audio = np.divide(window.samples, 32768, dtype=np.float32)
            for decoded in self._runtime.transcribe(audio, decoding, sink.check):
                if decoded.text.strip():
                    sink.put(decoded)

        async with aclosing(self._threads.run(work)) as batches:
            async for batch in batches:
                for decoded in batch:
                    yield decoded, state.place(decoded, window)


class _RecordingState:
    """What is known of a recording from its windows before."""

    def __init__(self, decoding: DecodingOptions, *, detects: bool) -> None:
        self.decoding = decoding
        self._detects = detects
        self._transcribed_ms = 0

    def copy(self, *, quick: bool) -> _RecordingState:
        """What is known so far, for a try that is to change nothing."""
        copied = _RecordingState(dataclasses.replace(self.decoding, quick=quick), detects=self._detects)
        copied._transcribed_ms = self._transcribed_ms
        return copied

    def place(self, decoded: WhisperSegment, window: Window) -> Segment:
        """The piece in the recording's time. A language that was detected is the rest of the recording's."""
        segment = segment_of(decoded, window, after_ms=self._transcribed_ms, detected=self._detects)
        self._transcribed_ms = segment.end_ms
        if not self.decoding.language:
            self.decoding = dataclasses.replace(self.decoding, language=decoded.language)
        return segment


class _Live:
    """One utterance. Its full windows are heard once; what came after them, again and again until it is whole."""

    def __init__(self, recogniser: WhisperRecogniser, state: _RecordingState, windows: Windows) -> None:
        self._recogniser = recogniser
        self._state = state
        self._windows = windows
        self._settled: list[tuple[WhisperSegment, Segment]] = []
        self._samples_since_interim = 0
        self._patience = _AGAIN
        self._told = ""

    async def feed(self, samples: Samples, *, interim: bool) -> Segment | None:
        """Take the next samples; with `interim`, hears what there is where a second of it is new."""
        self._samples_since_interim += len(samples)
        for window in self._windows.push(samples):
            self._settled += await self._parts(window, self._state)
        if not interim or self._samples_since_interim < self._patience:
            return None
        self._samples_since_interim = 0
        window_so_far = self._windows.so_far()
        began = time.monotonic()
        parts = await self._parts(window_so_far, self._state.copy(quick=True)) if window_so_far else []
        # Hearing takes half of the time at most: a model slower than that would fall ever further behind the speaker.
        self._patience = max(_AGAIN, round(2 * RATE * (time.monotonic() - began)))
        found = joined([*self._settled, *parts])
        if found is None or found.text == self._told:
            return None
        self._told = found.text
        return found

    async def finish(self) -> Segment | None:
        """Hear the rest of it properly."""
        for window in self._windows.finish():
            self._settled += await self._parts(window, self._state)
        return joined(self._settled)

    async def _parts(self, window: Window, state: _RecordingState) -> list[tuple[WhisperSegment, Segment]]:
        async with aclosing(self._recogniser._transcribe_window(window, state)) as parts:
            return [part async for part in parts]
