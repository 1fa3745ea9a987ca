"""Convert a BERT sentence encoder's weights into an ONNX model: `python -m ...onnxruntime.convert FOLDER FILE`.

A process of its own, since the converters take several times the memory of the model, and are needed once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_NEEDED = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the model; return the exit status, with the fault on standard error."""
    parser = argparse.ArgumentParser(prog="convert", description="Convert a sentence encoder's weights to ONNX.")
    parser.add_argument("folder", type=Path, help="holds model.safetensors and config.json")
    parser.add_argument("file", type=Path, help="is written")
    parser.add_argument("--precision", choices=("fp32", "int8"), default="fp32", help="of the weights")
    parser.add_argument("--properties", default="{}", help="JSON of texts that are kept in the model")
    options = parser.parse_args(arguments)
    try:
        config = json.loads((options.folder / "config.json").read_bytes())
        for name, needed in _NEEDED.items():
            if config.get(name, needed) != needed:
                raise ValueError(f"config.json: {name} is {config[name]!r}; only {needed!r} is known")
        _write(options.folder, options.file, config, options.precision, json.loads(options.properties))
    except KeyError as error:
        sys.stderr.write(f"{options.folder} lacks {error}\n")
        return 1
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _write(folder: Path, file: Path, config: Mapping[str, Any], precision: str, properties: Mapping[str, str]) -> None:
    import onnx
    from safetensors.numpy import load_file

    from enginehouse.engines.inference.backends.onnxruntime._bert_graph import BertGraph

    model = BertGraph(load_file(folder / "model.safetensors"), config).model(properties=properties)
    if precision == "int8":
        from onnxruntime.quantization import (  # type: ignore[import-untyped]
            QuantType,
            quantize_dynamic,
        )

        # A scale for each column: with one for the whole matrix, every fifth of the ten nearest texts is another.
        quantize_dynamic(
            model,
            file,
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
    else:
        onnx.save(model, file)
    with file.open("rb") as written:
        os.fsync(written.fileno())


if __name__ == "__main__":
    sys.exit(main())
