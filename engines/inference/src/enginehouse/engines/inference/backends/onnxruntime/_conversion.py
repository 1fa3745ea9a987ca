"""Weights of a package as an ONNX file, made once and kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from enginehouse.kit.child_process import DEVNULL, PIPE, start_child
from enginehouse.kit.errors import Reason, ServiceError

_log = logging.getLogger(__name__)

# Raised when the graph changes, so that files of before are made again.
_CONVERTER = "1"
_MODULE = "enginehouse.engines.inference.backends.onnxruntime.convert"
# What a killed engine has left is older than any conversion that runs.
_ABANDONED_S = 3600.0


class OnnxConversion:
    """The conversion of one package's weights into one precision.

    The file's name says what it was made from and by what, so that one of other weights or an older converter is not
    taken for it.

    Args:
        name: the package's name in catalogs.
        folder: the weights, `model.safetensors` and `config.json`.
        hashes: the SHA-256 of each of these files, which they are known to have.
        precision: "fp32" or "int8".
        target: the folder of converted files.
    """

    def __init__(self, *, name: str, folder: Path, hashes: Mapping[str, str], precision: str, target: Path) -> None:
        self._name = name
        self._folder = folder
        self._precision = precision
        self._properties = {
            "converter": _CONVERTER,
            "precision": precision,
            "onnx": metadata.version("onnx"),
            "onnxruntime": metadata.version("onnxruntime"),
            **{file: hashes[file] for file in ("model.safetensors", "config.json")},
        }
        key = hashlib.sha256(json.dumps(self._properties, sort_keys=True).encode()).hexdigest()[:16]
        self.path = target / f"{precision}-{key}.onnx"
        """Where the converted file lies, whether or not it exists."""

    async def convert(self) -> Path:
        """Return the converted file, which is written unless it exists: whole or not at all.

        Raises:
            ServiceError: BACKEND_FAILED with the fault and the fix.
        """
        if self.path.is_file():
            return self.path
        target = self.path.parent
        try:
            target.mkdir(parents=True, exist_ok=True)
            work = Path(tempfile.mkdtemp(dir=target, prefix=".converting-"))
        except OSError as error:
            raise self._failed(str(error)) from None
        try:
            await self._run(work)
            (work / "model.onnx").replace(self.path)
        except OSError as error:
            raise self._failed(str(error)) from None
        finally:
            shutil.rmtree(work, ignore_errors=True)
        _log.info("converted package:%s to %s", self._name, self.path)
        self._remove_old()
        return self.path

    def discard(self) -> None:
        """Remove a converted file that cannot be loaded, so that it is made again."""
        with contextlib.suppress(OSError):
            self.path.unlink()

    async def _run(self, work: Path) -> None:
        process = await start_child(
            [
                sys.executable,
                # Without the current folder on its path: a file there must not shadow a library.
                "-P",
                "-m",
                _MODULE,
                str(self._folder),
                str(work / "model.onnx"),
                "--precision",
                self._precision,
                "--properties",
                json.dumps(self._properties),
            ],
            stdout=DEVNULL,
            stderr=PIPE,
            env={**os.environ, "TMPDIR": str(work)},
            # A terminal's Ctrl-C is for the parent.
            start_new_session=True,
        )
        try:
            _, errors = await process.communicate()
        except BaseException:
            process.kill()
            await process.wait()
            raise
        if process.returncode:
            said = errors.decode(errors="replace").strip().splitlines()
            raise self._failed(said[-1] if said else f"the converter ended with status {process.returncode}")

    def _failed(self, fault: str) -> ServiceError:
        return ServiceError(
            Reason.BACKEND_FAILED,
            f"package:{self._name} cannot be converted to ONNX in {self.path.parent}: {fault} (it needs 100 MB there "
            "for a moment; free them, or set models_dir to a folder that has them)",
        )

    def _remove_old(self) -> None:
        for other in self.path.parent.glob(f"{self._precision}-*.onnx"):
            if other != self.path:
                other.unlink(missing_ok=True)
        for work in self.path.parent.glob(".converting-*"):
            with contextlib.suppress(OSError):
                if time.time() - work.stat().st_mtime > _ABANDONED_S:
                    shutil.rmtree(work, ignore_errors=True)
