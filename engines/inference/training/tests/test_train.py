"""A run that is stopped and continued goes on where it was."""

from pathlib import Path
from unittest.mock import patch

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")

from engines.inference.training.storymodel.corpus import Corpus, Document  # noqa: E402
from engines.inference.training.storymodel.model import ModelShape, StoryModel  # noqa: E402
from engines.inference.training.storymodel.muon import orthogonalise  # noqa: E402
from engines.inference.training.storymodel.samples import SampleMaker  # noqa: E402
from engines.inference.training.storymodel.tokenizer import train_tokenizer  # noqa: E402
from engines.inference.training.storymodel.train import Schedule, Trainer, load_model  # noqa: E402

ENGLISH = tuple(f"The fox number {i} met a heron by the pond. The fox was not afraid." for i in range(20))
TELUGU = tuple(f"కుక్క {i} చెరువు దగ్గర కప్పను చూసింది. కుక్క నవ్వింది." for i in range(20))


def _trainer(folder: Path, *, minutes: float) -> Trainer:
    english = Document(source="a", language="en", title="The Fox", paragraphs=ENGLISH, number=1)
    telugu = Document(source="b", language="te", title="కుక్క", paragraphs=TELUGU, number=1)
    corpus = Corpus(novels=(english,), stories_en=(english,), stories_te=(telugu,), classics_te=(telugu,), held_out=())
    tokenizer = train_tokenizer([*ENGLISH, *TELUGU], vocabulary=400)
    return Trainer(
        shape=ModelShape(vocabulary=400, width=32, layers=1, heads=2, kv_heads=2, hidden=64, context=64),
        schedule=Schedule(minutes=minutes, tokens_per_step=128, tokens_per_pass=128, short_row=32, long_row=64),
        samples=SampleMaker(corpus=corpus, tokenizer=tokenizer),
        checkpoint=folder / "checkpoint.pt",
        seed=1,
        dropout=0.1,
    )


def test_the_schedule_rises_stays_and_falls() -> None:
    schedule = Schedule(minutes=1)
    rates = [schedule.rate(progress / 100) for progress in range(101)]
    assert rates[0] == pytest.approx(0.02)
    assert max(rates) == 1.0
    assert rates[-1] == pytest.approx(0.02)
    falling = rates[60:]
    assert falling == sorted(falling, reverse=True)


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    torch.manual_seed(1)
    for shape in ((3, 16, 40), (3, 40, 16)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
        assert values.min() > 0.5
        assert values.max() < 1.5


def test_documents_in_one_row_do_not_see_each_other() -> None:
    torch.manual_seed(2)
    shape = ModelShape(vocabulary=20, width=32, layers=2, heads=2, kv_heads=1, hidden=64, context=16)
    model = StoryModel(shape=shape).eval()
    row = torch.tensor([[0, 5, 6, 7, 0, 8, 9]])
    with torch.inference_mode():
        together = model.hidden_states(row, boundary=0)[0, 4:]
        alone = model.hidden_states(row[:, 4:])[0]
        unmasked = model.hidden_states(row)[0, 4:]
    assert torch.allclose(together, alone, atol=1e-5)
    assert not torch.allclose(unmasked, alone, atol=1e-5)


def test_only_chosen_targets_are_counted() -> None:
    torch.manual_seed(2)
    shape = ModelShape(vocabulary=20, width=32, layers=1, heads=2, kv_heads=2, hidden=64, context=16)
    model = StoryModel(shape=shape).eval()
    tokens, targets = torch.tensor([[5, 6, 7]]), torch.tensor([[6, 7, 8]])
    chosen = torch.tensor([[True, False, True]])
    with torch.inference_mode():
        every = model.token_losses(tokens, targets)
        some = model.token_losses(tokens, targets, chosen=chosen)
    assert torch.allclose(some, every[chosen[0]])


def test_training_learns_and_continues(tmp_path: Path) -> None:
    first = _trainer(tmp_path, minutes=0.03)
    first.run()
    _, state = load_model(tmp_path / "checkpoint.pt")
    steps, tokens = state["steps"], state["tokens"]
    assert steps >= 1

    with patch(
        "engines.inference.training.storymodel.train.StoryModel.token_losses",
        side_effect=AssertionError("the budget is spent"),
    ):
        _trainer(tmp_path, minutes=0.03).run()

    second = _trainer(tmp_path, minutes=0.06)
    second.run()
    model, state = load_model(tmp_path / "checkpoint.pt")
    assert state["steps"] > steps
    assert state["tokens"] > tokens
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
