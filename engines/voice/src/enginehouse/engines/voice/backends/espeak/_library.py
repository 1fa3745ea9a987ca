"""espeak-ng 1.52 through ctypes. GPL-3: imported by the child process only, never by the engine."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path

from enginehouse.engines.voice.backends.espeak._jobs import Inventory, Job, LanguageVoice, Variant
from enginehouse.engines.voice.backends.espeak._spelling import spelled

# The constants of speak_lib.h.
_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000
_BUFFER_MS = 60
_AT_CHARACTER = 1
_UTF8 = 1
_SSML = 0x10
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4

_READ_SAMPLES = 4096


class _Voice(ctypes.Structure):
    """`espeak_VOICE`."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


class EspeakError(RuntimeError):
    """An error from espeak-ng."""


class EspeakLibrary:
    """The initialized library.

    Its state is global to the process, and its output depends on all earlier utterances (for example, the flutter of
    the pitch continues). For equal audio from equal jobs, a process must run only one job.

    Args:
        library: the shared library's file.
        data: the folder `espeak-ng-data`.
    """

    def __init__(self, *, library: Path, data: Path) -> None:
        self._data = data
        self._library = ctypes.CDLL(str(library))
        _declare(self._library)
        self.sample_rate: int = self._library.espeak_Initialize(
            _SYNCHRONOUS, _BUFFER_MS, str(data).encode(), _DONT_EXIT
        )
        """Samples a second."""
        if self.sample_rate <= 0:
            raise EspeakError(f"espeak-ng cannot read its data in {data}: error {self.sample_rate}")
        # Otherwise it seeds its noise by the clock.
        self._library.espeak_ng_SetRandSeed(1)

    def inventory(self) -> Inventory:
        """Return all languages and variants. Languages without a compiled dictionary are left out: they are silent."""
        return Inventory(
            sample_rate=self.sample_rate,
            languages=list(self._languages()),
            variants=[_read_variant(path) for path in sorted((self._data / "voices" / "!v").iterdir())],
        )

    def speak(self, job: Job, take: Callable[[bytes], None]) -> None:
        """Pass the job's audio to `take`, some 60 ms at a time; an exception from `take` ends it.

        Raises EspeakError.
        """
        self._set(job)
        # Spelled texts are SSML documents, which end in a sentence's pause.
        sink = _TrailingSilenceTrimmer(take).write if job.spell else take
        tempo_changer = None
        if job.tempo != 1:
            tempo_changer = _TempoChanger(self._library, self.sample_rate, tempo=job.tempo, take=sink)
            sink = tempo_changer.write
        raised: list[BaseException] = []

        def receive(samples: int | None, count: int, _events: int | None) -> int:
            if not samples or count <= 0:
                return 0
            try:
                sink(ctypes.string_at(samples, 2 * count))
            except BaseException as error:
                raised.append(error)
                return 1
            return 0

        callback = _Callback(receive)
        self._library.espeak_SetSynthCallback(callback)
        text = _spoken(job).encode("utf-8", "replace") + b"\0"
        flags = _UTF8 | _SSML if job.spell else _UTF8
        status = self._library.espeak_Synth(text, len(text), 0, _AT_CHARACTER, 0, flags, None, None)
        if raised:
            raise raised[0]
        if status:
            raise EspeakError(f"espeak-ng refused the text: error {status}")
        if tempo_changer is not None:
            tempo_changer.finish()

    def _set(self, job: Job) -> None:
        status = self._library.espeak_SetVoiceByName(job.voice.encode())
        if status:
            raise EspeakError(f"espeak-ng has no voice {job.voice!r}: error {status}")
        for parameter, value in (
            (_RATE, job.rate),
            (_PITCH, job.pitch),
            (_RANGE, job.pitch_range),
            (_VOLUME, job.volume),
        ):
            self._library.espeak_SetParameter(parameter, value, 0)

    def _languages(self) -> Iterator[LanguageVoice]:
        listed = self._library.espeak_ListVoices(None)
        index = 0
        while listed[index]:
            voice = listed[index].contents
            language = LanguageVoice(
                file=voice.identifier.decode(), name=voice.name.decode().strip(), tags=_read_tags(voice.languages)
            )
            if (self._data / f"{self._dictionary(language)}_dict").exists():
                yield language
            index += 1

    def _dictionary(self, language: LanguageVoice) -> str:
        """Return the name of a language's dictionary: its own unless its file names another."""
        settings = _read_settings(self._data / "lang" / language.file)
        return settings.get("dictionary", "") or language.tags[0][1].partition("-")[0]


