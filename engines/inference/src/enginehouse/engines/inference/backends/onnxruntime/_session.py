"""An encoder in ONNX Runtime: tokens in, vectors of unit length out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from enginehouse.kit.errors import Reason, ServiceError

Vectors: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_POOLED = "sentence_embedding"


class EncoderSession:
    """A loaded encoder. Any number of threads may use it at once.

    Args:
        session: the session of ONNX Runtime.
        path: the model's file, for errors.
        pooling: "mean" or "cls", for a model that returns a vector for each token.
    """

    def __init__(self, *, session: Any, path: Path, pooling: str) -> None:
        self._session = session
        self._path = path
        self._pooling = pooling
        self._types = {given.name: _TYPES.get(given.type) for given in session.get_inputs()}
        self._check_inputs()
        self._output = self._find_output()

    @classmethod
    def load(cls, path: Path, *, pooling: str) -> EncoderSession:
        """Load the model at `path`; raise BACKEND_FAILED if it is none, or none that embeds."""
        # Takes 50 MB, so not before a model needs it.
        import onnxruntime  # type: ignore[import-untyped]

        options = onnxruntime.SessionOptions()
        # The caller's threads are the parallelism: cores that share one small text mostly wait for each other.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # A plan of memory would be kept for every length of text.
        options.enable_mem_pattern = False
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # Its errors have no base class of their own.
            raise ServiceError(
                Reason.BACKEND_FAILED,
                f"ONNX Runtime cannot load {path}: {error} (is it a whole ONNX file, with its data files beside it?)",
            ) from error
        return cls(session=session, path=path, pooling=pooling)

    def run(self, texts: Sequence[Sequence[int]]) -> Vectors:
        """Return the vectors of texts, given as tokens, in their order; raise BACKEND_FAILED."""
        width = max(map(len, texts))
        ids = np.zeros((len(texts), width), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(texts):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        try:
            [output] = self._session.run(
                [self._output], {name: values[name].astype(kind, copy=False) for name, kind in self._types.items()}
            )
        except Exception as error:
            raise ServiceError(Reason.BACKEND_FAILED, f"ONNX Runtime failed to run {self._path}: {error}") from error
        return _unit(self._pool(output.astype(np.float32, copy=False), mask))

    def _pool(self, output: Vectors, mask: np.ndarray[Any, np.dtype[np.int64]]) -> Vectors:
        if output.ndim == 2:
            return output
        if self._pooling == "cls":
            return output[:, 0]
        # The sum has the direction of the mean.
        pooled: Vectors = np.einsum("btd,bt->bd", output, mask.astype(np.float32))
        return pooled

    def _check_inputs(self) -> None:
        unknown = [name for name in self._types if name not in _INPUTS]
        missing = [name for name in _INPUTS[:2] if name not in self._types]
        odd = [name for name, kind in self._types.items() if kind is None]
        if unknown or missing or odd:
            raise self._refused(f"its inputs are {', '.join(self._types)}", "integers input_ids and attention_mask")

    def _find_output(self) -> str:
        ranks: dict[str, int] = {found.name: len(found.shape) for found in self._session.get_outputs()}
        if ranks.get(_POOLED) == 2:
            return _POOLED
        # Of token vectors, the last layer's come first.
        for rank in (3, 2):
            for name, found in ranks.items():
                if found == rank:
                    return name
        raise self._refused(f"its outputs are {', '.join(ranks)}", f"{_POOLED} or a vector for each token")

    def _refused(self, found: str, needed: str) -> ServiceError:
        return ServiceError(
            Reason.BACKEND_FAILED,
            f"{self._path} is no text encoder: {found}, not {needed}; export the model for feature extraction",
        )


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.sqrt(np.einsum("bd,bd->b", vectors, vectors))
    lengths[lengths == 0] = 1
    unit: Vectors = np.divide(vectors, lengths[:, None], dtype=np.float32)
    return unit
