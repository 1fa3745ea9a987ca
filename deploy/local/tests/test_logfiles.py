"""Log files: rotated and read."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from enginehouse.local.logfiles import follow, last_lines, open_log, rotate


def test_a_process_keeps_writing_after_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    log = open_log(path)
    writer = subprocess.Popen(
        [sys.executable, "-c", "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"],
        stdin=subprocess.PIPE,
        stdout=log,
        text=True,
    )
    os.close(log)
    assert writer.stdin is not None
    writer.stdin.write("one\n" * 100)
    writer.stdin.flush()
    deadline = time.monotonic() + 10
    while path.stat().st_size < 400:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not rotate(path, max_bytes=400, files=2)
    assert rotate(path, max_bytes=399, files=2)
    assert path.stat().st_size == 0
    writer.stdin.write("two\n")
    writer.stdin.close()
    assert writer.wait(10) == 0
    assert path.read_text() == "two\n"
    assert (tmp_path / "a.log.1").read_text() == "one\n" * 100


def test_rotated_files_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    for number in range(5):
        path.write_text(f"{number}" * 10)
        assert rotate(path, max_bytes=5, files=2)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.log", "a.log.1", "a.log.2"]
    assert (tmp_path / "a.log.1").read_text() == "4" * 10
    assert (tmp_path / "a.log.2").read_text() == "3" * 10


def test_last_lines_of_a_long_file(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("".join(f"line {number} {'x' * 90}\n" for number in range(5000)))
    found = last_lines(path, 2000)
    assert len(found) == 2000
    assert found[0].startswith("line 3000 ")
    assert found[-1].startswith("line 4999 ")
    assert last_lines(path, 0) == []
    assert last_lines(tmp_path / "none.log", 5) == []


def test_following_returns_complete_lines_and_survives_truncation(tmp_path: Path) -> None:
    path, late = tmp_path / "a.log", tmp_path / "b.log"
    path.write_text("old\n")
    lines = follow({"a": path, "b": late}, interval_s=0.01)
    with open(path, "a", encoding="utf-8") as file:
        file.write("first\nhal")
    assert next(lines) == ("a", "first")
    with open(path, "a", encoding="utf-8") as file:
        file.write("f\n")
    assert next(lines) == ("a", "half")
    late.write_text("new file\n")
    assert next(lines) == ("b", "new file")
    os.truncate(path, 0)
    path.write_text("again\n")
    assert next(lines) == ("a", "again")
