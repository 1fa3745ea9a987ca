"""Small installed packages that hold weights, and tables that name them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from enginehouse.kit.backends.package_table import WeightsEntry, WeightsFile, WeightsPart


def install(site: Path, name: str, files: Mapping[str, bytes], *, version: str = "1.0") -> None:
    """Put a package into a folder of packages."""
    folder = name.replace("-", "_")
    for other in site.glob(f"{folder}-*.dist-info"):
        (other / "METADATA").unlink()
        other.rmdir()
    information = site / f"{folder}-{version}.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    for path, content in files.items():
        (site / folder / path).parent.mkdir(parents=True, exist_ok=True)
        (site / folder / path).write_bytes(content)
        # Installed long ago: a later change has another time, however coarse the file system's clock is.
        os.utime(site / folder / path, (0, 0))


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def part(package: str, path: str, content: bytes, *, version: str = "1.0") -> WeightsPart:
    return WeightsPart(
        package=package, version=version, path=f"{package.replace('-', '_')}/{path}", sha256=digest(content)
    )


def weights_of(files: Mapping[str, Sequence[tuple[WeightsPart, bytes]]]) -> WeightsEntry:
    """Describe weights by the parts of each file, with their contents."""
    return WeightsEntry(
        licence="MIT",
        origin="hf:org/repo",
        description="Weights.",
        files=tuple(
            WeightsFile(
                name=name,
                sha256=digest(b"".join(content for _, content in parts)),
                parts=tuple(described for described, _ in parts),
            )
            for name, parts in files.items()
        ),
    )
