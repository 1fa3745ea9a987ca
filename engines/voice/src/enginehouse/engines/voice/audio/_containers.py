"""Headers and pages around encoded packets, which need neither seeking nor a known length, and state one if it is
known.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

_SEGMENTS = 255
_UNKNOWN = 0xFFFFFFFF
# Bytes of the header after the size of the whole file, which counts them.
_WAV_HEADER_REST = 36
_MPEG_RATES = {44_100: 0, 48_000: 1, 32_000: 2, 22_050: 4, 24_000: 5, 16_000: 6, 11_025: 8, 12_000: 9, 8_000: 10}
_MPEG1_KBPS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG2_KBPS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_AAC_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)


def wav_header(rate: int, *, samples: int | None = None) -> bytes:
    """Return the header of a WAV file with 16 bits and one channel (RIFF, `fmt `, `data`).

    Args:
        rate: samples a second.
        samples: the number of samples; None if it is not known yet.
    """
    size = _UNKNOWN if samples is None else 2 * samples
    form = struct.pack("<HHIIHH", 1, 1, rate, rate * 2, 2, 16)
    return b"".join(
        [
            struct.pack("<4sI4s", b"RIFF", _UNKNOWN if samples is None else _WAV_HEADER_REST + size, b"WAVE"),
            struct.pack("<4sI", b"fmt ", len(form)),
            form,
            struct.pack("<4sI", b"data", size),
        ]
    )


def flac_header(stream_info: bytes, *, samples: int = 0) -> bytes:
    """Return the header of a FLAC file (RFC 9639): the marker and a STREAMINFO block, flagged as the last one.

    Args:
        stream_info: the encoder's STREAMINFO, without a number of samples.
        samples: the number of samples; 0 if it is not known yet.
    """
    # The number is the last 36 bits of the eight bytes that begin with the sample rate.
    form = struct.pack(">Q", int.from_bytes(stream_info[10:18], "big") | samples)
    return b"fLaC" + struct.pack(">I", 1 << 31 | len(stream_info)) + stream_info[:10] + form + stream_info[18:]


def adts_header(packet_bytes: int, rate: int) -> bytes:
    """Return the header of a packet of AAC-LC in ADTS (ISO/IEC 13818-7, 6.2): 7 bytes, one channel, no checksum."""
    sync, layer, no_checksum, profile, channels, full = 0xFFF, 0, 1, 1, 1, 0x7FF
    bits = sync << 44 | layer << 41 | no_checksum << 40 | profile << 38 | _AAC_RATES.index(rate) << 34
    bits |= channels << 30 | (packet_bytes + 7) << 13 | full << 2
    return bits.to_bytes(7, "big")


def mp3_info_frame(rate: int, kbps: int, *, encoder_delay: int) -> bytes:
    """Return a silent frame that tells players how many samples at the beginning are the encoder's delay.

    It is the "Info" frame that MP3 encoders write first. It leaves out the file's length, which is not known yet.
    """
    mpeg1 = rate >= 32_000
    version = 3 if mpeg1 else 2 if rate >= 16_000 else 0
    table = _MPEG1_KBPS if mpeg1 else _MPEG2_KBPS
    layer3, no_checksum, mono = 1, 1, 3
    head = 0x7FF << 21 | version << 19 | layer3 << 17 | no_checksum << 16
    head |= table.index(kbps) << 12 | (_MPEG_RATES[rate] & 3) << 10 | mono << 6
    size = (144 if mpeg1 else 72) * kbps * 1000 // rate
    side_information = bytes(17 if mpeg1 else 9)
    info = struct.pack(">4sI", b"Info", 0)
    lame = struct.pack(">9sBBIHHBB", b"LAME", 0, 0, 0, 0, 0, 0, 0) + (encoder_delay << 12).to_bytes(3, "big")
    return (struct.pack(">I", head) + side_information + info + lame).ljust(size, b"\0")


_BITS_TURNED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class OggPages:
    """Writer of one logical stream as Ogg pages (RFC 3533): one page a call, so that no packet waits for a full page.

    Args:
        serial: the stream's number.
    """

    def __init__(self, *, serial: int) -> None:
        self._serial = serial
        self._sequence = 0

    def page(self, packets: Sequence[bytes], *, granule: int, last: bool = False) -> bytes:
        """Return a page of whole packets, the last of which ends at `granule`.

        Raises ValueError if the packets do not fit into one page.
        """
        lacing = bytearray()
        for packet in packets:
            lacing += b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255])
        if len(lacing) > _SEGMENTS:
            raise ValueError(f"{len(packets)} packets need {len(lacing)} segments; a page has {_SEGMENTS}")
        flags = (0 if self._sequence else 2) | (4 if last else 0)
        head = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, granule, self._serial, self._sequence, 0, len(lacing))
        page = bytearray(head + lacing)
        for packet in packets:
            page += packet
        page[22:26] = struct.pack("<I", _ogg_checksum(page))
        self._sequence += 1
        return bytes(page)


def _ogg_checksum(page: bytes | bytearray) -> int:
    """Compute CRC-32 with the polynomial 0x04c11db7, not reflected, initial value 0; the checksum field must be zero.

    zlib's CRC uses the same polynomial, reflected and inverted at both ends: reversing the bits converts one into the
    other.
    """
    reflected = zlib.crc32(page.translate(_BITS_TURNED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)


def opus_tags(vendor: str) -> bytes:
    """Return the second packet of Opus in Ogg (RFC 7845, 5.2), without comments."""
    name = vendor.encode()
    return b"OpusTags" + struct.pack("<I", len(name)) + name + struct.pack("<I", 0)
