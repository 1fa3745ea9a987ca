"""The command line; README.md in the folder above lists the commands in order."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from pathlib import Path


def _tokenizer(options: argparse.Namespace) -> None:
    from engines.inference.training.storymodel.corpus import load_corpus
    from engines.inference.training.storymodel.tokenizer import train_tokenizer
    from engines.inference.training.storymodel.tokenizer_text import tokenizer_texts

    corpus = load_corpus(options.data)
    tokenizer = train_tokenizer(tokenizer_texts(corpus), vocabulary=options.vocabulary)
    options.run.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(options.run / "tokenizer.json"))


def _train(options: argparse.Namespace) -> None:
    import torch

    from engines.inference.training.storymodel.corpus import load_corpus
    from engines.inference.training.storymodel.model import ModelShape
    from engines.inference.training.storymodel.samples import SampleMaker
    from engines.inference.training.storymodel.tokenizer import load_tokenizer
    from engines.inference.training.storymodel.train import Schedule, Trainer

    torch.set_num_threads(options.threads)
    # SIGTERM saves a checkpoint, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    tokenizer = load_tokenizer(options.run / "tokenizer.json")
    schedule = Schedule(minutes=options.minutes)
    shape = ModelShape(
        vocabulary=tokenizer.get_vocab_size(),
        width=options.width,
        layers=options.layers,
        heads=options.width // 64,
        kv_heads=options.width // 64,
        hidden=options.hidden,
        context=schedule.long_row,
    )
    trainer = Trainer(
        shape=shape,
        schedule=schedule,
        samples=SampleMaker(corpus=load_corpus(options.data), tokenizer=tokenizer),
        checkpoint=options.run / "checkpoint.pt",
        seed=options.seed,
        dropout=options.dropout,
    )
    logging.info("%d parameters", trainer.model.parameter_count())
    trainer.run()


def _export(options: argparse.Namespace) -> None:
    from engines.inference.training.storymodel.export_gguf import export
    from engines.inference.training.storymodel.tokenizer import load_tokenizer
    from engines.inference.training.storymodel.train import load_model

    model, _ = load_model(options.run / "checkpoint.pt")
    export(model, load_tokenizer(options.run / "tokenizer.json"), options.output, context=options.context)


def _evaluate(options: argparse.Namespace) -> None:
    from engines.inference.training.storymodel.corpus import load_corpus
    from engines.inference.training.storymodel.evaluate import report
    from engines.inference.training.storymodel.tokenizer import load_tokenizer
    from engines.inference.training.storymodel.train import load_model

    model, state = load_model(options.run / "checkpoint.pt")
    tokenizer = load_tokenizer(options.run / "tokenizer.json")
    logging.info("%.1f min, %d tokens, %d steps", state["elapsed"] / 60, state["tokens"], state["steps"])
    for line in report(model, tokenizer, load_corpus(options.data)):
        sys.stdout.write(f"{line}\n")


def _chat(options: argparse.Namespace) -> None:
    from engines.inference.training.storymodel.chat import answers

    for answer in answers(
        options.model, options.prompt, system=options.system, temperature=options.temperature,
        seed=options.seed, data=options.data,
    ):  # fmt: skip
        sys.stdout.write(f"{answer}\n")


def _obedience(options: argparse.Namespace) -> None:
    import random

    from engines.inference.training.storymodel.obedience import english_prompts, measure, telugu_prompts

    rng = random.Random(options.seed)
    for language, make in (("en", english_prompts), ("te", telugu_prompts)):
        pairs = make(rng, count=options.count)
        found = measure(options.model, pairs, temperature=options.temperature, seed=options.seed)
        sys.stdout.write(
            f"{language}: of {found.asked} answers, {found.mentioned} name what was asked for, "
            f"{found.ended} end by themselves\n"
        )


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands and their options."""
    root = argparse.ArgumentParser(prog="storymodel", description="Make the bundled story model.")
    commands = root.add_subparsers(required=True)

    tokenizer = commands.add_parser("tokenizer", help="learn the BPE")
    tokenizer.add_argument("--data", type=Path, required=True, help="the folder with novels_en, stories_en, ...")
    tokenizer.add_argument("--run", type=Path, required=True, help="the folder for tokenizer and checkpoint")
    tokenizer.add_argument("--vocabulary", type=int, default=4096)
    tokenizer.set_defaults(action=_tokenizer)

    train = commands.add_parser("train", help="train, or continue to train")
    train.add_argument("--data", type=Path, required=True)
    train.add_argument("--run", type=Path, required=True)
    train.add_argument("--minutes", type=float, required=True, help="time budget over all parts of the run")
    train.add_argument("--threads", type=int, default=2)
    train.add_argument("--width", type=int, default=192, help="a multiple of 64")
    train.add_argument("--layers", type=int, default=6)
    train.add_argument("--hidden", type=int, default=512, help="a multiple of 32")
    train.add_argument("--dropout", type=float, default=0.0)
    train.add_argument("--seed", type=int, default=1)
    train.set_defaults(action=_train)

    export = commands.add_parser("export", help="write the checkpoint as GGUF")
    export.add_argument("--run", type=Path, required=True)
    export.add_argument("--output", type=Path, required=True)
    export.add_argument("--context", type=int, help="tokens to declare; by default the longest row of the training")
    export.set_defaults(action=_export)

    evaluate = commands.add_parser("evaluate", help="bits per byte on the held-out stories")
    evaluate.add_argument("--data", type=Path, required=True)
    evaluate.add_argument("--run", type=Path, required=True)
    evaluate.set_defaults(action=_evaluate)

    chat = commands.add_parser("chat", help="ask a GGUF file through llama.cpp")
    chat.add_argument("--model", type=Path, required=True)
    chat.add_argument("--data", type=Path, help="also look for runs copied from this data folder")
    chat.add_argument("--system", help="a system message")
    chat.add_argument("--temperature", type=float, default=0.7)
    chat.add_argument("--seed", type=int, default=1)
    chat.add_argument("prompt", nargs="+")
    chat.set_defaults(action=_chat)

    obedience = commands.add_parser("obedience", help="how often answers name what was asked for")
    obedience.add_argument("--model", type=Path, required=True)
    obedience.add_argument("--count", type=int, default=100, help="prompts in each language")
    obedience.add_argument("--temperature", type=float, default=0.7)
    obedience.add_argument("--seed", type=int, default=1)
    obedience.set_defaults(action=_obedience)
    return root


def main() -> None:
    """Run a command; return its exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = parser().parse_args()
    options.action(options)


if __name__ == "__main__":
    main()
