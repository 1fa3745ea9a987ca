"""lm-eval's loglikelihood tasks: the model must prefer what it says itself to what it would never say."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import httpx
import pytest
import yaml
from gguf import GGUFReader
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from enginehouse.engines import inference
from engines.inference.training.storymodel.tokenizer import DOCUMENT_TOKEN, SPECIAL_TOKENS, SPLIT_PATTERN
from tests.clients.conftest import FOLDER, MODEL, Runs
from tests.mesh import Mesh

pytestmark = pytest.mark.clients

CONTEXTS = ("Once upon a time", "The little boy", "One day, a girl named", "Tom and his dog", "In the garden", "It was")


def write_tokenizer(folder: pathlib.Path) -> None:
    """Write the bundled model's tokenizer as a folder that transformers reads."""
    (path,) = (pathlib.Path(inference.__path__[0]) / "bundled").glob(f"{MODEL}.gguf")
    fields = GGUFReader(path).fields
    tokens = {token: number for number, token in enumerate(fields["tokenizer.ggml.tokens"].contents())}
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE(vocab=tokens, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": DOCUMENT_TOKEN, "bos_token": DOCUMENT_TOKEN}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_task(folder: pathlib.Path, mesh: Mesh) -> list[int]:
    """Write a task of two choices, the model's own likeliest words and those in reverse; return the right answers."""
    documents: list[dict[str, Any]] = []
    for number, context in enumerate(CONTEXTS):
        body = {"model": MODEL, "prompt": context, "max_tokens": 8, "temperature": 0}
        answer = httpx.post(
            f"{mesh.url}/v1/completions", json=body, headers={"authorization": f"Bearer {mesh.key}"}, timeout=60
        )
        own = answer.json()["choices"][0]["text"]
        other = " " + " ".join(reversed(own.split()))
        gold = number % 2
        documents.append({"context": context, "choices": [own, other] if gold == 0 else [other, own], "gold": gold})
    folder.mkdir()
    data = folder / "loaves.jsonl"
    data.write_text("".join(json.dumps(document) + "\n" for document in documents))
    task = {
        "task": "loaves",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{context}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{gold}}",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    (folder / "loaves.yaml").write_text(yaml.safe_dump(task))
    return [document["gold"] for document in documents]


def test_a_loglikelihood_task_prints_the_true_accuracy(run_client: Runs, mesh: Mesh, tmp_path: pathlib.Path) -> None:
    write_tokenizer(tmp_path / "tokenizer")
    golds = write_task(tmp_path / "tasks", mesh)
    printed = {
        form: run_client(
            ".venv-clients/bin/python",
            *("-W", "ignore", str(FOLDER / "python" / "lm_eval_client.py")),
            *(str(tmp_path / "tokenizer"), str(tmp_path / "tasks"), form),
        ).splitlines()[-1]
        for form in ("tokens", "text")
    }
    by_tokens, by_text = json.loads(printed["tokens"]), json.loads(printed["text"])
    assert by_tokens["accuracy"] == 1.0, (golds, by_tokens)
    assert all(value < 0 for pair in by_tokens["loglikelihoods"] for value in pair)
    # A text may be split at the seam in another way than its halves are, so only its verdict is held to be the same.
    assert by_text["accuracy"] == 1.0, (golds, by_text)
