"""Files that appear only when they are complete."""

from __future__ import annotations

import io
import itertools
import os
import threading
import wave
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.client.atomic_file import AtomicFile
from enginehouse.client.wav import length_patches, with_true_length


def write(path: Path, *pieces: bytes) -> None:
    with AtomicFile(path) as file:
        for piece in pieces:
            file.write(piece)


def test_an_existing_file_is_replaced_only_by_a_complete_one(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(b"old")
    path.chmod(0o640)
    with AtomicFile(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640
    with pytest.raises(KeyboardInterrupt), AtomicFile(path) as file:
        file.write(b"newer")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.mp3"]


def test_a_new_file_has_the_default_mode(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write(tmp_path / "a.mp3", b"x")
    assert (tmp_path / "a.mp3").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    link = tmp_path / "a.mp3"
    link.symlink_to(tmp_path / "far" / "b.mp3")
    write(link, b"x")
    assert link.is_symlink()
    assert (tmp_path / "far" / "b.mp3").read_bytes() == b"x"


def test_a_pipe_is_written_to_directly(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write(pipe, b"one", b"two")
    reader.join(5)
    assert read == [b"onetwo"]
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("name", "kind"), [("none/a.mp3", FileNotFoundError), ("folder", IsADirectoryError), ("file/a", NotADirectoryError)]
)
def test_errors_name_the_path(tmp_path: Path, name: str, kind: type[OSError]) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(kind) as failed:
        write(tmp_path / name, b"x")
    assert failed.value.filename == str(tmp_path / name)


def test_a_full_disk_is_reported_with_the_path() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    for size in (10, 100_000):
        with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"):
            write(full, b"x" * size)


def wav_file(samples: bytes, rate: int = 8000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(samples)
    return file.getvalue()


@given(
    samples=st.binary(max_size=400).map(lambda data: data[: len(data) // 2 * 2]),
    extra=st.binary(max_size=40),
    cuts=st.lists(st.integers(0, 500), max_size=4),
)
def test_a_wav_file_gets_its_true_length(
    tmp_path_factory: pytest.TempPathFactory, samples: bytes, extra: bytes, cuts: list[int]
) -> None:
    known = wav_file(samples)
    # An unknown chunk of any length comes before the samples.
    note = b"note" + len(extra).to_bytes(4, "little") + extra + bytes(len(extra) % 2)
    size = (len(known) + len(note) - 8).to_bytes(4, "little")
    known = known[:4] + size + known[8:36] + note + known[36:]
    unknown = bytearray(known)
    offset = known.index(b"data", 36 + len(note))
    unknown[4:8] = unknown[offset + 4 : offset + 8] = b"\xff" * 4
    assert with_true_length(bytes(unknown)) == known
    path = tmp_path_factory.mktemp("wav") / "a.wav"
    bounds = [0, *sorted(cuts), len(unknown)]
    write(path, *(bytes(unknown[start:end]) for start, end in itertools.pairwise(bounds)))
    assert path.read_bytes() == known
    assert with_true_length(known) == known


@given(head=st.binary(max_size=80) | st.binary(max_size=80).map(lambda tail: b"RIFF\xff\xff\xff\xffWAVE" + tail))
def test_only_unknown_lengths_are_patched(head: bytes) -> None:
    for offset, value in length_patches(head, len(head)):
        assert head[offset : offset + 4] == b"\xff" * 4 or offset == 4
        assert len(value) == 4


def test_a_length_beyond_the_header_stays_unknown() -> None:
    assert length_patches(wav_file(b"")[:40] + b"\xff" * 4, 2**32 + 100) == []
