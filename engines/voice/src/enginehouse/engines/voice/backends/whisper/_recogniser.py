"""Speech recognition by a Whisper model in any runtime: windows, threads, live utterances."""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import numpy as np

from enginehouse.engines.voice.backends._threads import ModelThreads, OutputSink
from enginehouse.engines.voice.backends.base import LiveUtterance, RecogniserInfo, RecognitionOptions, Samples, Segment
from enginehouse.engines.voice.backends.whisper._languages import code_of, tag_of
from enginehouse.engines.voice.backends.whisper._runtime import DecodingOptions, WhisperRuntime, WhisperSegment
from enginehouse.engines.voice.backends.whisper._segments import join_segments, segment_of
from enginehouse.engines.voice.backends.whisper._windows import RATE, Window, Windows
from enginehouse.kit.validation import invalid, shorten

# Segments that wait for a slow reader.
_MAX_PENDING = 16
# The new samples of an utterance after which it is transcribed again.
_MIN_NEW_SAMPLES = RATE


def whisper_info(codes: Sequence[str], *, slots: int) -> RecogniserInfo:
    """Return the properties of a model with these of Whisper's languages; one with several can translate."""
    return RecogniserInfo(
        sample_rate=RATE, slots=slots, languages=[tag_of(code) for code in codes], translates=len(codes) > 1
    )


class WhisperRecogniser:
    """Recogniser with a Whisper model; implements `Recogniser`.

    Args:
        name: the model's name, for errors.
        runtime: the loaded model.
        info: its properties.
        skip_silence: whether frames without speech are skipped.
    """

    def __init__(self, *, name: str, runtime: WhisperRuntime, info: RecogniserInfo, skip_silence: bool) -> None:
        self._name = name
        self._runtime = runtime
        self._skip_silence = skip_silence
        self._threads = ModelThreads(name=name, slots=info.slots, max_pending=_MAX_PENDING)
        self._codes = frozenset(code_of(tag) for tag in info.languages)
        self.info = info
        """Its properties."""

    async def transcribe(
        self, audio: AsyncIterator[Samples], options: RecognitionOptions
    ) -> AsyncGenerator[Segment, None]:
        """Transcribe a window of up to 30 s at a time, cut at pauses. The language is detected in the first window."""
        state = _RecordingState(self._decoding_options(options), detects=not options.language)
        windows = Windows(skip_silence=self._skip_silence)
        async for samples in audio:
            # Detecting speech in hours of audio at once would block all other calls.
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
        """Transcribe the current window of an utterance, at most 30 s, again after each second of new audio."""
        yield _Live(
            self,
            _RecordingState(self._decoding_options(options), detects=not options.language),
            Windows(skip_silence=self._skip_silence),
        )

    async def close(self) -> None:
        """Cancel running work, and free the model's memory."""
        await self._threads.close()
        del self._runtime
        gc.collect()

    def _decoding_options(self, options: RecognitionOptions) -> DecodingOptions:
        code = code_of(options.language) if options.language else ""
        if options.language and code not in self._codes:
            raise invalid(
                "options.language",
                f"{shorten(options.language)} is not supported by {self._name!r}; it supports "
                f"{', '.join(self.info.languages)}",
            )
        if options.translate and not self.info.translates:
            raise invalid("options.translate", f"{self._name!r} supports only English and cannot translate")
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
    """State of a recording after its preceding windows."""

    def __init__(self, decoding: DecodingOptions, *, detects: bool) -> None:
        self.decoding = decoding
        self._detects = detects
        self._transcribed_ms = 0

    def copy(self, *, quick: bool) -> _RecordingState:
        """Return a copy, for an interim result that must not change the state."""
        copied = _RecordingState(dataclasses.replace(self.decoding, quick=quick), detects=self._detects)
        copied._transcribed_ms = self._transcribed_ms
        return copied

    def place(self, decoded: WhisperSegment, window: Window) -> Segment:
        """Return the segment in the recording's time. A detected language applies to the rest of the recording."""
        segment = segment_of(decoded, window, after_ms=self._transcribed_ms, detected=self._detects)
        self._transcribed_ms = segment.end_ms
        if not self.decoding.language:
            self.decoding = dataclasses.replace(self.decoding, language=decoded.language)
        return segment


class _Live:
    """A live utterance. Full windows are transcribed once; the current window again and again until it is full."""

    def __init__(self, recogniser: WhisperRecogniser, state: _RecordingState, windows: Windows) -> None:
        self._recogniser = recogniser
        self._state = state
        self._windows = windows
        self._final_segments: list[tuple[WhisperSegment, Segment]] = []
        self._samples_since_interim = 0
        self._samples_per_interim = _MIN_NEW_SAMPLES
        self._last_interim = ""

    async def feed(self, samples: Samples, *, interim: bool) -> Segment | None:
        """Take the next samples; with `interim`, transcribe the current window if a second of it is new."""
        self._samples_since_interim += len(samples)
        for window in self._windows.push(samples):
            self._final_segments += await self._transcribe(window, self._state)
        if not interim or self._samples_since_interim < self._samples_per_interim:
            return None
        self._samples_since_interim = 0
        window_so_far = self._windows.so_far()
        began = time.monotonic()
        parts = await self._transcribe(window_so_far, self._state.copy(quick=True)) if window_so_far else []
        # Interim results take at most half of the time: otherwise a slow model would fall behind the speaker.
        self._samples_per_interim = max(_MIN_NEW_SAMPLES, round(2 * RATE * (time.monotonic() - began)))
        found = join_segments([*self._final_segments, *parts])
        if found is None or found.text == self._last_interim:
            return None
        self._last_interim = found.text
        return found

    async def finish(self) -> Segment | None:
        """Transcribe the rest and return the final result."""
        for window in self._windows.finish():
            self._final_segments += await self._transcribe(window, self._state)
        return join_segments(self._final_segments)

    async def _transcribe(self, window: Window, state: _RecordingState) -> list[tuple[WhisperSegment, Segment]]:
        async with aclosing(self._recogniser._transcribe_window(window, state)) as parts:
            return [part async for part in parts]
