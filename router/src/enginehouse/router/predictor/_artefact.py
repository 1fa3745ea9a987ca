"""The artefact's file: one .npz of plain arrays, nothing executable in it.

`settings` is JSON as bytes (the format's number, the weights, the scale), `words` and `fields` are names joined by
newlines, `affinities` int8 of shape (words, fields), `needs` float32 by field.
"""

from __future__ import annotations

import dataclasses
import io
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from enginehouse.kit.config import ConfigError
from enginehouse.router.predictor._model import LearnedPredictor, PredictorWeights
from enginehouse.router.predictor._reading import GROUPS, KNOWLEDGE, STORY
from enginehouse.router.predictor._words import WordTable

FORMAT = 1
SHIPPED = Path(__file__).with_name("predictor.npz")
# Far more than any artefact of this format needs.
_MAX_BYTES = 64 << 20
# What reading a damaged file may raise.
_DAMAGE = (
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    OverflowError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Artefact:
    """The parts of a predictor; see `PredictorWeights` and `WordTable`."""

    weights: PredictorWeights
    words: tuple[str, ...]
    affinities: NDArray[np.int8]
    scale: float
    fields: tuple[str, ...]
    needs: NDArray[np.float32]


def load_predictor(path: Path | None = None) -> LearnedPredictor:
    """The predictor of an artefact; without a path, of the one shipped.

    Raises:
        ConfigError: the file is missing, damaged or of another format.
    """
    where = path or SHIPPED
    try:
        if where.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it has {where.stat().st_size} bytes, more than {_MAX_BYTES}")
        with np.load(io.BytesIO(where.read_bytes()), allow_pickle=False) as file:
            artefact = _checked({name: file[name] for name in file.files})
    except OSError as error:
        raise _unusable(where, error.strerror or str(error)) from None
    except _DAMAGE as error:
        raise _unusable(where, str(error)) from None
    table = WordTable(
        words=artefact.words,
        affinities=artefact.affinities,
        scale=artefact.scale,
        fields=artefact.fields,
        needs=artefact.needs,
        groups=GROUPS,
    )
    return LearnedPredictor(weights=artefact.weights, words=table)


def save_artefact(artefact: Artefact, path: Path) -> None:
    """Write the file, the same bytes for the same artefact."""
    settings = {
        "format": FORMAT,
        "scale": artefact.scale,
        "weights": dataclasses.asdict(artefact.weights),
    }
    arrays: dict[str, NDArray[Any]] = {
        "settings": np.frombuffer(orjson.dumps(settings, option=orjson.OPT_SORT_KEYS), np.uint8),
        "words": np.frombuffer("\n".join(artefact.words).encode(), np.uint8),
        "fields": np.frombuffer("\n".join(artefact.fields).encode(), np.uint8),
        "affinities": artefact.affinities,
        "needs": artefact.needs,
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name, array in arrays.items():
            about = zipfile.ZipInfo(f"{name}.npy")
            about.compress_type = zipfile.ZIP_DEFLATED
            with file.open(about, "w") as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)


def _checked(arrays: dict[str, NDArray[Any]]) -> Artefact:
    settings = orjson.loads(arrays["settings"].tobytes())
    if settings["format"] != FORMAT:
        raise ValueError(f"its format is {settings['format']!r}, and this router reads {FORMAT}")
    words = tuple(arrays["words"].tobytes().decode().split("\n"))
    fields = tuple(arrays["fields"].tobytes().decode().split("\n"))
    affinities, needs, scale = arrays["affinities"], arrays["needs"], settings["scale"]
    if affinities.dtype != np.int8 or affinities.shape != (len(words), len(fields)):
        raise ValueError(f"affinities are {affinities.dtype} {affinities.shape}, not int8 {(len(words), len(fields))}")
    if needs.dtype != np.float32 or needs.shape != (len(fields),) or not ((needs >= 0) & (needs <= 1)).all():
        raise ValueError("needs are not one number from 0 to 1 for each field")
    weights = PredictorWeights(**settings["weights"])
    for name, numbers, expected in (
        ("knowledge", weights.knowledge, KNOWLEDGE),
        ("story", weights.story, STORY),
    ):
        if set(numbers) != {*expected, "bias"}:
            raise ValueError(f"the weights {name!r} are not those of {', '.join(expected)} and the bias")
    flat = [*weights.knowledge.values(), *weights.story.values(), weights.story_need]
    flat += [weights.spread, weights.offset, weights.steepness, weights.middle, scale]
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in flat):
        raise ValueError("a weight is not a finite number")
    return Artefact(weights, words, affinities, float(scale), fields, needs)


def _unusable(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"the predictor's artefact {path} can't be used: {why}; install the router anew, or train one with "
        "router/training/train.py and name it in router.predictor_file"
    )
