"""Files that are whole or not there."""

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


def test_what_was_there_stays_until_the_new_is_whole(tmp_path: Path) -> None:
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
    assert [each.name for each in tmp_path.iterdir()] == ["a.mp3"]


def test_a_new_file_is_as_open_as_others(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write(tmp_path / "a.mp3", b"x")
    assert (tmp_path / "a.mp3").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    link = tmp_path / "a.mp3"
    link.symlink_to(tmp_path / "far" / "b.mp3")
    write(link, b"x")
    assert link.is_symlink()
    assert (tmp_path / "far" / "b.mp3").read_bytes() == b"x"


def test_a_pipe_is_written_to_as_it_is(tmp_path: Path) -> None:
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
def test_where_no_file_can_be_the_error_names_the_place(tmp_path: Path, name: str, kind: type[OSError]) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(kind) as failed:
        write(tmp_path / name, b"x")
    assert failed.value.filename == str(tmp_path / name)


def test_a_full_disk_is_named() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    for size in (10, 100_000):
        with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"):
            write(full, b"x" * size)


def wav(samples: bytes, rate: int = 8000) -> bytes:
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
def test_a_wav_of_unknown_length_becomes_the_one_of_known_length(
    tmp_path_factory: pytest.TempPathFactory, samples: bytes, extra: bytes, cuts: list[int]
) -> None:
    known = wav(samples)
    # A chunk that nobody knows, of any length, before the samples.
    note = b"note" + len(extra).to_bytes(4, "little") + extra + bytes(len(extra) % 2)
    size = (len(known) + len(note) - 8).to_bytes(4, "little")
    known = known[:4] + size + known[8:36] + note + known[36:]
    unknown = bytearray(known)
    place = known.index(b"data", 36 + len(note))
    unknown[4:8] = unknown[place + 4 : place + 8] = b"\xff" * 4
    assert with_true_length(bytes(unknown)) == known
    path = tmp_path_factory.mktemp("wav") / "a.wav"
    places = [0, *sorted(cuts), len(unknown)]
    write(path, *(bytes(unknown[one:two]) for one, two in itertools.pairwise(places)))
    assert path.read_bytes() == known
    assert with_true_length(known) == known


@given(head=st.binary(max_size=80) | st.binary(max_size=80).map(lambda tail: b"RIFF\xff\xff\xff\xffWAVE" + tail))
def test_other_bytes_are_left_alone(head: bytes) -> None:
    for place, value in length_patches(head, len(head)):
        assert head[place : place + 4] == b"\xff" * 4 or place == 4
        assert len(value) == 4


def test_a_length_that_a_header_cannot_say_stays_unknown() -> None:
    assert length_patches(wav(b"")[:40] + b"\xff" * 4, 2**32 + 100) == []
