"""The supported containers and codecs, and the names of other kinds of files for errors.

FFmpeg also supports formats that fetch other files (playlists, `concat`), that run programs of their own, or that are
obsolete; an upload must not reach any of them.
"""

from __future__ import annotations

CONTAINERS = (
    "wav",
    "w64",
    "aiff",
    "au",
    "caf",
    "mp3",
    "aac",
    "flac",
    "ogg",
    "mov",
    "matroska",
    "amr",
    "asf",
    "avi",
    "flv",
    "mpeg",
    "mpegts",
    "wv",
)
"""Demuxers, by FFmpeg's names."""

CODECS = frozenset(
    {
        *(
            f"pcm_{form}"
            for form in ("alaw", "mulaw", "s8", "u8", "s16le", "s16be", "s24le", "s24be", "s32le", "s32be")
        ),
        *(f"pcm_{form}" for form in ("u16le", "u16be", "u24le", "u24be", "u32le", "u32be", "s64le", "s64be")),
        *(f"pcm_{form}" for form in ("f32le", "f32be", "f64le", "f64be", "bluray", "dvd")),
        *(f"adpcm_{form}" for form in ("ms", "ima_wav", "ima_qt", "swf", "yamaha")),
        *("mp1float", "mp2float", "mp3float", "mp1", "mp2", "mp3"),
        *("aac", "aac_latm", "alac", "flac", "opus", "libopus", "vorbis", "wavpack"),
        *("amrnb", "amrwb", "libopencore_amrnb", "libopencore_amrwb", "gsm", "gsm_ms", "g722", "g726", "g726le"),
        *("speex", "nellymoser", "ac3", "eac3", "wmav1", "wmav2", "wmapro", "wmavoice"),
    }
)
"""Audio decoders, by FFmpeg's names. Pictures and video are not decoded."""

ADVICE = "send WAV, MP3, MP4/M4A, AAC, FLAC, Ogg (Opus or Vorbis), WebM, AIFF or AMR"

_AUDIO_MARKS = (
    (0, b"RIFF", "WAV or AVI"),
    (0, b"RF64", "WAV"),
    (0, b"fLaC", "FLAC"),
    (0, b"OggS", "Ogg"),
    (0, b"ID3", "MP3"),
    (0, b"\xff\xfb", "MP3"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"FORM", "AIFF"),
    (0, b".snd", "AU"),
    (0, b"caff", "CAF"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    (0, b"#!AMR", "AMR"),
    (4, b"ftyp", "MP4"),
)
_OTHER_MARKS = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"%PDF", "a PDF document"),
    (b"MThd", "a MIDI file, which holds notes, not audio"),
    (b"#EXTM3U", "a playlist, not the audio itself"),
    (b"ffconcat", "a playlist, not the audio itself"),
    (b"<", "an HTML or XML document"),
    (b"{", "a JSON document"),
)


def unreadable(data: bytes) -> str:
    """Return the error for a file that cannot be opened: its kind by its first bytes, and what to send instead."""
    beginning = f"it begins with {data[:8]!r}"
    for offset, mark, name in _AUDIO_MARKS:
        if data.startswith(mark, offset):
            return f"the file is cut off or damaged: it looks like {name} ({beginning}) but cannot be opened"
    for mark, name in _OTHER_MARKS:
        if data.startswith(mark):
            return f"the bytes are no audio file: they look like {name} ({beginning}); {ADVICE}"
    return f"the bytes are no audio file that is known here ({beginning}); {ADVICE}"
