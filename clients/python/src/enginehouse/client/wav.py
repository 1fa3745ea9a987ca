"""Lengths in the headers of WAV files.

The header of a long stream gives an unknown length, because the audio is not made yet. A file's header gives the true
one.
"""

from __future__ import annotations

import struct

HEADER_BYTES = 4096
"""The start of a file in which its header ends at the latest; the mesh's own has 44 bytes."""

_UNKNOWN = 0xFFFFFFFF


def with_true_length(audio: bytes) -> bytes:
    """Return the audio with the true length in its WAV header, where that gave an unknown one."""
    patches = length_patches(audio[:HEADER_BYTES], len(audio))
    if not patches:
        return audio
    patched = bytearray(audio)
    for offset, value in patches:
        patched[offset : offset + len(value)] = value
    return bytes(patched)


def length_patches(head: bytes, size: int) -> list[tuple[int, bytes]]:
    """Return the bytes to write over a WAV header of unknown length, by offset; empty for all other files.

    Args:
        head: the file's first bytes.
        size: the file's size in bytes.
    """
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE" or size - 8 >= _UNKNOWN:
        return []
    offset = 12
    while offset + 8 <= len(head):
        name, length = head[offset : offset + 4], int.from_bytes(head[offset + 4 : offset + 8], "little")
        if name == b"data":
            if length != _UNKNOWN:
                return []
            return [(4, struct.pack("<I", size - 8)), (offset + 4, struct.pack("<I", size - offset - 8))]
        offset += 8 + length + length % 2
    return []
