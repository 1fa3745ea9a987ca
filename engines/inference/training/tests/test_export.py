"""llama.cpp computes the same from the exported file as the trained model."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
tokenizers = pytest.importorskip("tokenizers")
pytest.importorskip("gguf")
xllamacpp = pytest.importorskip("xllamacpp")

from engines.inference.training.storymodel.chat import start_server  # noqa: E402
from engines.inference.training.storymodel.conversation import Turn  # noqa: E402
from engines.inference.training.storymodel.export_gguf import export, interleave_heads  # noqa: E402
from engines.inference.training.storymodel.model import ModelShape, StoryModel  # noqa: E402
from engines.inference.training.storymodel.tokenizer import (  # noqa: E402
    TURN_END_ID,
    encode_chat,
    encode_document,
    train_tokenizer,
)

TEXT = "The heron stood in the pond. ఒక కొంగ చెరువులో నిలబడింది. A frog sang to the heron."
VOCABULARY = 320


def test_interleaving_puts_the_two_halves_of_a_head_side_by_side() -> None:
    import numpy as np

    rows = np.arange(8, dtype=np.float32)[:, None]
    assert interleave_heads(rows, heads=2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_only_what_the_assistant_says_is_learnt() -> None:
    tokenizer = train_tokenizer([TEXT], vocabulary=VOCABULARY)
    turns = [Turn(role="user", content="heron?"), Turn(role="assistant", content="frog")]
    ids, learnt = encode_chat(tokenizer, turns)
    kept = [token for token, flag in zip(ids, learnt, strict=True) if flag]
    assert kept[-1] == TURN_END_ID
    assert tokenizer.decode(kept[:-1]) == "frog"


def test_llama_cpp_agrees_with_torch(tmp_path: Path) -> None:
    torch.manual_seed(5)
    tokenizer = train_tokenizer([TEXT], vocabulary=VOCABULARY)
    shape = ModelShape(
        vocabulary=tokenizer.get_vocab_size(), width=64, layers=2, heads=2, kv_heads=1, hidden=96, context=64
    )
    model = StoryModel(shape=shape).eval()
    with torch.no_grad():
        model.embedding.weight.mul_(10)  # Sharp enough a distribution for its order to mean something.
    path = tmp_path / "random.gguf"
    export(model, tokenizer, path)
    server = start_server(path, context=64)

    ids, _ = encode_document(tokenizer, TEXT)
    ids = ids[:40]
    with torch.inference_mode():
        expected = torch.log_softmax(model(torch.tensor([ids]))[0, -1], dim=-1)
    reply = server.handle_completions({"prompt": ids, "max_tokens": 1, "temperature": 0.0, "logprobs": 8})
    assert "error" not in reply
    found = reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    assert len(found) == 8
    for entry in found:
        assert entry["logprob"] == pytest.approx(float(expected[entry["id"]]), abs=0.1)
