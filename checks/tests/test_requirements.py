"""The requirements files follow what they are resolved from."""

from __future__ import annotations

import pathlib
import shutil
import tomllib

import pytest

from checks import requirements

REGISTRY_OPTIONS = ("--index-url", "--extra-index-url", "--find-links", "http://", "https://")


@pytest.fixture
def copy(root: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """The parts of the project that requirements are made from."""
    members = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["uv"]["workspace"]["members"]
    projects = [path.relative_to(root) for member in members for path in root.glob(f"{member}/pyproject.toml")]
    for name in (pathlib.Path("pyproject.toml"), *projects):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, tmp_path / name)
    shutil.copytree(root / "requirements", tmp_path / "requirements")
    return tmp_path


def test_a_new_dependency_makes_the_files_stale(copy: pathlib.Path) -> None:
    path = copy / "router" / "pyproject.toml"
    path.write_text(path.read_text().replace("dependencies = [", 'dependencies = [\n    "redis",', 1))
    stale = requirements.complaints(copy)
    assert any("requirements/router.txt" in complaint for complaint in stale)
    assert any("requirements/dev.txt" in complaint for complaint in stale)


def test_a_changed_input_or_a_lost_file_is_found(copy: pathlib.Path) -> None:
    before = requirements.complaints(copy)
    (copy / "requirements" / "weights.in").write_text("something-else\n")
    (copy / "requirements" / "uv.txt").unlink()
    said = set(requirements.complaints(copy)) - set(before)
    assert {complaint.split()[0] for complaint in said} == {"requirements/weights.txt", "requirements/uv.txt"}


def test_every_pin_is_hashed_and_no_file_names_a_registry_or_a_workspace_member(root: pathlib.Path) -> None:
    files = sorted((root / "requirements").glob("*.txt"))
    assert {"dev.txt", "router.txt", "gateway.txt", "inference.txt"} <= {path.name for path in files}
    for path in files:
        text = path.read_text()
        assert not any(option in text for option in REGISTRY_OPTIONS), path.name
        joined = text.replace("\\\n", " ").splitlines()
        pins = [line for line in joined if line.strip() and not line.lstrip().startswith("#")]
        assert pins
        for pin in pins:
            assert "==" in pin, f"{path.name}: {pin}"
            assert "--hash=sha256:" in pin, f"{path.name}: {pin}"
            assert not pin.startswith("enginehouse"), f"{path.name}: {pin}"
