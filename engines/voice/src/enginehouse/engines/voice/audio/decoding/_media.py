"""Decode audio files of any common container. Untrusted files must go through `DecoderPool` instead."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import av
from av.audio.stream import AudioStream
from av.container.input import InputContainer

from enginehouse.engines.voice.audio.decoding._formats import ADVICE, CODECS, CONTAINERS, unreadable
from enginehouse.engines.voice.audio.decoding._limits import MediaError, MediaLimits, too_long
from enginehouse.engines.voice.audio.decoding._mono import MonoConverter, parts

if TYPE_CHECKING:
    from enginehouse.engines.voice.backends.base import Samples

MIN_RATE = 1_000
MAX_RATE = 768_000
MAX_CHANNELS = 32
# The rounding error of adding up the lengths of a million frames.
_ROUNDING_S = 1e-4

_OPTIONS = {
    "format_whitelist": ",".join(CONTAINERS),
    "codec_whitelist": ",".join(sorted(CODECS)),
    # There is no such protocol: only the file in memory can be read.
    "protocol_whitelist": "none",
    # Bytes and microseconds that FFmpeg inspects to find out what is in a file.
    "probesize": str(2 << 20),
    "analyzeduration": "5000000",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaInfo:
    """A file's own description of its audio."""

    container: str
    """FFmpeg's name for the container, such as "wav" or "mov,mp4,m4a,3gp,3g2,mj2"."""
    codec: str
    """FFmpeg's name for the decoder, such as "mp3float"."""
    sample_rate: int
    """Samples a second."""
    channels: int
    """The number of channels."""
    claimed_seconds: float | None
    """The length according to the file, if it gives one; not to be relied upon."""


def probe(data: bytes, *, limits: MediaLimits) -> MediaInfo:
    """Return what a file's header says of it, without decoding. Raises MediaError."""
    limits.check_size(data)
    with _open(data) as container:
        stream = _audio_stream(container)
        return MediaInfo(
            container=container.format.name,
            codec=stream.codec_context.name,
            sample_rate=stream.codec_context.sample_rate,
            channels=stream.codec_context.channels,
            claimed_seconds=None if container.duration is None else container.duration / av.time_base,
        )


def decode(data: bytes, *, rate: int, limits: MediaLimits) -> Iterator[Samples]:
    """Yield the audio of a file at `rate` samples a second, in parts of a few milliseconds to a second.

    It holds only one part and the file in memory. Of several audio streams it takes the one that FFmpeg ranks best;
    channels are mixed down. A truncated or damaged file yields what can be decoded of it.

    Raises ValueError for a `rate` above 768,000, and MediaError if the bytes are no audio file, the file has no audio
    stream, nothing in it can be decoded, its rate or channels are absurd, or (after that much audio was yielded) it is
    longer than the limits allow.
    """
    if not 0 < rate <= MAX_RATE:
        raise ValueError(f"invalid sample rate: {rate}; must be 1 to {MAX_RATE:,}")
    limits.check_size(data)
    with _open(data) as container:
        stream = _audio_stream(container)
        converter = MonoConverter(rate=rate)
        seconds = 0.0
        any_samples = False
        for frame in _frames(container, stream):
            _check_form(frame.sample_rate, frame.layout.nb_channels)
            # A frame may be hours long: audio beyond the limit is not even converted.
            for part in parts(frame):
                seconds += part.samples / part.sample_rate
                if seconds > limits.max_seconds + _ROUNDING_S:
                    raise too_long(limits)
                for samples in converter.feed(part):
                    any_samples = True
                    yield samples
        for samples in converter.finish():
            any_samples = True
            yield samples
    if not any_samples:
        raise MediaError("the file holds no audio that can be decoded: it is empty, cut off or damaged")


def _open(data: bytes) -> InputContainer:
    try:
        container = av.open(io.BytesIO(data), mode="r", options=_OPTIONS, metadata_errors="ignore")
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(unreadable(data)) from error
    return container


def _audio_stream(container: InputContainer) -> AudioStream:
    stream = container.streams.best("audio")
    if not isinstance(stream, AudioStream):
        if container.streams.audio:
            raise MediaError(f"the file's audio cannot be decoded: its header makes no sense; {ADVICE}")
        others = ", ".join(sorted({stream.type for stream in container.streams})) or "no stream at all"
        raise MediaError(f"the file has no audio stream, only: {others} ({container.format.name})")
    if stream.codec_context is None:
        raise MediaError(f"the file's audio is in an unknown format; {ADVICE}")
    if stream.codec_context.name not in CODECS:
        raise MediaError(f"the file's audio is {stream.codec_context.name}, which is not supported; {ADVICE}")
    _check_form(stream.codec_context.sample_rate, stream.codec_context.channels)
    return stream


def _check_form(rate: int, channels: int) -> None:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise MediaError(f"the audio has {rate:,} samples a second; {MIN_RATE:,} to {MAX_RATE:,} are accepted")
    if not 1 <= channels <= MAX_CHANNELS:
        raise MediaError(f"the audio has {channels:,} channels; 1 to {MAX_CHANNELS} are accepted")


def _decoder(stream: AudioStream) -> av.AudioCodecContext:
    decoder = stream.codec_context
    if decoder.name == "opus":
        # FFmpeg's own decoder (8.1) decodes some of libopus's output, such as a rising tone, to loud noise.
        own = av.CodecContext.create("libopus", "r")
        assert isinstance(own, av.AudioCodecContext)
        own.extradata = decoder.extradata
        own.sample_rate = decoder.sample_rate
        own.layout = decoder.layout
        decoder = own
    decoder.thread_count = 1
    return decoder


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[av.AudioFrame]:
    """Yield the frames that can be decoded. Packets that cannot are skipped; a truncated file just ends early."""
    decoder = _decoder(stream)
    for packet in _packets(container, stream):
        yield from _decoded(decoder, packet)
    yield from _decoded(decoder, None)


def _packets(container: InputContainer, stream: AudioStream) -> Iterator[av.Packet[AudioStream]]:
    try:
        for packet in container.demux(stream):
            # An empty packet would mean the end to the decoder, and a file may have them anywhere.
            if packet.size:
                yield packet
    except MemoryError:
        raise
    except (av.FFmpegError, IndexError):
        # At the end PyAV looks up streams that a file announced late, and fails (IndexError).
        return


def _decoded(decoder: av.AudioCodecContext, packet: av.Packet[AudioStream] | None) -> list[av.AudioFrame]:
    """Return the frames of a packet; None ends the stream and returns the frames that the decoder held back."""
    try:
        return [frame for frame in decoder.decode(packet) if frame.samples]
    except MemoryError:
        raise
    except av.FFmpegError:
        return []
