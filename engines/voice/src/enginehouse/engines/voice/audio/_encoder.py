"""Encode audio while it is being made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

import av

from enginehouse.engines.voice.audio import _containers
from enginehouse.engines.voice.audio._encodings import Encoding, pick_rate
from enginehouse.engines.voice.audio._pcm import Resampler, mono_frame, pcm_bytes

if TYPE_CHECKING:
    from enginehouse.engines.voice.backends.base import Samples

# Samples that LAME puts before the first one, not counting the decoder's own delay.
_LAME_DELAY = 576
_OPUS_RATE = 48_000
# At these bit rates speech is hard to tell from the original.
_MP3_KBPS = {
    8_000: 24,
    11_025: 32,
    12_000: 32,
    16_000: 48,
    22_050: 64,
    24_000: 64,
    32_000: 80,
    44_100: 96,
    48_000: 96,
}
_OPUS_BPS = {8_000: 16_000, 12_000: 20_000, 16_000: 24_000, 24_000: 32_000, 48_000: 48_000}
_AAC_BITS_A_SAMPLE = 3
_AAC_MAX_BPS = 96_000


class StreamEncoder:
    """Incremental encoder of one channel. All bytes that it returns, put together, are a complete file.

    `feed` returns all that the encoder has ready: the header at once, then each packet as soon as it is made. Encoders
    look ahead: Opus needs 20 ms of audio for its first packet, FLAC 20-30 ms, MP3 60 ms at 22,050 samples a
    second and above, AAC two frames of 1,024 samples (85 ms at 24,000). The work is 2-15 ms of a core for a second of
    audio.

    Args:
        encoding: the encoding.
        source_rate: samples a second of the input.
        rate: samples a second of the file; raises ValueError for a rate that the encoding does not support.
    """

    def __init__(self, *, encoding: Encoding, source_rate: int, rate: int) -> None:
        if rate <= 0:
            raise ValueError(f"invalid sample rate: {rate}; take a rate from pick_rate")
        pick_rate(encoding, requested=rate, own=source_rate)
        self._resampler = Resampler(source_rate=source_rate, rate=rate)
        self._writer = _writer(encoding, rate)
        self._samples_in = 0
        self._started = False
        self._finished = False

    @property
    def samples_in(self) -> int:
        """Samples fed so far, at the source's rate."""
        return self._samples_in

    def feed(self, samples: Samples) -> bytes:
        """Encode samples and return the bytes that are ready; may be empty."""
        if self._finished:
            raise ValueError("the file is finished; use a new encoder for a new file")
        self._samples_in += len(samples)
        return self._begin() + self._writer.write(self._resampler.feed(samples))

    def finish(self) -> bytes:
        """Return the rest of the file. Nothing may be fed afterwards."""
        if self._finished:
            raise ValueError("the file is finished already")
        self._finished = True
        return self._begin() + self._writer.write(self._resampler.finish()) + self._writer.end()

    def final_header(self) -> bytes:
        """Return the header of the finished file with its length, to put over the one that it began with, which has the
        same size and says that the length is unknown. For encodings that state the length only.
        """
        if not isinstance(self._writer, _WavWriter | _FlacWriter):
            raise ValueError("this encoding does not state the length; leave its header as it is")
        if not self._finished:
            raise ValueError("the length is not known yet; finish the file first")
        return self._writer.final_header()

    def _begin(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        return self._writer.header()


class _Writer(Protocol):
    def header(self) -> bytes:
        """Return the beginning of the file."""

    def write(self, samples: Samples) -> bytes:
        """Encode samples and return the bytes that are ready."""

    def end(self) -> bytes:
        """Return the rest of the file."""


class _PcmWriter:
    def header(self) -> bytes:
        return b""

    def write(self, samples: Samples) -> bytes:
        return pcm_bytes(samples)

    def end(self) -> bytes:
        return b""


class _WavWriter:
    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._written = 0

    def header(self) -> bytes:
        return _containers.wav_header(self._rate)

    def final_header(self) -> bytes:
        return _containers.wav_header(self._rate, samples=self._written)

    def write(self, samples: Samples) -> bytes:
        self._written += len(samples)
        return pcm_bytes(samples)

    def end(self) -> bytes:
        return b""


@dataclass(frozen=True, slots=True, kw_only=True)
class _CodecSettings:
    name: str
    sample_format: str
    bit_rate: int = 0
    options: Sequence[tuple[str, str]] = ()


class _Codec:
    """An FFmpeg encoder that returns its packets one by one."""

    def __init__(self, settings: _CodecSettings, rate: int) -> None:
        context = av.CodecContext.create(settings.name, "w")
        assert isinstance(context, av.AudioCodecContext)
        context.sample_rate = rate
        context.layout = "mono"
        context.format = settings.sample_format
        context.time_base = Fraction(1, rate)
        if settings.bit_rate:
            context.bit_rate = settings.bit_rate
        context.options = dict(settings.options)
        context.open()
        self._context = context
        self._sample_format = settings.sample_format
        self._rate = rate
        self.taken = 0

    @property
    def private_data(self) -> bytes:
        """The codec's own header, for the beginning of the file."""
        return self._context.extradata or b""

    def encode(self, samples: Samples) -> list[bytes]:
        """Encode samples and return the packets that are ready."""
        if not len(samples):
            return []
        frame = mono_frame(samples, rate=self._rate, first=self.taken, sample_format=self._sample_format)
        self.taken += len(samples)
        return self._packets(frame)

    def flush(self) -> list[bytes]:
        """Return the remaining packets."""
        # FFmpeg fails to flush an encoder that was never fed.
        return self._packets(None) if self.taken else []

    def _packets(self, frame: av.AudioFrame | None) -> list[bytes]:
        # The last packet of FLAC is empty: it only carries data for a header written afterwards.
        return [bytes(packet) for packet in self._context.encode(frame) if packet.size]


class _Mp3Writer:
    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._kbps = _MP3_KBPS[rate]
        # Without the bit reservoir each frame leaves at once, and a player can begin with any of them.
        options = (("reservoir", "0"),)
        self._codec = _Codec(
            _CodecSettings(name="libmp3lame", sample_format="s16p", bit_rate=self._kbps * 1000, options=options),
            rate,
        )

    def header(self) -> bytes:
        return _containers.mp3_info_frame(self._rate, self._kbps, encoder_delay=_LAME_DELAY)

    def write(self, samples: Samples) -> bytes:
        return b"".join(self._codec.encode(samples))

    def end(self) -> bytes:
        return b"".join(self._codec.flush())


class _AacWriter:
    def __init__(self, rate: int) -> None:
        self._rate = rate
        bit_rate = min(rate * _AAC_BITS_A_SAMPLE, _AAC_MAX_BPS)
        self._codec = _Codec(_CodecSettings(name="aac", sample_format="fltp", bit_rate=bit_rate), rate)

    def header(self) -> bytes:
        return b""

    def write(self, samples: Samples) -> bytes:
        return self._framed(self._codec.encode(samples))

    def end(self) -> bytes:
        return self._framed(self._codec.flush())

    def _framed(self, packets: list[bytes]) -> bytes:
        return b"".join(_containers.adts_header(len(packet), self._rate) + packet for packet in packets)


class _FlacWriter:
    def __init__(self, rate: int) -> None:
        # Level 2 is the highest level with blocks of less than 30 ms.
        options = (("compression_level", "2"),)
        self._codec = _Codec(_CodecSettings(name="flac", sample_format="s16", options=options), rate)

    def header(self) -> bytes:
        return _containers.flac_header(self._codec.private_data)

    def final_header(self) -> bytes:
        return _containers.flac_header(self._codec.private_data, samples=self._codec.taken)

    def write(self, samples: Samples) -> bytes:
        return b"".join(self._codec.encode(samples))

    def end(self) -> bytes:
        return b"".join(self._codec.flush())


class _OpusWriter:
    """Opus in Ogg (RFC 7845): ready packets leave as a page, and the last page holds the position of the audio's end.

    One packet is always held back, because only the last page may end the stream.
    """

    _FRAME_MS = 20
    # Fits into a page even if each packet is longer than any that these bit rates make.
    _PACKETS_A_PAGE = 50

    def __init__(self, rate: int) -> None:
        self._rate = rate
        options = (("application", "audio"), ("frame_duration", str(self._FRAME_MS)))
        settings = _CodecSettings(name="libopus", sample_format="s16", bit_rate=_OPUS_BPS[rate], options=options)
        self._codec = _Codec(settings, rate)
        head = self._codec.private_data
        self._skip = int.from_bytes(head[10:12], "little")
        self._pages = _containers.OggPages(serial=1)
        self._granule = 0
        self._ready: list[bytes] = []

    def header(self) -> bytes:
        head = self._pages.page([self._codec.private_data], granule=0)
        return head + self._pages.page([_containers.opus_tags("libopus")], granule=0)

    def write(self, samples: Samples) -> bytes:
        self._ready += self._codec.encode(samples)
        return self._paged()

    def end(self) -> bytes:
        self._ready += self._codec.flush()
        pages = self._paged()
        # The audio's end in the encoder's time: the decoder drops the rest of the last packet.
        end = self._skip + self._codec.taken * _OPUS_RATE // self._rate
        return pages + self._pages.page(self._ready, granule=end, last=True)

    def _paged(self) -> bytes:
        pages = []
        while len(self._ready) > 1:
            count = min(len(self._ready) - 1, self._PACKETS_A_PAGE)
            now, self._ready = self._ready[:count], self._ready[count:]
            self._granule += count * self._FRAME_MS * _OPUS_RATE // 1000
            pages.append(self._pages.page(now, granule=self._granule))
        return b"".join(pages)


def _writer(encoding: Encoding, rate: int) -> _Writer:
    match encoding:
        case Encoding.PCM:
            return _PcmWriter()
        case Encoding.WAV:
            return _WavWriter(rate)
        case Encoding.MP3:
            return _Mp3Writer(rate)
        case Encoding.AAC:
            return _AacWriter(rate)
        case Encoding.FLAC:
            return _FlacWriter(rate)
        case Encoding.OPUS:
            return _OpusWriter(rate)