class _TrailingSilenceTrimmer:
    """Passes audio on without the silence at its end."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._silence = b""

    def write(self, pcm: bytes) -> None:
        sound = len(pcm.rstrip(b"\0"))
        # Whole samples: the upper byte of a quiet sample is zero.
        sound += sound & 1
        if sound:
            self._take(self._silence + pcm[:sound])
            self._silence = b""
        self._silence += pcm[sound:]


class _TempoChanger:
    """Changes the tempo of audio by the sonic library, which espeak-ng bundles.

    Its pitch shifting writes past the end of its buffers at some factors, so it is not used.
    """

    def __init__(self, library: ctypes.CDLL, sample_rate: int, *, tempo: float, take: Callable[[bytes], None]) -> None:
        self._library = library
        self._take = take
        self._buffer = ctypes.create_string_buffer(2 * _READ_SAMPLES)
        self._stream = library.sonicCreateStream(sample_rate, 1)
        if not self._stream:
            raise MemoryError("no memory for a sonic stream")
        library.sonicSetSpeed(self._stream, tempo)

    def write(self, pcm: bytes) -> None:
        if not self._library.sonicWriteShortToStream(self._stream, pcm, len(pcm) // 2):
            raise MemoryError("no memory for audio")
        self._drain()

    def finish(self) -> None:
        self._library.sonicFlushStream(self._stream)
        self._drain()

    def _drain(self) -> None:
        while count := self._library.sonicReadShortFromStream(self._stream, self._buffer, _READ_SAMPLES):
            self._take(self._buffer.raw[: 2 * count])


def _declare(library: ctypes.CDLL) -> None:
    library.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
    library.espeak_ListVoices.argtypes = [ctypes.c_void_p]
    library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
    library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
    library.espeak_SetParameter.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int]
    library.espeak_SetSynthCallback.argtypes = [_Callback]
    library.espeak_SetSynthCallback.restype = None
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_uint,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.c_void_p,
        ctypes.c_void_p,
    ]
    library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    library.sonicCreateStream.argtypes = [ctypes.c_int, ctypes.c_int]
    library.sonicCreateStream.restype = ctypes.c_void_p
    library.sonicSetSpeed.argtypes = [ctypes.c_void_p, ctypes.c_float]
    library.sonicSetSpeed.restype = None
    library.sonicWriteShortToStream.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    library.sonicReadShortFromStream.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    library.sonicFlushStream.argtypes = [ctypes.c_void_p]


def _read_tags(address: int) -> list[tuple[int, str]]:
    """Read a C list: a byte of priority and a string each, until a priority of 0."""
    tags: list[tuple[int, str]] = []
    while priority := ctypes.string_at(address, 1)[0]:
        tag = ctypes.string_at(address + 1)
        tags.append((priority, tag.decode()))
        address += len(tag) + 2
    return tags


def _read_settings(path: Path) -> dict[str, str]:
    """Read the lines of a language's or a variant's file: a key and a value each."""
    settings: dict[str, str] = {}
    for line in path.read_text("utf-8", "replace").splitlines():
        key, _, value = line.strip().partition(" ")
        settings.setdefault(key, value.strip())
    return settings


def _read_variant(path: Path) -> Variant:
    settings = _read_settings(path)
    # Some files have an age after the gender.
    gender = settings.get("gender", "").split(" ")[0].lower()
    return Variant(file=path.name, name=settings.get("name", path.name), gender=gender)


def _spoken(job: Job) -> str:
    # A control character begins one of espeak-ng's embedded commands, which texts may not use.
    text = "".join(" " if character < " " or "\x7f" <= character <= "\x9f" else character for character in job.text)
    return spelled(text) if job.spell else text
